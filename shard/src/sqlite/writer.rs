//! The one connection that writes, and the task that drives it.
//!
//! sqlx 0.9 loses statements when a `begin` is dropped halfway, and a dropped query leaves its connection occupied.
//! So callers only wait for an answer; the task runs each call to its end.
//! Invariant: after any error the connection is closed, which rolls back, and the next call opens another.

use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{Running, error::during};
use crate::Error;

/// Calls that may wait for the connection; more wait at the door.
const CALLS_MAX: usize = 64;

/// Answers whether the connection may be used again.
type Call = Box<dyn for<'c> FnOnce(Result<&'c mut SqliteConnection, Error>) -> Healthy<'c> + Send>;
type Healthy<'c> = std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

enum Message {
    Call(Call),
    Close,
}

pub(super) struct Writer {
    calls: mpsc::Sender<Message>,
    task: TaskTracker,
}

impl Writer {
    pub(super) fn start(options: SqliteConnectOptions, first: SqliteConnection) -> Self {
        let (calls, received) = mpsc::channel(CALLS_MAX);
        let task = TaskTracker::new();
        task.spawn(drive(options, first, received));
        task.close();
        Self { calls, task }
    }

    /// Runs `work` after the calls before it, to its end even when the caller is dropped.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Running<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |connection| {
            Box::pin(async move {
                let result = match connection {
                    Ok(connection) => work(connection).await,
                    Err(error) => Err(error),
                };
                let healthy = result.is_ok();
                // Nobody may be waiting any more.
                let _ = answer.send(result);
                healthy
            })
        });
        self.calls.send(Message::Call(call)).await.map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }

    /// Runs what has been asked for, then closes the connection.
    pub(super) async fn close(&self) {
        // An error says that it is closed.
        let _ = self.calls.send(Message::Close).await;
        self.task.wait().await;
    }
}

fn closed() -> Error {
    Error::unavailable("reach the shard", "it is closed")
}

async fn drive(options: SqliteConnectOptions, first: SqliteConnection, mut calls: mpsc::Receiver<Message>) {
    let mut connection = Some(first);
    while let Some(message) = calls.recv().await {
        let call = match message {
            Message::Call(call) => call,
            Message::Close => {
                calls.close();
                continue;
            }
        };
        if connection.is_none() {
            connection = match options.connect().await {
                Ok(opened) => Some(opened),
                Err(error) => {
                    call(Err(during("open the shard's file")(error))).await;
                    continue;
                }
            };
        }
        let open = connection.as_mut().expect("opened above");
        if !call(Ok(open)).await {
            close(connection.take()).await;
        }
    }
    close(connection.take()).await;
}

/// Waits until the file is let go of, so that no lock of an unfinished transaction outlives it.
pub(super) async fn close(connection: Option<SqliteConnection>) {
    if let Some(Err(error)) = match connection {
        Some(connection) => Some(connection.close().await),
        None => None,
    } {
        tracing::warn!(%error, "a connection to a shard did not close cleanly");
    }
}
