//! Reading bodies: bounded before a byte is read where Content-Length tells, else while reading and decoding; never
//! slowly.
//!
//! Invariant: what all bodies together hold in memory is bounded, and a body that stops coming is given up.

mod decode;
mod encoding;
mod pace;

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use crate::problem::{Code, Problem};
use encoding::Encoding;
use pace::{Pace, too_slow};

/// What the budget is counted in, bytes.
const PERMIT_BYTES: usize = 1024;
/// What a body counts before anything of it came, bytes: most are no longer.
const FIRST_BYTES: usize = 16 * 1024;

/// The memory that bodies on their way in may hold together.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / PERMIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        self.permits(bytes.div_ceil(PERMIT_BYTES))
    }

    /// Makes what is held enough for so many bytes.
    fn raise(&self, held: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.div_ceil(PERMIT_BYTES).saturating_sub(held.num_permits());
        if missing > 0 {
            held.merge(self.permits(missing)?);
        }
        Ok(())
    }

    fn permits(&self, permits: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
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

/// Reads a body whole, and decodes it where it has a content encoding.
///
/// # Errors
/// 413 with the limit, which is of the decoded body; 415 for another encoding, 408 for a slow one, 400 for one that ends
/// early or cannot be decoded, 503 when too many are being read.
pub(crate) async fn read(
    budget: &Budget,
    headers: &HeaderMap,
    body: Body,
    limit: Limit,
) -> Result<Whole, Problem> {
    let encoding = Encoding::of(headers)?;
    let wire_bytes_max = encoding.map_or(limit.bytes, |_| decode::wire_bytes_max(limit.bytes));
    let hint = body.size_hint();
    if hint.lower() > wire_bytes_max as u64 {
        return Err(too_large(limit));
    }
    // Without a length it may grow to the limit.
    let most = hint.exact().and_then(|exact| usize::try_from(exact).ok()).unwrap_or(wire_bytes_max);
    // Announcing much costs a client nothing, so only what came counts, and the room that it is given to grow.
    let mut held = budget.take(most.min(FIRST_BYTES))?;
    let room = |bytes: usize| budget.raise(&mut held, most.min(2 * bytes));
    let wire = collect(body, wire_bytes_max, room).await?.ok_or_else(|| too_large(limit))?;
    match encoding {
        None => Ok(Whole { bytes: wire, _budget: held }),
        Some(encoding) => decode::decode(encoding, &wire, limit, budget).await,
    }
}

/// None when it is longer than `bytes_max`. `room`: for so many bytes.
async fn collect(
    mut body: Body,
    bytes_max: usize,
    mut room: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Option<Bytes>, Problem> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    let mut pace = Pace::new();
    loop {
        let frame = timeout_at(pace.deadline(), body.frame());
        let Ok(frame) = frame.await else { return Err(too_slow()) };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| Problem::new(Code::BodyIncomplete, ""))?;
        let Ok(data) = frame.into_data() else { continue };
        let bytes = first.len() + more.len() + data.len();
        if bytes > bytes_max {
            return Ok(None);
        }
        room(bytes)?;
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
    Ok(Some(if more.is_empty() { first } else { more.freeze() }))
}

fn too_large(limit: Limit) -> Problem {
    Problem::new(limit.code, format!("at most {} bytes", limit.bytes)).limit(limit.bytes)
}

#[cfg(test)]
mod tests;
