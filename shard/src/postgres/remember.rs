//! What flushes leave to be remembered beside ids and outcomes: operations and dead letters.
//!
//! Not here: reading it back (`memory.rs`) and forgetting it (`prune.rs`).

use millpond_schemas::{DeadLetter, Flush, Generation, Offset, PartitionId};
use sqlx::PgConnection;

use super::{
    error::during,
    parameters::{Parameters, number},
    session::Session,
};
use crate::{
    Error,
    chunks::{dead_letter_bytes, each, runs},
    headers,
};

/// Rows of one statement.
const ROWS_MAX: usize = 10_000;
/// Bytes at which a statement is sent, unless a single row has more.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// One that was forgotten by the fold and comes again replaces its old entry.
const OPERATIONS: &str = "INSERT INTO operation \
    SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], \
    $7::bytea[], $8::bytea[]) ON CONFLICT (partition, hash) DO UPDATE SET \
    generation = excluded.generation, log_partition = excluded.log_partition, log_offset = excluded.log_offset, \
    time = excluded.time, fingerprint = excluded.fingerprint, outcome = excluded.outcome";
const DEAD_LETTERS: &str = "INSERT INTO dead_letter \
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
    $7::bytea[], $8::bytea[], $9::bytea[])";

/// Writes all of it.
pub(super) async fn write(connection: &mut PgConnection, flushes: &[Flush]) -> Result<(), Error> {
    let operations: Vec<_> = each(flushes, |flush| &flush.operations).collect();
    for run in operations.chunks(ROWS_MAX) {
        let parameters = Parameters::default()
            .column(run, |(partition, _)| number(*partition))
            .column(run, |(_, operation)| operation.hash.0.as_slice())
            .column(run, |(_, operation)| i64::from(operation.position.generation.0))
            .column(run, |(_, operation)| number(operation.position.partition))
            .column(run, |(_, operation)| operation.position.offset.0)
            .column(run, |(_, operation)| operation.time.0)
            .column(run, |(_, operation)| operation.fingerprint.0.as_slice())
            .column(run, |(_, operation)| Vec::from(operation.outcome.encode()));
        parameters.query(OPERATIONS).execute(&mut *connection).await.map_err(during("keep operations"))?;
    }
    let dead: Vec<(&Flush, &DeadLetter)> = flushes
        .iter()
        .flat_map(|flush| flush.dead_letters.iter().map(move |dead_letter| (flush, dead_letter)))
        .collect();
    for (run, _) in runs(ROWS_MAX, &dead, BYTES_MAX, |(_, dead)| dead_letter_bytes(dead)) {
        dead_letters(connection, run).await?;
    }
    Ok(())
}

async fn dead_letters(connection: &mut PgConnection, dead: &[(&Flush, &DeadLetter)]) -> Result<(), Error> {
    let parameters = Parameters::default()
        .column(dead, |(flush, _)| number(flush.next.partition))
        .column(dead, |(flush, _)| i64::from(flush.next.generation.0))
        .column(dead, |(_, dead)| dead.offset.0)
        .column(dead, |(_, dead)| dead.time.0)
        .column(dead, |(_, dead)| dead.refusal.reason.code())
        .column(dead, |(_, dead)| dead.refusal.detail.as_str())
        .column(dead, |(_, dead)| dead.raw.key.as_deref())
        .column(dead, |(_, dead)| headers::pack(&dead.raw.headers))
        .column(dead, |(_, dead)| dead.raw.value.as_deref());
    parameters.query(DEAD_LETTERS).execute(connection).await.map_err(during("keep dead letters"))?;
    Ok(())
}

/// Notes how far dead letters are on their topic. Never goes back.
pub(super) async fn published(
    session: &mut Session,
    partition: PartitionId,
    generation: Generation,
    offset: Offset,
) -> Result<(), Error> {
    Parameters::default()
        .with(number(partition))
        .with(i64::from(generation.0))
        .with(offset.0)
        .query(
            "INSERT INTO published SELECT $1::bigint, $2::bigint, $3::bigint \
             ON CONFLICT (partition) DO UPDATE SET generation = excluded.generation, log_offset = excluded.log_offset \
             WHERE (published.generation, published.log_offset) < (excluded.generation, excluded.log_offset)",
        )
        .execute(&mut session.connection)
        .await
        .map_err(during("note what was published"))?;
    Ok(())
}
