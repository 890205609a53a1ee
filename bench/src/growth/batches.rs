//! Cost by the size of batches: through `/batch` onto the local log; nothing is applied.
//!
//! Invariant: a 202 means that the whole batch was fsynced, at every size.

use anyhow::Result;

use super::{Grown, cost::Costs};
use crate::{
    progress::Steps,
    rows::{
        Plan,
        accept::accepted,
        calls::{Draw, NDJSON, PROTOBUF, batches},
    },
};

const OPERATIONS: [usize; 5] = [1, 10, 100, 1_000, 10_000];
const CONNECTIONS: usize = 16;
const KEYS: u64 = 1_000_000;
/// Operations of all calls that are made beforehand: 60 MB.
const MADE: usize = 200_000;

/// 1 to 10,000.
pub(super) async fn measure(plan: &Plan) -> Result<Grown> {
    let columns: (_, &[_]) = ("operations_per_batch", &["p99_us"]);
    let mut costs =
        Costs::new("Cost by operations a batch, onto the local log", "operations per batch", columns);
    costs.comments = vec![
        format!(
            "{CONNECTIONS} connections, each with one batch of puts of 256 B under way, uniform over {KEYS} keys; \
             fdatasync before each answer; nothing is applied"
        ),
        "p99_us: of an answer; accept: api and local log in one process".to_owned(),
    ];
    let forms = [("protobuf", PROTOBUF), ("NDJSON", NDJSON)];
    let bar = Steps::show("batches", OPERATIONS.len() * forms.len());
    for (form, content_type) in forms {
        for operations in OPERATIONS {
            bar.at(format!("{operations}, {form}"));
            let count = (MADE / operations).clamp(CONNECTIONS, 20_000);
            let calls = batches(&mut Draw::uniform(KEYS, plan.seed), (count, operations), content_type)?;
            let samples = accepted(plan, &calls, (operations, CONNECTIONS)).await;
            let samples = samples.map_err(|error| format!("{error:#}"));
            #[expect(clippy::cast_precision_loss, reason = "10,000 at most")]
            bar.done(&costs.add(operations as f64, form, samples));
        }
    }
    Ok(costs.grown())
}
