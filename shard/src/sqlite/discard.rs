//! Discarding a copy: everything that the database holds of one partition.
//!
//! Not here: whether that may be. Invariant: all of it goes, in one transaction, and only where the watermark is the one
//! that was looked at.

use millpond_schemas::Watermark;
use sqlx::{Connection as _, SqliteConnection};

use super::error::during;
use crate::Error;

const DOING: &str = "discard a copy";
const BESIDE: [&str; 5] = [
    "DELETE FROM kv WHERE partition = ?",
    "DELETE FROM outcome WHERE partition = ?",
    "DELETE FROM seen WHERE partition = ?",
    "DELETE FROM operation WHERE partition = ?",
    "DELETE FROM dead_letter WHERE partition = ?",
];

pub(super) async fn discard(connection: &mut SqliteConnection, seen: Watermark) -> Result<(), Error> {
    let partition = seen.partition;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(during(DOING))?;
    let found =
        sqlx::query("DELETE FROM watermark WHERE partition = ? AND log_id = ? AND applied_offset = ?")
            .bind(partition.0)
            .bind(seen.log_id.0.as_slice())
            .bind(seen.applied.0)
            .execute(&mut *transaction)
            .await
            .map_err(during(DOING))?;
    if found.rows_affected() != 1 {
        return Err(Error::Fenced { partition });
    }
    for delete in BESIDE {
        let delete = sqlx::query(delete).bind(partition.0);
        delete.execute(&mut *transaction).await.map_err(during(DOING))?;
    }
    transaction.commit().await.map_err(during(DOING))
}
