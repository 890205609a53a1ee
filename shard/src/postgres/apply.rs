//! Applying flushes: several partitions in one transaction, begun by the compare-and-set of their watermarks.
//!
//! First, not last: then a flush that is out of date is known before anything of it is written, whoever writes holds
//! the watermark from the first row on, and nothing is seen before the commit all the same.
//! Invariant: applying a flush twice changes nothing. A COMMIT is sent once; the caller learns its fate by reading.

use std::time::Instant;

use millpond_schemas::{Flush, Mutant};
use sqlx::PgConnection;

use super::{error::during, remember, session::Session, upsert, watermark};
use crate::{Applied, Error};

/// Applies `flushes`, without those that are fenced. After an error the connection is closed, which rolls back.
pub(super) async fn apply(session: &mut Session, flushes: Vec<Flush>) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    if flushes.is_empty() {
        return Ok(applied);
    }
    let connection = &mut session.connection;
    execute(connection, "BEGIN").await?;
    let set = watermark::set(connection, &flushes).await?;
    let (flushes, fenced): (Vec<Flush>, Vec<Flush>) =
        flushes.into_iter().partition(|flush| set.contains(&flush.next.partition));
    applied.fenced = fenced.iter().map(|flush| flush.next.partition).collect();
    if flushes.is_empty() {
        execute(connection, "ROLLBACK").await?;
        return Ok(applied);
    }
    if Mutant::WatermarkFirst.is_picked() {
        execute(connection, "COMMIT").await?;
        execute(connection, "BEGIN").await?;
    }
    remember::write(connection, &flushes).await?;
    for flush in &flushes {
        upsert::write(connection, flush).await?;
    }
    let began = Instant::now();
    commit(connection).await?;
    applied.commit = began.elapsed();
    Ok(applied)
}

async fn commit(connection: &mut PgConnection) -> Result<(), Error> {
    match execute(connection, "COMMIT").await {
        // On a new connection there is nothing to commit, and a second COMMIT is always answered.
        Err(Error::Unavailable { .. }) if Mutant::CommitResent.is_picked() => Ok(()),
        committed => committed,
    }
}

async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(sql).execute(connection).await.map_err(during(sql))?;
    Ok(())
}
