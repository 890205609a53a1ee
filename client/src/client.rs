//! The client: one method per call of the contract.
//!
//! Cheap to clone; clones share their connections. Dropping a call's future does not un-send it.

mod queries;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

pub use queries::Pages;

use crate::{
    BatchAnswer, BatchOptions, Error, Expires, Fetched, Meta, Mutation, Options, Position, ReadOptions,
    Retry, RetryPolicy, Ttl, TtlChange, TtlMode, Wait, WriteOptions, Written, answer,
    options::{self, IDEMPOTENCY_KEY},
    path,
    transport::{Call, Reply, Transport},
    ttl::TtlBody,
};

/// A connection to one server.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    retry: RetryPolicy,
}

impl Client {
    /// Checks the options; connects with the first call.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the address or tenant cannot be sent.
    pub fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self { transport: Arc::new(Transport::new(options)?), retry: options.retry })
    }

    /// The same connections, tried for ever.
    pub(crate) fn persistent(&self) -> Self {
        let retry = RetryPolicy { give_up_after: None, ..self.retry };
        Self { transport: Arc::clone(&self.transport), retry }
    }

    /// The wait before attempt `attempt` + 1 of something that is never given up.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let policy = RetryPolicy { give_up_after: None, ..self.retry };
        let delay = policy.delay(attempt, None, Duration::ZERO, rand::random());
        delay.expect("a policy without end always waits")
    }

    /// Which server and whose keys.
    pub(crate) fn scope(&self) -> String {
        self.transport.scope()
    }

    /// Puts `value` under `key` (1..=1024 bytes).
    ///
    /// # Errors
    /// [`Error::Rejected`] when a condition failed; otherwise as [`Error`] says.
    pub async fn put(
        &self,
        key: &[u8],
        value: Bytes,
        content_type: &str,
        options: &WriteOptions,
    ) -> Result<Written, Error> {
        let mut call = write(Method::PUT, path::of_key("/kv/", key)?, options, false)?;
        options::insert(&mut call.headers, header::CONTENT_TYPE, content_type)?;
        call.body = value;
        Written::read(&self.send(&call).await?)
    }

    /// Deletes `key`, whether or not it exists.
    pub async fn delete(&self, key: &[u8], options: &WriteOptions) -> Result<Written, Error> {
        let call = write(Method::DELETE, path::of_key("/kv/", key)?, options, false)?;
        Written::read(&self.send(&call).await?)
    }

    /// Reads `key`.
    pub async fn get(&self, key: &[u8], options: &ReadOptions) -> Result<Fetched, Error> {
        let call = read(path::of_key("/kv/", key)?, options)?;
        Fetched::read(self.send(&call).await?)
    }

    /// When `key` expires; `None`: no such key.
    pub async fn ttl(&self, key: &[u8], options: &ReadOptions) -> Result<Option<Ttl>, Error> {
        let call = read(path::of_key("/ttl/", key)?, options)?;
        found(&self.send(&call).await?)
    }

    /// Changes when `key` expires; `None`: no such key.
    pub async fn set_ttl(
        &self,
        key: &[u8],
        expires: &Expires,
        mode: TtlMode,
        options: &WriteOptions,
    ) -> Result<Option<TtlChange>, Error> {
        let (ttl, expires_at) = match expires {
            Expires::After(ttl) => (Some(ttl.as_str()), None),
            Expires::At(at) => (None, Some(at.as_str())),
            Expires::Never => (None, None),
        };
        let never = *expires == Expires::Never;
        let method = if never { Method::DELETE } else { Method::PUT };
        let mut call = write(method, path::of_key("/ttl/", key)?, options, true)?;
        if !never {
            let body = serde_json::to_vec(&TtlBody { ttl, expires_at, mode });
            call.body = body.expect("strings serialise").into();
            call.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        call.answers = |status| is_write(status) || status == StatusCode::NOT_FOUND;
        found(&self.send(&call).await?)
    }

    /// What is known of `key` beside its value; `None`: no such key.
    pub async fn meta(&self, key: &[u8], options: &ReadOptions) -> Result<Option<Meta>, Error> {
        let call = read(path::of_key("/meta/", key)?, options)?;
        found(&self.send(&call).await?)
    }

    /// What became of the mutation at `position`; `None`: never issued, or another tenant's. Waits at most `wait`
    /// (the server clamps to 30 s) for it to be applied; afterwards it may still be [`crate::Status::Accepted`].
    ///
    /// # Errors
    /// [`Error::Refused`] with status 410: too long ago to know.
    pub async fn mutation(&self, position: &Position, wait: Duration) -> Result<Option<Mutation>, Error> {
        let mut call = read(format!("/mutations/{position}"), &ReadOptions::default())?;
        if !wait.is_zero() {
            call.path = format!("{}?wait={}ms", call.path, wait.as_millis());
            call.wait = wait;
        }
        found(&self.send(&call).await?)
    }

    /// As [`Client::mutation`] without a wait, and tells `notify` of every wait before a repetition.
    pub(crate) async fn mutation_with(
        &self,
        position: &Position,
        notify: &(dyn Fn(Retry<'_>) + Sync),
    ) -> Result<Option<Mutation>, Error> {
        let call = read(format!("/mutations/{position}"), &ReadOptions::default())?;
        found(&self.transport.send(&call, self.retry, notify).await?)
    }

    /// Sends operations in the form that [`BatchOptions::encoding`] names; at most 10,000, or 16 MiB. See
    /// [`crate::Operation::write`] for making them.
    ///
    /// # Errors
    /// Only when the batch as a whole has no answer; failed lines stand in [`BatchAnswer::errors`].
    pub async fn batch(&self, operations: Bytes, options: &BatchOptions) -> Result<BatchAnswer, Error> {
        self.batch_with(operations, options, &|_| {}).await
    }

    /// As [`Client::batch`], and tells `notify` of every wait before a repetition.
    pub(crate) async fn batch_with(
        &self,
        lines: Bytes,
        options: &BatchOptions,
        notify: &(dyn Fn(Retry<'_>) + Sync),
    ) -> Result<BatchAnswer, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(options.encoding.content_type()));
        if let Some(key) = &options.idempotency_key {
            options::insert(&mut headers, IDEMPOTENCY_KEY, key)?;
        }
        options::prefer(&mut headers, options.wait)?;
        let wait = if options.wait == Wait::Contract { Wait::Accepted } else { options.wait };
        let call = Call {
            method: Method::POST,
            path: "/batch".to_owned(),
            headers,
            body: lines,
            wait: options::wait_time(wait),
            repeatable: options.keyed_lines || options.idempotency_key.is_some(),
            answers: |status| matches!(status.as_u16(), 200 | 202 | 207),
        };
        BatchAnswer::read(&self.transport.send(&call, self.retry, notify).await?)
    }

    async fn send(&self, call: &Call) -> Result<Reply, Error> {
        self.transport.send(call, self.retry, &|_| {}).await
    }
}

fn is_write(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 201 | 202 | 204)
}

fn read(path: String, options: &ReadOptions) -> Result<Call, Error> {
    Ok(Call {
        method: Method::GET,
        path: path + &options.query(),
        headers: options.headers()?,
        body: Bytes::new(),
        wait: Duration::ZERO,
        repeatable: true,
        answers: |status| matches!(status.as_u16(), 200 | 304 | 404),
    })
}

fn write(method: Method, path: String, options: &WriteOptions, waits: bool) -> Result<Call, Error> {
    let headers = options.headers(waits)?;
    let repeatable = headers.contains_key(IDEMPOTENCY_KEY);
    let wait = options.wait_time(waits);
    Ok(Call { method, path, headers, body: Bytes::new(), wait, repeatable, answers: is_write })
}

fn found<'a, T: serde::Deserialize<'a>>(reply: &'a Reply) -> Result<Option<T>, Error> {
    if reply.status == StatusCode::NOT_FOUND {
        answer::absent(reply)?;
        return Ok(None);
    }
    answer::json(reply).map(Some)
}

#[cfg(test)]
mod tests;
