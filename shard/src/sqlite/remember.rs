//! What flushes leave to be remembered: outcomes, ids, operations, dead letters.
//!
//! Not here: reading it back (`memory.rs`) and forgetting it (`prune.rs`).
//! Invariant: one row of ids, and at most one of outcomes, for each flush.

use std::sync::LazyLock;

use millpond_schemas::{
    DeadLetter, Flush, Generation, Offset, Operation, OutcomeRange, PartitionId, Seen, Watermark,
};
use sqlx::SqliteConnection;

use super::{
    batch::{Batch, Failed, SIZES, Step},
    error::during,
    statement::{Parameters, Sizes, repeated},
};
use crate::{
    Error,
    chunks::{dead_letter_bytes, each},
    headers,
};

static OUTCOMES: LazyLock<Sizes> = LazyLock::new(|| sizes("outcome", 6, ""));
static SEEN: LazyLock<Sizes> = LazyLock::new(|| sizes("seen", 6, ""));
static DEAD_LETTERS: LazyLock<Sizes> = LazyLock::new(|| sizes("dead_letter", 9, ""));
/// One that was forgotten by the fold and comes again replaces its old entry.
static OPERATIONS: LazyLock<Sizes> = LazyLock::new(|| {
    sizes(
        "operation",
        8,
        " ON CONFLICT (partition, hash) DO UPDATE SET \
         generation = excluded.generation, log_partition = excluded.log_partition, \
         log_offset = excluded.log_offset, time = excluded.time, fingerprint = excluded.fingerprint, \
         outcome = excluded.outcome",
    )
});

fn sizes(table: &str, columns: usize, conflict: &str) -> Sizes {
    let row = format!("({})", repeated("?", columns));
    Sizes::new(&SIZES, |rows| {
        let rows = repeated(&row, rows);
        format!("INSERT INTO {table} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL{conflict}")
    })
}

/// The watermark after a flush, its first and last id, and all of them.
type Ids<'f> = (&'f Watermark, [&'f Seen; 2], &'f [Seen]);

/// Writes all of it.
pub(super) async fn add(batch: &mut Batch<'_>, flushes: &[Flush]) -> Result<(), Failed> {
    let outcomes = flushes.iter().map(|flush| (flush.next.partition, &flush.outcomes));
    let outcomes: Vec<_> = outcomes.filter(|(_, range)| !range.exceptions.is_empty()).collect();
    batch.add((Step::Memory, &OUTCOMES), &outcomes, |_| 0, push_outcomes).await?;
    let seen = flushes.iter().filter_map(|Flush { next, seen, .. }| {
        let (first, last) = seen.first().zip(seen.last())?;
        Some((next, [first, last], seen.as_slice()))
    });
    let seen: Vec<Ids<'_>> = seen.collect();
    batch.add((Step::Memory, &SEEN), &seen, |_| 0, push_seen).await?;
    let operations: Vec<_> = each(flushes, |flush| &flush.operations).collect();
    batch.add((Step::Memory, &OPERATIONS), &operations, |_| 0, push_operation).await?;
    let dead_letters: Vec<(&Flush, &DeadLetter)> = flushes
        .iter()
        .flat_map(|flush| flush.dead_letters.iter().map(move |dead_letter| (flush, dead_letter)))
        .collect();
    batch
        .add(
            (Step::Memory, &DEAD_LETTERS),
            &dead_letters,
            |(_, dead)| dead_letter_bytes(dead),
            push_dead_letter,
        )
        .await
}

fn push_outcomes(parameters: &mut Parameters, (partition, range): &(PartitionId, &OutcomeRange)) {
    parameters.push(partition.0);
    parameters.push(range.generation.0);
    parameters.push(range.from.0);
    parameters.push(range.to.0);
    parameters.push(range.time.0);
    parameters.push(Vec::from(range.encode()));
}

fn push_seen(parameters: &mut Parameters, (next, [first, last], seen): &Ids<'_>) {
    parameters.push(next.partition.0);
    parameters.push(next.generation.0);
    parameters.push(first.offset.0);
    parameters.push(last.offset.0);
    parameters.push(last.time.0);
    parameters.push(Vec::from(Seen::pack(first.offset, seen)));
}

fn push_operation(parameters: &mut Parameters, (partition, operation): &(PartitionId, &Operation)) {
    parameters.push(partition.0);
    parameters.push(operation.hash.0.as_slice());
    parameters.push(operation.position.generation.0);
    parameters.push(operation.position.partition.0);
    parameters.push(operation.position.offset.0);
    parameters.push(operation.time.0);
    parameters.push(operation.fingerprint.0.as_slice());
    parameters.push(Vec::from(operation.outcome.encode()));
}

fn push_dead_letter(parameters: &mut Parameters, (flush, dead_letter): &(&Flush, &DeadLetter)) {
    parameters.push(flush.next.partition.0);
    parameters.push(flush.next.generation.0);
    parameters.push(dead_letter.offset.0);
    parameters.push(dead_letter.time.0);
    parameters.push(dead_letter.refusal.reason.code());
    parameters.push(dead_letter.refusal.detail.clone());
    parameters.push(dead_letter.raw.key.as_deref());
    parameters.push(headers::pack(&dead_letter.raw.headers));
    parameters.push(dead_letter.raw.value.as_deref());
}

/// Notes how far dead letters are on their topic. Never goes back.
pub(super) async fn published(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    generation: Generation,
    offset: Offset,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO published VALUES (?, ?, ?) \
         ON CONFLICT (partition) DO UPDATE SET generation = excluded.generation, log_offset = excluded.log_offset \
         WHERE (published.generation, published.log_offset) < (excluded.generation, excluded.log_offset)",
    )
    .bind(partition.0)
    .bind(generation.0)
    .bind(offset.0)
    .execute(connection)
    .await
    .map_err(during("note what was published"))?;
    Ok(())
}
