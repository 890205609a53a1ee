//! Brings a database's tables up to date: `millpond init`, never a call of a running role.
//!
//! Invariant: each migration runs once, in one transaction that also says so; two at a time wait for one another.

use millpond_schemas::sql::{self, Migration};
use sqlx::{Connection, PgConnection};

use super::{
    PostgresConfig,
    error::during,
    session::{connect, known, server},
};
use crate::{Error, decode};

const DOING: &str = "bring the shard's tables up to date";
/// A migration may rewrite much; what it waits for is bounded by `lock_timeout`.
const SETTINGS: [(&str, &str); 1] = [("statement_timeout", "0")];
/// `MPND`: held while tables and leaves are made.
pub(super) const LOCK: i64 = 0x4d50_4e44;

/// Runs what is missing.
pub(super) async fn run(config: &PostgresConfig) -> Result<(), Error> {
    let mut connection = connect(config, &SETTINGS).await?;
    let migrated = migrate(&mut connection).await;
    let closed = connection.close().await.map_err(during(DOING));
    migrated.and(closed)
}

async fn migrate(connection: &mut PgConnection) -> Result<(), Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding') = 'UTF8'",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(during(DOING))?;
    server(decode::integer(&row, 0)?, decode::truth(&row, 1)?)?;
    let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK);
    lock.execute(&mut *connection).await.map_err(during(DOING))?;
    let done = done(connection).await?;
    for migration in sql::POSTGRES.iter().skip(known(&done)?) {
        one(connection, migration).await?;
    }
    Ok(())
}

/// Checksums of what was run, in order.
async fn done(connection: &mut PgConnection) -> Result<Vec<i64>, Error> {
    let there = sqlx::query_scalar("SELECT to_regclass('migration') IS NOT NULL");
    let there: bool = there.fetch_one(&mut *connection).await.map_err(during(DOING))?;
    if !there {
        return Ok(Vec::new());
    }
    let done = sqlx::query_scalar("SELECT checksum FROM migration ORDER BY version");
    done.fetch_all(connection).await.map_err(during(DOING))
}

async fn one(connection: &mut PgConnection, migration: &'static Migration) -> Result<(), Error> {
    let mut transaction = connection.begin().await.map_err(during(DOING))?;
    sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(during(DOING))?;
    sqlx::query(
        "INSERT INTO migration VALUES ($1, $2, $3, floor(extract(epoch FROM statement_timestamp()) * 1000))",
    )
    .bind(i32::try_from(migration.version).expect("versions are few"))
    .bind(migration.name)
    .bind(migration.checksum())
    .execute(&mut *transaction)
    .await
    .map_err(during(DOING))?;
    transaction.commit().await.map_err(during(DOING))
}
