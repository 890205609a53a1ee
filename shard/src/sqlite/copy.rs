//! Reads a whole copy in one read transaction of a connection of its own.
//!
//! Invariant: while it is open the write-ahead log keeps what it may still read, so it grows.

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use millpond_schemas::PartitionId;
use sqlx::{ConnectOptions, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{error::during, statement::Parameters, watermark};
use crate::{CopyReader, Error, Stored, Table, copy_reader::Connection, stored::taken};

const DOING: &str = "read a copy";
/// Rows that the connection's thread reads ahead: few, each may hold a large value.
const ROWS_AHEAD_MAX: usize = 32;

/// A reader of the copy as it is now.
pub(super) async fn open(options: SqliteConnectOptions, partition: PartitionId) -> Result<CopyReader, Error> {
    let mut connection = options.row_buffer_size(ROWS_AHEAD_MAX).connect().await.map_err(during(DOING))?;
    sqlx::query("BEGIN").execute(&mut connection).await.map_err(during(DOING))?;
    // The first statement that reads fixes the moment.
    let watermark = watermark::of(&mut connection, &[partition]).await?.pop();
    Ok(CopyReader { partition, watermark, connection: Connection::Sqlite(Box::new(connection)) })
}

/// Everything of one table.
pub(crate) fn stream(
    connection: &mut SqliteConnection,
    partition: PartitionId,
    table: Table,
) -> BoxStream<'_, Result<Stored, Error>> {
    let rows = Parameters::default().query(&table.select(partition).into()).fetch(connection);
    rows.map(move |row| {
        let taken = taken(table, partition, &row.map_err(during(DOING))?)?;
        Ok(stream::iter(taken.into_iter().map(Ok)))
    })
    .try_flatten()
    .boxed()
}

/// Ends the transaction by closing.
pub(crate) async fn close(connection: SqliteConnection) -> Result<(), sqlx::Error> {
    connection.close().await
}
