//! `GET /version`: which build this is, and its limits.
//!
//! Invariant: the limits told are those that are checked.

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
};
use http::header;
use millpond_schemas::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, PAGE_ROWS_MAX};
use serde_json::{Value, json};

use crate::{
    accept,
    answer::json_type,
    problem::Problem,
    query::Query,
    state::{App, State},
};

/// Limits of a call.
pub(crate) fn limits(app: &State) -> Value {
    json!({
        "key_bytes_max": KEY_BYTES_MAX,
        "value_bytes_max": app.value_bytes_max_of_all(),
        "batch_operations_max": BATCH_OPERATIONS_MAX,
        "batch_bytes_max": BATCH_BYTES_MAX,
        "page_rows_max": PAGE_ROWS_MAX,
    })
}

/// Version and limits.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    Query::of(request.uri(), &[])?;
    let version = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "limits": limits(&app),
    });
    let mut response = Response::new(Body::from(version.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    Ok(response)
}
