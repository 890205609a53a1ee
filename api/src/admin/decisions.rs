//! `POST /admin/decisions`: what an operator decides about a partition that stands still.
//!
//! ```json
//! {"decision": "skip 1-3-42", "who": "…", "why": "…", "dry_run": false}
//! ```
//! Not here: judging and making it; whoever wires the process together does. Invariant: without a reason nothing is
//! decided.

use std::{pin::Pin, sync::Arc};

use axum::{
    extract::{Request, State as Shared},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;

use super::{asked, json as answer};
use crate::problem::{Code, Problem};

/// A decision, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// What.
    pub decision: String,
    /// Who answers for it.
    pub who: String,
    /// In the operator's words.
    pub why: String,
    /// Only tell what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Why nothing was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// It cannot be read.
    Invalid(String),
    /// It may not be, as things stand.
    Refused(String),
    /// The log or a shard does not answer.
    Unavailable(String),
}

/// Makes decisions.
pub type Decide =
    Arc<dyn Fn(Asked) -> Pin<Box<dyn Future<Output = Result<Value, Undecided>> + Send>> + Send + Sync>;

/// Has it judged and made.
pub(super) async fn post(Shared(decide): Shared<Decide>, request: Request) -> Result<Response, Problem> {
    let asked: Asked = asked::read(request).await?;
    if asked.why.trim().is_empty() && !asked.dry_run {
        return Err(Problem::new(Code::BodyInvalid, "`why` says nothing"));
    }
    // It goes on when the client goes away: halfway is the worst place to stop.
    let decided = tokio::spawn(decide(asked)).await.map_err(|_panic| Problem::new(Code::Internal, ""))?;
    let told = decided.map_err(|undecided| match undecided {
        Undecided::Invalid(why) => Problem::new(Code::BodyInvalid, why),
        Undecided::Refused(why) => Problem::new(Code::DecisionRefused, why),
        Undecided::Unavailable(why) => Problem::new(Code::ShardUnavailable, why),
    })?;
    Ok(answer(&told))
}
