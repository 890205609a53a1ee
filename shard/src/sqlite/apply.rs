//! Applying flushes: several partitions in one transaction, each ended by the compare-and-set of its watermark.
//!
//! Invariant: applying a flush twice changes nothing. A COMMIT is sent once; the caller learns its fate by reading.

use std::time::{Duration, Instant};

use millpond_schemas::{Flush, Mutant, PartitionId};
use sqlx::SqliteConnection;

use super::{
    batch::{Batch, Failed},
    error::during,
    remember, upsert, watermark,
};
use crate::{Applied, Error};

/// Immediate: nobody else writes from here on, and there is no upgrade that could fail.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Applies `flushes`, without those that are fenced.
pub(super) async fn apply(
    connection: &mut SqliteConnection,
    mut flushes: Vec<Flush>,
) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    while !flushes.is_empty() {
        if let Some(commit) = together(connection, &flushes).await? {
            applied.commit = commit;
            break;
        }
        let fenced = apart(connection, &flushes).await?;
        if fenced.is_empty() {
            break;
        }
        flushes.retain(|flush| !fenced.contains(&flush.next.partition));
        applied.fenced.extend(fenced);
    }
    Ok(applied)
}

/// One transaction, of as few statements for many partitions as for one; how long its COMMIT took. None: something is not
/// as expected, it is rolled back, and [`apart`] says what.
async fn together(connection: &mut SqliteConnection, flushes: &[Flush]) -> Result<Option<Duration>, Error> {
    let mut batch = Batch::new(connection);
    batch.begin(BEGIN);
    match write(&mut batch, flushes).await {
        Ok(()) => {
            let began = Instant::now();
            execute(connection, "COMMIT").await?;
            Ok(Some(began.elapsed()))
        }
        // A flush sent twice brings ids that are there: refused before its watermark is compared.
        Err(Failed::Rows { .. } | Failed::Watermarks | Failed::Error(Error::Refused { .. })) => {
            execute(connection, "ROLLBACK").await?;
            Ok(None)
        }
        Err(Failed::Error(error)) => Err(error),
    }
}

/// One transaction, partition by partition: commits and answers nothing, or rolls back and answers which are fenced.
async fn apart(connection: &mut SqliteConnection, flushes: &[Flush]) -> Result<Vec<PartitionId>, Error> {
    execute(connection, BEGIN).await?;
    let fenced = fenced(connection, flushes).await?;
    if !fenced.is_empty() {
        execute(connection, "ROLLBACK").await?;
        return Ok(fenced);
    }
    for flush in flushes {
        let partition = flush.next.partition;
        match write(&mut Batch::new(connection), std::slice::from_ref(flush)).await {
            Ok(()) => {}
            Err(Failed::Rows { sent, touched }) => return Err(Error::RowAhead { partition, sent, touched }),
            Err(Failed::Watermarks) => {
                execute(connection, "ROLLBACK").await?;
                return Ok(vec![partition]);
            }
            Err(Failed::Error(error)) => return Err(error),
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

/// Everything of some flushes, last the watermarks.
async fn write(batch: &mut Batch<'_>, flushes: &[Flush]) -> Result<(), Failed> {
    if Mutant::WatermarkFirst.is_picked() {
        watermark::add(batch, flushes).await?;
        batch.send().await?;
        batch.begin("COMMIT");
        batch.send().await?;
        batch.begin(BEGIN);
        upsert::add(batch, flushes).await?;
        remember::add(batch, flushes).await?;
        return batch.send().await;
    }
    upsert::add(batch, flushes).await?;
    remember::add(batch, flushes).await?;
    watermark::add(batch, flushes).await?;
    batch.send().await
}

async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::query(sql).execute(connection).await.map_err(during(sql))?;
    Ok(())
}

#[cfg(test)]
mod tests;
