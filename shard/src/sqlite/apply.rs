//! Applying flushes: several partitions in one transaction, each ended by the compare-and-set of its watermark.
//!
//! Invariant: applying a flush twice changes nothing. A COMMIT is sent once; the caller learns its fate by reading.

use millpond_schemas::{DeadLetter, Flush, Generation, PartitionId, Seen};
use sqlx::SqliteConnection;

use super::{error::during, memory, upsert, watermark};
use crate::{Applied, Error};

/// Applies `flushes`, without those that are fenced.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    mut flushes: Vec<Flush>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    while !flushes.is_empty() {
        let fenced = attempt(connection, &flushes).await?;
        if fenced.is_empty() {
            break;
        }
        flushes.retain(|flush| !fenced.contains(&flush.next.partition));
        applied.fenced.extend(fenced);
    }
    Ok(applied)
}

/// One transaction: commits and answers nothing, or rolls back and answers which partitions are fenced.
async fn attempt(connection: &mut SqliteConnection, flushes: &[Flush]) -> Result<Vec<PartitionId>, Error> {
    // Immediate: nobody else writes from here on, and there is no upgrade that could fail.
    execute(connection, "BEGIN IMMEDIATE").await?;
    let fenced = fenced(connection, flushes).await?;
    if !fenced.is_empty() {
        execute(connection, "ROLLBACK").await?;
        return Ok(fenced);
    }
    for flush in flushes {
        if !write(connection, flush).await? {
            execute(connection, "ROLLBACK").await?;
            return Ok(vec![flush.next.partition]);
        }
    }
    execute(connection, "COMMIT").await?;
    Ok(Vec::new())
}

/// Looked at first, so that a flush sent twice is told from a row that is ahead.
async fn fenced(connection: &mut SqliteConnection, flushes: &[Flush]) -> Result<Vec<PartitionId>, Error> {
    let partitions: Vec<PartitionId> = flushes.iter().map(|flush| flush.next.partition).collect();
    let there = watermark::of(connection, &partitions).await?;
    let gives_way = |flush: &Flush| {
        let there = there.iter().find(|watermark| watermark.partition == flush.next.partition);
        there.is_some_and(|there| watermark::gives_way(there, &flush.previous, &flush.next))
    };
    Ok(flushes.iter().filter(|flush| !gives_way(flush)).map(|flush| flush.next.partition).collect())
}

/// Everything of one flush, last the watermark; false: its compare-and-set failed.
async fn write(connection: &mut SqliteConnection, flush: &Flush) -> Result<bool, Error> {
    let (partition, generation) = (flush.next.partition, flush.next.generation);
    upsert::write(connection, partition, &flush.rows).await?;
    upsert::purge(connection, partition, &flush.purged).await?;
    if !flush.outcomes.exceptions.is_empty() {
        write_outcomes(connection, flush).await?;
    }
    write_seen(connection, partition, generation, &flush.seen).await?;
    memory::write_operations(connection, partition, &flush.operations).await?;
    for dead_letter in &flush.dead_letters {
        write_dead_letter(connection, partition, generation, dead_letter).await?;
    }
    watermark::set(connection, &flush.previous, &flush.next).await
}

async fn write_outcomes(connection: &mut SqliteConnection, flush: &Flush) -> Result<(), Error> {
    let range = &flush.outcomes;
    sqlx::query("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)")
        .bind(range.partition.0)
        .bind(range.generation.0)
        .bind(range.from.0)
        .bind(range.to.0)
        .bind(range.time.0)
        .bind(Vec::from(range.encode()))
        .execute(connection)
        .await
        .map_err(during("write outcomes"))?;
    Ok(())
}

async fn write_seen(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    generation: Generation,
    seen: &[Seen],
) -> Result<(), Error> {
    let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(()) };
    sqlx::query("INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?)")
        .bind(partition.0)
        .bind(generation.0)
        .bind(first.offset.0)
        .bind(last.offset.0)
        .bind(last.time.0)
        .bind(Vec::from(Seen::pack(first.offset, seen)))
        .execute(connection)
        .await
        .map_err(during("write ids"))?;
    Ok(())
}

async fn write_dead_letter(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    generation: Generation,
    dead_letter: &DeadLetter,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO dead_letter VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(partition.0)
        .bind(generation.0)
        .bind(dead_letter.offset.0)
        .bind(dead_letter.time.0)
        .bind(dead_letter.refusal.reason.code())
        .bind(dead_letter.refusal.detail.clone())
        .bind(dead_letter.raw.key.as_deref())
        .bind(crate::headers::pack(&dead_letter.raw.headers))
        .bind(dead_letter.raw.value.as_deref())
        .execute(connection)
        .await
        .map_err(during("write dead letters"))?;
    Ok(())
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await.map_err(during(sql))?;
    Ok(())
}
