//! A whole copy at one moment, for comparing copies.

use std::sync::{Arc, LazyLock};

use millpond_schemas::{Offset, PartitionId, Row, UnixMillis};
use sqlx::SqliteConnection;

use super::{error::during, memory, statement::Parameters, watermark};
use crate::{
    Dump, Error,
    decode::{self, KEYED},
    error::no_copy,
};

const DOING: &str = "dump a copy";

static ROWS: LazyLock<Arc<str>> =
    LazyLock::new(|| format!("SELECT {KEYED} FROM kv WHERE partition = ? ORDER BY tenant, key").into());

/// Everything of a copy, in one read transaction.
pub(super) async fn dump(connection: &mut SqliteConnection, partition: PartitionId) -> Result<Dump, Error> {
    sqlx::query("BEGIN").execute(&mut *connection).await.map_err(during(DOING))?;
    let whole = read(connection, partition).await?;
    sqlx::query("COMMIT").execute(&mut *connection).await.map_err(during(DOING))?;
    Ok(whole)
}

async fn read(connection: &mut SqliteConnection, partition: PartitionId) -> Result<Dump, Error> {
    let watermark = watermark::of(connection, &[partition]).await?.pop().ok_or_else(|| no_copy(DOING))?;
    let outcomes = memory::outcomes(connection, partition, Offset(0), Offset::MAX).await?;
    Ok(Dump {
        watermark,
        rows: rows(connection, partition).await?,
        outcomes: outcomes.ranges.into_iter().flat_map(|range| range.exceptions).collect(),
        seen: memory::seen(connection, partition, Offset::NONE, UnixMillis(i64::MIN)).await?,
        operations: memory::operations(connection, partition).await?,
        dead_letters: memory::dead_letters(connection, partition, Offset(0), u32::MAX).await?,
    })
}

async fn rows(connection: &mut SqliteConnection, partition: PartitionId) -> Result<Vec<Row>, Error> {
    let mut parameters = Parameters::default();
    parameters.push(partition.0);
    let rows = parameters.query(&ROWS).fetch_all(connection).await.map_err(during(DOING))?;
    rows.iter().map(|row| decode::keyed(row, 0).map(|(_, row)| row)).collect()
}
