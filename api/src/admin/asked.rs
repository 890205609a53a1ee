//! What `/admin` is asked to do: a small JSON object, with who asks and why.
//!
//! Invariant: a page of another site cannot send one without the browser asking first.

use std::time::Duration;

use axum::{body::to_bytes, extract::Request};
use http::header;
use serde::de::DeserializeOwned;

use crate::problem::{Code, Problem};

/// Far above what any of them needs.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Reads it.
pub(super) async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    if content_type.is_none_or(|content_type| content_type != "application/json") {
        return Err(Problem::new(Code::MediaTypeUnsupported, "send application/json"));
    }
    let body = tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX));
    let body = body.await.map_err(|_late| Problem::new(Code::BodyTimeout, ""))?;
    let body = body.map_err(|_| Problem::new(Code::BodyInvalid, "it is cut off, or larger than 64 KiB"))?;
    // Its words may hold what was sent.
    serde_json::from_slice(&body).map_err(|error| {
        Problem::new(Code::BodyInvalid, format!("line {}, column {}", error.line(), error.column()))
    })
}
