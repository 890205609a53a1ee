//! Making an empty copy: its leaf and its watermark.
//!
//! Invariant: there is a leaf for every watermark.

use millpond_schemas::{Watermark, sql};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{error::during, migrate::LOCK, parameters::number, session::Session, watermark};
use crate::Error;

const DOING: &str = "create a copy";

/// Makes it, unless there is one of the same log.
pub(super) async fn create(session: &mut Session, watermark: Watermark) -> Result<(), Error> {
    let partition = watermark.partition;
    let connection = &mut session.connection;
    if watermark::of(connection, &[partition]).await?.is_empty() {
        make(connection, &watermark).await?;
    }
    let same =
        watermark::of(connection, &[partition]).await?.iter().any(|there| there.log_id == watermark.log_id);
    if same { Ok(()) } else { Err(Error::Fenced { partition }) }
}

async fn make(connection: &mut PgConnection, watermark: &Watermark) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(during(DOING))?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK);
    lock.execute(&mut *transaction).await.map_err(during(DOING))?;
    let leaf = AssertSqlSafe(sql::leaf(watermark.partition));
    sqlx::raw_sql(leaf).execute(&mut *transaction).await.map_err(during(DOING))?;
    sqlx::query(
        "INSERT INTO watermark SELECT $1::bigint, $2::int, $3, $4, $5, $6, $7, $8, $9, $10 \
         ON CONFLICT (partition) DO NOTHING",
    )
    .bind(number(watermark.partition))
    .bind(i32::from(watermark.generation.0))
    .bind(watermark.log_id.0.as_slice())
    .bind(watermark.applied.0)
    .bind(watermark.digest_offset.0)
    .bind(watermark.digest.0.as_slice())
    .bind(watermark.time.0)
    .bind(watermark.owner.0)
    .bind(watermark.claim.as_ref())
    .bind(watermark.sealed)
    .execute(&mut *transaction)
    .await
    .map_err(during(DOING))?;
    transaction.commit().await.map_err(during(DOING))
}
