//! `GET /meta/{key}`: everything about a row but its value.
//!
//! Invariant: it answers from the same statement, with the same consistency, as a GET of the key.

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::Response,
};
use http::header;
use serde_json::json;

use crate::{
    accept,
    answer::json_type,
    problem::Problem,
    read::{self, Existing},
    state::App,
    time,
};

/// Size, content type, version, times, partition and shard.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    accept::json(&head.headers)?;
    let found = read::find(&app, &head, "/meta/").await?;
    let partition = found.partition;
    let (row, mut response) = match found.existing(&head.headers)? {
        Existing::Same(response) => return Ok(response),
        Existing::Row(row, response) => (row, response),
    };
    let shard = app.shard_of(partition)?.name();
    let meta = json!({
        "size": row.value.as_ref().map_or(0, bytes::Bytes::len),
        "content_type": &*row.content_type,
        "version": row.version.position(partition).to_string(),
        "created_at": time::rfc3339(row.created_at),
        "updated_at": time::rfc3339(row.updated_at),
        "expires_at": row.expires_at.map(time::rfc3339),
        "partition": partition.0,
        "shard": shard,
    });
    response.headers_mut().insert(header::CONTENT_TYPE, json_type());
    *response.body_mut() = Body::from(meta.to_string());
    Ok(response)
}
