//! Reads a whole copy in one read transaction of a connection of its own.
//!
//! Invariant: while it is open the server keeps what it may still read, so dead rows stay.

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use millpond_schemas::PartitionId;
use sqlx::{Connection as _, PgConnection};

use super::{PostgresConfig, error::during, parameters::Parameters, session, watermark};
use crate::{CopyReader, Error, Stored, Table, copy_reader::Connection, stored::taken};

const DOING: &str = "read a copy";

/// A reader of the copy as it is now.
pub(super) async fn open(config: &PostgresConfig, partition: PartitionId) -> Result<CopyReader, Error> {
    let mut connection = session::dumping(config).await?.connection;
    let begin = sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    begin.execute(&mut connection).await.map_err(during(DOING))?;
    // The first statement that reads fixes the moment.
    let watermark = watermark::of(&mut connection, &[partition]).await?.pop();
    Ok(CopyReader { partition, watermark, connection: Connection::Postgres(Box::new(connection)) })
}

/// Everything of one table.
pub(crate) fn stream(
    connection: &mut PgConnection,
    partition: PartitionId,
    table: Table,
) -> BoxStream<'_, Result<Stored, Error>> {
    let rows = Parameters::default().query(table.select(partition)).fetch(connection);
    rows.map(move |row| {
        let taken = taken(table, partition, &row.map_err(during(DOING))?)?;
        Ok(stream::iter(taken.into_iter().map(Ok)))
    })
    .try_flatten()
    .boxed()
}

/// Ends the transaction by closing.
pub(crate) async fn close(connection: PgConnection) -> Result<(), sqlx::Error> {
    connection.close().await
}
