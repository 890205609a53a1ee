//! A whole copy at one moment, for comparing copies.

use std::time::Duration;

use millpond_schemas::{Offset, PartitionId, Row, UnixMillis};
use sqlx::Connection as _;

use super::{
    PostgresConfig,
    error::during,
    memory,
    parameters::{Parameters, leaf},
    session::{self, Session},
    watermark,
};
use crate::{
    Dump, Error,
    decode::{self, KEYED},
    error::no_copy,
};

const DOING: &str = "dump a copy";
/// How long all of it may take.
const DUMP_MAX: Duration = Duration::from_hours(1);

/// Everything of a copy, in one read transaction on a connection of its own.
pub(super) async fn dump(config: &PostgresConfig, partition: PartitionId) -> Result<Dump, Error> {
    let whole = async {
        let mut session = session::dumping(config).await?;
        let begin = sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        begin.execute(&mut session.connection).await.map_err(during(DOING))?;
        let whole = read(&mut session, partition).await?;
        session.connection.close().await.map_err(during(DOING))?;
        Ok(whole)
    };
    let late = |_| Error::unavailable(DOING, format!("it took more than {DUMP_MAX:?}"));
    tokio::time::timeout(DUMP_MAX, whole).await.map_err(late)?
}

async fn read(session: &mut Session, partition: PartitionId) -> Result<Dump, Error> {
    let watermark = watermark::of(&mut session.connection, &[partition]).await?.pop();
    let watermark = watermark.ok_or_else(|| no_copy(DOING))?;
    let outcomes = memory::outcomes(session, partition, Offset(0), Offset::MAX).await?;
    Ok(Dump {
        watermark,
        rows: rows(session, partition).await?,
        outcomes: outcomes.ranges.into_iter().flat_map(|range| range.exceptions).collect(),
        seen: memory::seen(session, partition, Offset::NONE, UnixMillis(i64::MIN)).await?,
        operations: memory::operations(session, partition).await?,
        dead_letters: memory::dead_letters(session, partition, Offset(0), u32::MAX).await?,
    })
}

async fn rows(session: &mut Session, partition: PartitionId) -> Result<Vec<Row>, Error> {
    let sql = format!("SELECT {KEYED} FROM {} kv ORDER BY tenant, key", leaf(partition));
    let query = Parameters::default().query(sql);
    let rows = query.fetch_all(&mut session.connection).await.map_err(during(DOING))?;
    rows.iter().map(|row| decode::keyed(row, 0).map(|(_, row)| row)).collect()
}
