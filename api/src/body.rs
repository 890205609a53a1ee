//! Reading bodies: bounded before a byte is read where Content-Length tells, else while reading; never slowly.
//!
//! Invariant: what all bodies together hold in memory is bounded, and a body that stops coming is given up.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use std::sync::Arc;

use crate::problem::{Code, Problem};

/// Longest silence inside a body, and the length of a window.
const WINDOW: Duration = Duration::from_secs(10);
/// Least bytes that a body brings in every window: 1 KiB a second.
const WINDOW_BYTES_MIN: usize = 10 * 1024;
/// What the budget is counted in, bytes.
const PERMIT_BYTES: usize = 1024;

/// The memory that bodies on their way in may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.0).try_acquire_many_owned(permits);
        taken.map_err(|_| Problem::new(Code::Overloaded, ""))
    }
}

/// A body, read whole. It counts against the budget until it is dropped or its bytes are taken: from there to the log,
/// whose queue is bounded, nothing waits.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The bytes.
    pub(crate) bytes: Bytes,
    _budget: OwnedSemaphorePermit,
}

/// How much a body may bring, and which problem it is when it brings more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Most bytes.
    pub(crate) bytes: usize,
    /// The problem's code.
    pub(crate) code: Code,
}

/// Reads a body whole.
///
/// # Errors
/// 413 with the limit, 415 for an encoded body, 408 for a slow one, 400 for one that ends early, 503 when too many
/// are being read.
pub(crate) async fn read(
    budget: &Budget,
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
) -> Result<Whole, Problem> {
    refuse_encoded(headers)?;
    let hint = body.size_hint();
    if hint.lower() > limit.bytes as u64 {
        return Err(too_large(limit));
    }
    // Without a length it may grow to the limit.
    let most = hint.exact().and_then(|exact| usize::try_from(exact).ok()).unwrap_or(limit.bytes);
    let budget = budget.take(most)?;
    Ok(Whole { bytes: collect(body, limit).await?, _budget: budget })
}

fn refuse_encoded(headers: &HeaderMap) -> Result<(), Problem> {
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if identity(one) => Ok(()),
        _ => Err(Problem::new(Code::EncodingUnsupported, "bodies are taken without a content encoding")
            .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
    }
}

async fn collect(mut body: Body, limit: Limit) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut pace = Pace::new();
    loop {
        let frame = timeout_at(pace.deadline(), body.frame());
        let Ok(frame) = frame.await else {
            return Err(Problem::new(Code::BodyTimeout, "a body brings at least 1 KiB a second"));
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Problem::new(Code::BodyIncomplete, ""))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + more.len() + data.len() > limit.bytes {
            return Err(too_large(limit));
        }
        pace.brought(data.len())?;
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            more.reserve(first.len() + data.len());
            more.extend_from_slice(&std::mem::take(&mut first));
            more.extend_from_slice(&data);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

/// Whether a body comes fast enough: in every window a least number of bytes, and no window of silence.
struct Pace {
    window_end: Instant,
    window_bytes: usize,
    silent_until: Instant,
}

impl Pace {
    fn new() -> Self {
        let end = Instant::now() + WINDOW;
        Self { window_end: end, window_bytes: 0, silent_until: end }
    }

    fn deadline(&self) -> Instant {
        if self.window_bytes < WINDOW_BYTES_MIN {
            self.window_end.min(self.silent_until)
        } else {
            self.silent_until
        }
    }

    fn brought(&mut self, bytes: usize) -> Result<(), Problem> {
        let now = Instant::now();
        self.silent_until = now + WINDOW;
        if now >= self.window_end {
            if self.window_bytes < WINDOW_BYTES_MIN {
                return Err(Problem::new(Code::BodyTimeout, "a body brings at least 1 KiB a second"));
            }
            self.window_end = now + WINDOW;
            self.window_bytes = 0;
        }
        self.window_bytes += bytes;
        Ok(())
    }
}

fn too_large(limit: Limit) -> Problem {
    Problem::new(limit.code, format!("at most {} bytes", limit.bytes)).limit(limit.bytes)
}

#[cfg(test)]
mod tests;
