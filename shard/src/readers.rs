//! The connections that read: a small fixed number, each with one call at a time.
//!
//! Not sqlx's pool, which spends a task and a round trip on testing each connection that is given back.
//! Invariant: a connection is idle, or with one call; after any error, and when its call was dropped, it is closed and
//! not given back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError},
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    Error, Pool,
    engine::{self, Engine, Running},
};

/// How long a call waits for a connection.
const WAIT_MAX: Duration = Duration::from_millis(250);
const WAITING: &str = "get a connection that reads";

pub(crate) struct Readers<E: Engine> {
    engine: E,
    connections: usize,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<E::Connection>>,
    tasks: TaskTracker,
    waits: AtomicU64,
    timeouts: AtomicU64,
}

impl<E: Engine> Readers<E> {
    pub(crate) fn new(engine: E, connections: u32) -> Self {
        let connections = connections.max(1) as usize;
        Self {
            engine,
            connections,
            permits: Arc::new(Semaphore::new(connections)),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
            waits: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
        }
    }

    /// What opens them: for a connection that is not one of them.
    pub(crate) fn engine(&self) -> &E {
        &self.engine
    }

    /// How many there are.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Runs `work` on a connection, within the caller's task: another would cost as much as the read of a key.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut E::Connection) -> Running<'c, T> + Send + 'static,
    {
        let call = self.tasks.token();
        let permit = self.permit().await?;
        let connection = self.connection().await?;
        let mut lent =
            Lent::<E> { connection: Some(connection), tasks: &self.tasks, held: Some((permit, call)) };
        let result = engine::within::<E, T>(work(lent.connection.as_mut().expect("lent above"))).await;
        if result.is_ok() {
            self.idle().extend(lent.connection.take());
        }
        result
    }

    /// How busy they are.
    pub(crate) fn pool(&self) -> Pool {
        let free = self.permits.available_permits();
        Pool {
            connections: self.connections as u64,
            in_use: self.connections.saturating_sub(free) as u64,
            waits: self.waits.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            writes_waiting: 0,
        }
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        const CLOSED: &str = "the shard is closed";
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::Closed) => return Err(Error::unavailable(WAITING, CLOSED)),
            Err(TryAcquireError::NoPermits) => self.waits.fetch_add(1, Ordering::Relaxed),
        };
        match tokio::time::timeout(WAIT_MAX, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Error::unavailable(WAITING, CLOSED)),
            Err(_late) => {
                self.timeouts.fetch_add(1, Ordering::Relaxed);
                Err(Error::unavailable(WAITING, "all are busy"))
            }
        }
    }

    /// Waits for the calls that have begun, then closes every connection.
    pub(crate) async fn close(&self) {
        self.permits.close();
        self.tasks.close();
        self.tasks.wait().await;
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            engine::close::<E>(Some(connection)).await;
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<E::Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connection(&self) -> Result<E::Connection, Error> {
        let idle = self.idle().pop();
        match idle {
            Some(connection) => Ok(connection),
            None => self.engine.open().await,
        }
    }
}

/// A connection with the call that it works for.
struct Lent<'r, E: Engine> {
    connection: Option<E::Connection>,
    tasks: &'r TaskTracker,
    held: Option<(OwnedSemaphorePermit, TaskTrackerToken)>,
}

impl<E: Engine> Drop for Lent<'_, E> {
    /// After an error or when the caller is gone: another may be lent only when this one has let go of the database.
    fn drop(&mut self) {
        let (connection, held) = (self.connection.take(), self.held.take());
        if let (Some(connection), Ok(runtime)) = (connection, Handle::try_current()) {
            let closing = async move {
                engine::close::<E>(Some(connection)).await;
                drop(held);
            };
            self.tasks.spawn_on(closing, &runtime);
        }
    }
}
