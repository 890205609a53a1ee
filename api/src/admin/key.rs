//! `/admin/key?key_b64=&tenant=`: where a key belongs, and its row with the beginning of its value.
//!
//! `tenant`: `default` when it is left out. `consistency`: as in a GET of the key.
//! ```json
//! {"tenant": "…", "partition": 3, "shard": "…", "position": "1-3-42", "staleness_ms": 0, "found": true,
//!  "version": "1-3-7", "size": 5, "content_type": "…", "created_at": "…", "updated_at": "…", "expires_at": "…|null",
//!  "value_b64": "…", "whole": true}
//! ```
//! From `version` on only where it is found. Invariant: where calls need a token, this needs one that may read the key.

use axum::{
    extract::{Request, State as Shared},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use millpond_schemas::{PartitionId, RecordKey, Row, Tenant};
use serde_json::{Value, json};

use super::json as answer;
use crate::{
    call::{self, Called},
    consistency::Consistency,
    problem::{Code, Problem},
    query::Query,
    state::App,
    time,
};

/// Most bytes of a value that are told.
const PREVIEW_BYTES_MAX: usize = 4096;

/// Reads it as a GET does.
pub(super) async fn get(Shared(app): Shared<App>, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    let query = Query::of(&head.uri, &["key_b64", "tenant", "consistency"])?;
    let named = query.get("tenant").filter(|name| !name.is_empty()).map(tenant_named).transpose()?;
    let tenant = match &app.auth {
        None => named.unwrap_or_else(call::tenant_default),
        Some(auth) => auth.tenant_to_read(&head.headers, named)?,
    };
    let key = STANDARD.decode(query.get("key_b64").unwrap_or_default());
    let key = key.map_err(|_| Problem::new(Code::KeyInvalid, "key_b64 is no base64"))?;
    let key = RecordKey::new(&tenant, &key);
    let key = key.map_err(|error| Problem::new(Code::KeyInvalid, error.to_string()))?;
    let consistency = Consistency::of(&HeaderMap::new(), query.get("consistency"))?;
    let partition = app.partition_of(&key);
    let found = app.read(&Called { key, partition }, &consistency).await?;
    let mut told = json!({
        "tenant": tenant.as_str(),
        "partition": partition.0,
        "shard": app.shard_of(partition)?.name(),
        "position": found.freshness.applied.to_string(),
        "staleness_ms": app.staleness_ms(&found.freshness),
        "found": found.row.is_some(),
    });
    if let Some(row) = &found.row {
        insert_row(&mut told, row, partition);
    }
    Ok(answer(&told))
}

fn tenant_named(name: &str) -> Result<Tenant, Problem> {
    Tenant::new(name.to_owned()).map_err(|error| Problem::new(Code::TenantInvalid, error.to_string()))
}

fn insert_row(told: &mut Value, row: &Row, partition: PartitionId) {
    let value = row.value.as_deref().unwrap_or_default();
    let preview = &value[..value.len().min(PREVIEW_BYTES_MAX)];
    told["version"] = row.version.position(partition).to_string().into();
    told["size"] = value.len().into();
    told["content_type"] = (*row.content_type).into();
    told["created_at"] = time::rfc3339(row.created_at).into();
    told["updated_at"] = time::rfc3339(row.updated_at).into();
    told["expires_at"] = row.expires_at.map(time::rfc3339).into();
    told["value_b64"] = STANDARD.encode(preview).into();
    told["whole"] = (preview.len() == value.len()).into();
}
