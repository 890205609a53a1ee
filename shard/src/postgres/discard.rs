//! Discarding a copy: everything that the database holds of one partition.
//!
//! Not here: whether that may be. Invariant: all of it goes, in one transaction, and only where the watermark is the one
//! that was looked at.

use millpond_schemas::{PartitionId, Watermark, sql};
use sqlx::{AssertSqlSafe, Connection as _};

use super::{error::during, parameters::number, session::Session};
use crate::Error;

const DOING: &str = "discard a copy";
/// The watermark first: whoever applies meanwhile waits for it, and then finds that it is gone.
const WATERMARK: &str = "DELETE FROM watermark WHERE partition = $1 AND log_id = $2 AND applied_offset = $3";
const BESIDE: [&str; 4] = [
    "DELETE FROM outcome WHERE partition = $1",
    "DELETE FROM seen WHERE partition = $1",
    "DELETE FROM operation WHERE partition = $1",
    "DELETE FROM dead_letter WHERE partition = $1",
];

pub(super) async fn discard(session: &mut Session, seen: Watermark) -> Result<(), Error> {
    let partition = seen.partition;
    let mut transaction = session.connection.begin().await.map_err(during(DOING))?;
    let found = sqlx::query(WATERMARK)
        .bind(number(partition))
        .bind(seen.log_id.0.as_slice())
        .bind(seen.applied.0)
        .execute(&mut *transaction)
        .await
        .map_err(during(DOING))?;
    if found.rows_affected() != 1 {
        return Err(Error::Fenced { partition });
    }
    for delete in BESIDE {
        let delete = sqlx::query(delete).bind(number(partition));
        delete.execute(&mut *transaction).await.map_err(during(DOING))?;
    }
    sqlx::query(empty(partition)).execute(&mut *transaction).await.map_err(during(DOING))?;
    transaction.commit().await.map_err(during(DOING))
}

/// Not TRUNCATE: a reader with an older snapshot would find the old watermark and no rows.
fn empty(partition: PartitionId) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("DELETE FROM {}", sql::leaf_name(partition)))
}
