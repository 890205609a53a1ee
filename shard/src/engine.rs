//! What an engine must be able to do for [`crate::writer`] and [`crate::readers`]: open a connection and close it.
//!
//! Invariant: a connection that was closed holds nothing in the database for longer than the engine says.

use std::{pin::Pin, time::Duration};

use crate::Error;

/// A call at work on a connection.
pub(crate) type Running<'c, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'c>>;

/// How connections of one kind come and go.
pub(crate) trait Engine: Send + Sync + 'static {
    type Connection: Send + 'static;

    /// How long a call may be without an answer before its connection is given up. None: an answer always comes.
    const DEADLINE: Option<Duration>;

    fn open(&self) -> impl Future<Output = Result<Self::Connection, Error>> + Send;

    fn close(connection: Self::Connection) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Runs a call; after the engine's deadline it is dropped, and its connection must not be used again.
pub(crate) async fn within<E: Engine, T>(call: Running<'_, T>) -> Result<T, Error> {
    let Some(deadline) = E::DEADLINE else { return call.await };
    let late = |_| Error::unavailable("reach the shard", format!("no answer within {deadline:?}"));
    tokio::time::timeout(deadline, call).await.map_err(late)?
}

/// Waits until the database has been told, so that no lock of an unfinished transaction outlives it for long.
pub(crate) async fn close<E: Engine>(connection: Option<E::Connection>) {
    let Some(connection) = connection else { return };
    let closing = E::close(connection);
    let closed = match E::DEADLINE {
        Some(deadline) => tokio::time::timeout(deadline, closing).await.unwrap_or(Ok(())),
        None => closing.await,
    };
    if let Err(error) = closed {
        tracing::debug!(%error, "a connection to a shard did not close cleanly");
    }
}
