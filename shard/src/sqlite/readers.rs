//! The connections that read: a small fixed number, each with one call at a time.
//!
//! Not sqlx's pool, which spends a task and a round trip on testing each connection that is given back.
//! Invariant: a connection is idle, or with one call; after any error, and when its call was dropped, it is closed and
//! not given back.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{Running, error::during, writer};
use crate::Error;

/// How long a call waits for a connection.
const WAIT_MAX: Duration = Duration::from_millis(250);
const WAITING: &str = "get a connection that reads";

#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    options: SqliteConnectOptions,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub(super) fn new(options: SqliteConnectOptions, connections: u32) -> Self {
        let shared = Shared {
            options,
            permits: Arc::new(Semaphore::new(connections.max(1) as usize)),
            idle: Mutex::default(),
        };
        Self { shared: Arc::new(shared), tasks: TaskTracker::new() }
    }

    /// Runs `work` on a connection, within the caller's task: another would cost as much as the read of a key.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Running<'c, T> + Send + 'static,
    {
        let call = self.tasks.token();
        let permit = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.shared.permits).acquire_owned())
            .await
            .map_err(|_| Error::unavailable(WAITING, "all are busy"))?
            .map_err(|_| Error::unavailable(WAITING, "the shard is closed"))?;
        let connection = self.shared.connection().await?;
        let mut lent = Lent { connection: Some(connection), tasks: &self.tasks, held: Some((permit, call)) };
        let result = work(lent.connection.as_mut().expect("lent above")).await;
        if result.is_ok() {
            self.shared.idle().extend(lent.connection.take());
        }
        result
    }

    /// Waits for the calls that have begun, then closes every connection.
    pub(super) async fn close(&self) {
        self.shared.permits.close();
        self.tasks.close();
        self.tasks.wait().await;
        let idle = std::mem::take(&mut *self.shared.idle());
        for connection in idle {
            writer::close(Some(connection)).await;
        }
    }
}

/// A connection with the call that it works for.
struct Lent<'r> {
    connection: Option<SqliteConnection>,
    tasks: &'r TaskTracker,
    held: Option<(OwnedSemaphorePermit, TaskTrackerToken)>,
}

impl Drop for Lent<'_> {
    /// After an error or when the caller is gone: another may be lent only when this one has let go of the file.
    fn drop(&mut self) {
        let (connection, held) = (self.connection.take(), self.held.take());
        if let (Some(connection), Ok(runtime)) = (connection, Handle::try_current()) {
            let closing = async move {
                writer::close(Some(connection)).await;
                drop(held);
            };
            self.tasks.spawn_on(closing, &runtime);
        }
    }
}

impl Shared {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<SqliteConnection, Error> {
        let idle = self.idle().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.options.connect().await.map_err(during("open the shard's file")),
        }
    }
}
