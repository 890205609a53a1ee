//! The HTTP contract, line by line, against the released binary; a test's name is the promise.
//!
//! Not here: what no client can see. Invariant: every problem that a test meets is checked whole.

mod auth;
mod batch;
mod batch_echo;
mod batch_forms;
mod batch_lines;
mod budgets;
mod clock;
mod consistency;
mod encodings;
mod floods;
mod hostile;
mod http2;
mod idempotency;
mod keys;
mod ops;
mod outcomes;
pub(crate) mod paging;
mod patch;
mod process;
mod protocol;
mod queries;
pub(crate) mod query_model;
mod race;
mod reads;
mod refusals;
mod ttl;
mod writes;

use anyhow::{Result, ensure};
use millpond_tests::http::{Answer, Http};

const OWN: &str = "application/vnd.millpond.op+json";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const NDJSON: &str = "application/x-ndjson";

/// That an answer is this problem, with every member that a problem has.
#[track_caller]
fn assert_problem(answer: &Answer, (status, code): (u16, &str), outcome: &str) {
    let problem = answer.json();
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["status"], status);
    assert_eq!(problem["outcome"], outcome, "{problem}");
    assert_eq!(problem["retryable"], matches!(status, 429 | 503 | 504));
    assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
    assert!(!answer.header("x-request-id").is_empty());
    assert_eq!(answer.headers.contains_key("retry-after"), matches!(status, 429 | 503));
    assert!(!answer.headers.contains_key("etag"));
    if outcome == "rejected" {
        assert_eq!(problem["position"], answer.header("kv-position"));
        assert!(!answer.header("kv-position").is_empty());
    }
}

/// Puts a value and waits until it is applied: its version.
async fn put(http: &Http, path: &str, value: &str) -> Result<String> {
    let answer = http.put(path, value.to_owned()).header("prefer", "wait=30").send().await?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer.header("kv-position").to_owned())
}

/// The value of a key, as of the log's end.
async fn value(http: &Http, path: &str) -> Result<Option<String>> {
    let answer = http.get(path).header("cache-control", "no-cache").send().await?;
    ensure!(answer.status == 200 || answer.status == 404, "{answer:?}");
    Ok((answer.status == 200).then(|| answer.text()))
}

/// The partition in a position.
fn partition(position: &str) -> &str {
    position.split('-').nth(1).unwrap_or_default()
}

/// The offset in a position.
fn offset(position: &str) -> i64 {
    position.rsplit('-').next().and_then(|offset| offset.parse().ok()).unwrap_or(-1)
}
