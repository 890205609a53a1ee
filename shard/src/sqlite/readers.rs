//! The connections that read: a small fixed number, each call in a task of its own that runs to its end.
//!
//! Not sqlx's pool, which spends a task and a round trip on testing each connection that is given back.
//! Invariant: a connection is idle, or with one task; after any error it is closed and not given back.

use std::{
    panic,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

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

    /// Runs `work` on a connection, to its end even when the caller is dropped.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Running<'c, T> + Send + 'static,
    {
        // Waited for by the caller: one that goes away leaves no work behind.
        let permit = tokio::time::timeout(WAIT_MAX, Arc::clone(&self.shared.permits).acquire_owned())
            .await
            .map_err(|_| Error::unavailable(WAITING, "all are busy"))?
            .map_err(|_| Error::unavailable(WAITING, "the shard is closed"))?;
        let shared = Arc::clone(&self.shared);
        let task = self.tasks.spawn(async move {
            let _permit = permit;
            let mut connection = shared.connection().await?;
            let result = work(&mut connection).await;
            if result.is_ok() {
                shared.idle().push(connection);
            } else {
                writer::close(Some(connection)).await;
            }
            result
        });
        match task.await {
            Ok(result) => result,
            Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
            Err(error) => Err(Error::unavailable("read from the shard", error)),
        }
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
