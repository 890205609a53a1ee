//! The laws of the fold on a real shard: the same log in flushes of any size leaves the same database.
//!
//! Histories are those of the fold's own laws. The next engine joins by being one more shard here.

mod differential;
#[expect(clippy::unwrap_used, reason = "a test may")]
#[path = "../../fold/tests/laws/history.rs"]
mod history;
#[path = "../../fold/tests/laws/strategy.rs"]
mod strategy;

use std::{collections::VecDeque, path::Path};

use history::{History, build};
use millpond_fold::{DueKind, Entry, Given, Halt, State, cut, fold, needs};
use millpond_schemas::{Flush, Offset, UnixMillis};
use millpond_shard::{Due, Dump, Shard, SqliteConfig, Wanted};
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence},
};
use tempfile::TempDir;

/// Cases here cost transactions: fewer than in the fold's own laws.
const CASES: u32 = 24;

fn config() -> Config {
    let persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")) as _);
    Config { cases: cases(CASES), failure_persistence: persistence, ..Config::default() }
}

/// How many, unless the variable says it.
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

async fn open(dir: &Path, name: &str) -> Shard {
    Shard::open(&SqliteConfig::new(dir.join(name))).await.expect("a shard opens")
}

/// What a flush has to know, from the shard.
async fn given(shard: &Shard, state: &State, entries: &[Entry]) -> Given {
    let (needs, partition) = (needs(state, entries), state.watermark().partition);
    let wanted = Wanted { partition, keys: needs.keys.clone(), operations: needs.operations };
    let found = shard.rows_for_fold(vec![wanted]).await.expect("rows").remove(0);
    let mut given = Given::default();
    given.rows.extend(needs.keys.into_iter().map(|key| (key, None)));
    given.rows.extend(found.rows.into_iter().map(|row| (row.key.clone(), Some(row))));
    given.operations.extend(found.operations.into_iter().map(|operation| (operation.hash, operation)));
    if let Some(due) = needs.due {
        let kind = if due.kind == DueKind::Rows { Due::Rows } else { Due::Tombstones };
        given.due = shard.due(partition, kind, due.until, due.rows_max).await.expect("what is due");
    }
    given
}

async fn state(shard: &Shard) -> State {
    let empty = history::watermark();
    shard.create_copy(empty.clone()).await.expect("a copy");
    let watermark = shard.watermark(empty.partition).await.expect("a watermark").expect("there is a copy");
    let seen = shard.seen(empty.partition, Offset::NONE, UnixMillis::EPOCH).await.expect("ids");
    State::new(watermark, seen).expect("a state")
}

/// Applies a log in flushes of at most `size` records, each sent twice; starts anew every few flushes.
/// What it left, and whether it came to a record at which every fold halts.
async fn apply(shard: &Shard, entries: &[Entry], size: usize) -> (Dump, bool) {
    let mut waiting: VecDeque<Entry> = entries.iter().cloned().collect();
    let mut state = state(shard).await;
    let mut flushes = 0;
    while !waiting.is_empty() {
        let first: Vec<Entry> = waiting.iter().take(size).cloned().collect();
        let batch = &first[..cut(&first)];
        let flush = match fold(&state, batch, &given(shard, &state, batch).await) {
            Ok(flush) => flush,
            Err(Halt::VersionUnknown { .. } | Halt::KeyMissing(_)) => break,
        };
        apply_twice(shard, &flush).await;
        state.advance(&flush);
        waiting.retain(|entry| entry.offset > flush.next.applied);
        flushes += 1;
        if flushes % 5 == 0 {
            state = self::state(shard).await;
        }
    }
    (shard.dump(state.watermark().partition).await.expect("a dump"), !waiting.is_empty())
}

/// The second time is refused, and changes nothing.
async fn apply_twice(shard: &Shard, flush: &Flush) {
    let partition = flush.next.partition;
    let applied = shard.apply(vec![flush.clone()]).await.expect("a flush applies");
    assert!(applied.fenced.is_empty(), "the first time it is let in");
    let before = shard.dump(partition).await.expect("a dump");
    let again = shard.apply(vec![flush.clone()]).await.expect("a refusal is no error");
    assert_eq!(again.fenced, [partition], "the second time it is not");
    assert_eq!(shard.dump(partition).await.expect("a dump"), before);
}

fn assert_agrees_with_model(dump: &Dump, history: &History) {
    let model = &history.model;
    assert_eq!(dump.watermark, model.watermark());
    assert_eq!(dump.rows, model.rows.values().cloned().collect::<Vec<_>>());
    let exceptions: Vec<_> = dump.outcomes.iter().map(|one| (one.offset, is_dead(&one.outcome))).collect();
    let theirs = model.outcomes.iter().filter(|(_, outcome)| !outcome.is_plain());
    assert_eq!(exceptions, theirs.map(|(offset, outcome)| (*offset, is_dead(outcome))).collect::<Vec<_>>());
    assert_eq!(dump.seen, model.seen);
    assert_eq!(dump.operations, model.operations.values().cloned().collect::<Vec<_>>());
    assert_eq!(dump.dead_letters.len(), model.dead_letters.len());
}

/// An outcome without a refusal's words, which are the fold's own.
fn is_dead(
    outcome: &millpond_schemas::Outcome,
) -> Result<&millpond_schemas::Outcome, millpond_schemas::DeadReason> {
    match outcome {
        millpond_schemas::Outcome::DeadLettered(refusal) => Err(refusal.reason),
        other => Ok(other),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn one_log_leaves_one_database_whatever_the_flushes(steps in strategy::steps()) {
        let history = build(&steps);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let dir = TempDir::new().expect("a folder");
            let mut dumps = Vec::new();
            for size in [1, 7, 500] {
                let shard = open(dir.path(), &format!("{size}.sqlite")).await;
                dumps.push(apply(&shard, &history.entries, size).await);
                shard.close().await;
            }
            assert_agrees_with_model(&dumps[0].0, &history);
            assert_eq!(dumps[0].1, history.halt.is_some());
            assert_eq!(dumps[0], dumps[1]);
            assert_eq!(dumps[0], dumps[2]);
        });
    }
}
