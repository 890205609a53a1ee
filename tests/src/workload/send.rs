//! An intent as one HTTP call, and as a line of a batch.

use http::Method;
use serde_json::{Value, json};

use crate::{
    history::{Change, Expiry, Intent},
    http::{Call, Http},
};

const OPERATION: &str = "application/vnd.millpond.op+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// The call; keys of the workload need no escapes.
pub(crate) fn call<'a>(http: &'a Http, intent: &Intent) -> Call<'a> {
    let key = text(&intent.key.0);
    let path = format!("/kv/{key}");
    let mut call = match &intent.change {
        Change::Put { value, content_type, expiry } => {
            let call = http.put(&path, value.0.clone()).header("content-type", content_type);
            match expiry {
                Some(Expiry::TtlMs(ms)) => call.header("kv-ttl", &format!("{ms}ms")),
                Some(Expiry::AtMs(_)) | None => call,
            }
        }
        Change::Delete => http.delete(&path),
        Change::Ttl { mode, expiry: Some(Expiry::TtlMs(ms)) } => {
            let body = json!({ "ttl": format!("{ms}ms"), "mode": mode }).to_string();
            http.put(&format!("/ttl/{key}"), body).header("content-type", "application/json")
        }
        Change::Ttl { .. } => http.delete(&format!("/ttl/{key}")),
        Change::Increment { by, initial } => {
            let body = json!({ "op": "increment", "by": by, "initial": initial }).to_string();
            http.patch(&path, OPERATION, body)
        }
        Change::Append { value } => {
            let body = json!({ "op": "append", "value": text(&value.0) }).to_string();
            http.patch(&path, OPERATION, body)
        }
        Change::MergePatch { patch } => http.patch(&path, MERGE_PATCH, patch.0.clone()),
        Change::JsonPatch { patch } => http.patch(&path, JSON_PATCH, patch.0.clone()),
        Change::Poison { .. } => http.call(Method::PUT, "/kv/"),
    };
    if let Some(version) = &intent.if_match {
        call =
            call.header("if-match", &if version == "*" { version.clone() } else { format!("\"{version}\"") });
    }
    if intent.if_absent {
        call = call.header("if-none-match", "*");
    }
    match &intent.idempotency_key {
        Some(key) => call.header("idempotency-key", key),
        None => call,
    }
}

/// The line of a batch. Its id comes of the batch's.
pub(crate) fn line(intent: &Intent) -> String {
    let mut line = match &intent.change {
        Change::Put { value, content_type, expiry } => {
            let mut line = json!({ "op": "put", "value": text(&value.0), "content_type": content_type });
            if let Some(Expiry::TtlMs(ms)) = expiry {
                line["ttl"] = json!(format!("{ms}ms"));
            }
            line
        }
        Change::Ttl { mode, expiry } => match expiry {
            Some(Expiry::TtlMs(ms)) => json!({ "op": "ttl", "ttl": format!("{ms}ms"), "mode": mode }),
            Some(Expiry::AtMs(_)) | None => json!({ "op": "ttl", "mode": mode }),
        },
        Change::Increment { by, initial } => json!({ "op": "increment", "by": by, "initial": initial }),
        Change::Append { value } => json!({ "op": "append", "value": text(&value.0) }),
        Change::MergePatch { patch } => json!({ "op": "merge-patch", "patch": parsed(&patch.0) }),
        Change::JsonPatch { patch } => json!({ "op": "json-patch", "patch": parsed(&patch.0) }),
        Change::Delete | Change::Poison { .. } => json!({ "op": "delete" }),
    };
    line["key"] = json!(text(&intent.key.0));
    if let Some(version) = &intent.if_match {
        line["if_version"] = json!(version);
    }
    if intent.if_absent {
        line["if_absent"] = json!(true);
    }
    line.to_string()
}

/// Bytes of the workload are text.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}
