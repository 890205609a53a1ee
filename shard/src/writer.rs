//! The one connection that writes, and the task that drives it.
//!
//! sqlx 0.9 loses statements when a `begin` is dropped halfway, and a dropped query leaves its connection occupied.
//! So callers only wait for an answer; the task runs each call to its end.
//! Invariant: after any error the connection is closed, which rolls back, and the next call opens another.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::{
    Error,
    engine::{self, Engine, Running},
};

/// Calls that may wait for the connection; more wait at the door.
const CALLS_MAX: usize = 64;

/// Answers whether the connection may be used again.
type Call<C> = Box<dyn for<'c> FnOnce(Result<&'c mut C, Error>) -> Healthy<'c> + Send>;
type Healthy<'c> = std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'c>>;

enum Message<C> {
    Call(Call<C>),
    Close,
}

pub(crate) struct Writer<E: Engine> {
    calls: mpsc::Sender<Message<E::Connection>>,
    task: TaskTracker,
}

impl<E: Engine> Writer<E> {
    /// `first` serves the first call, if there is one yet.
    pub(crate) fn start(engine: Arc<E>, first: Option<E::Connection>) -> Self {
        let (calls, received) = mpsc::channel(CALLS_MAX);
        let task = TaskTracker::new();
        task.spawn(drive(engine, first, received));
        task.close();
        Self { calls, task }
    }

    /// Runs `work` after the calls before it, to its end even when the caller is dropped.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut E::Connection) -> Running<'c, T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let call: Call<E::Connection> = Box::new(move |connection| {
            Box::pin(async move {
                let result = match connection {
                    Ok(connection) => engine::within::<E, T>(work(connection)).await,
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

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> u64 {
        (self.calls.max_capacity() - self.calls.capacity()) as u64
    }

    /// Runs what has been asked for, then closes the connection.
    pub(crate) async fn close(&self) {
        // An error says that it is closed.
        let _ = self.calls.send(Message::Close).await;
        self.task.wait().await;
    }
}

fn closed() -> Error {
    Error::unavailable("reach the shard", "it is closed")
}

async fn drive<E: Engine>(
    engine: Arc<E>,
    mut connection: Option<E::Connection>,
    mut calls: mpsc::Receiver<Message<E::Connection>>,
) {
    while let Some(message) = calls.recv().await {
        let call = match message {
            Message::Call(call) => call,
            Message::Close => {
                calls.close();
                continue;
            }
        };
        if connection.is_none() {
            connection = match engine.open().await {
                Ok(opened) => Some(opened),
                Err(error) => {
                    call(Err(error)).await;
                    continue;
                }
            };
        }
        let open = connection.as_mut().expect("opened above");
        if !call(Ok(open)).await {
            engine::close::<E>(connection.take()).await;
        }
    }
    engine::close::<E>(connection.take()).await;
}
