//! Holding a database by an advisory lock of a session of its own.
//!
//! Invariant: the session does nothing else, so that nothing ends it but its holder's end or the server's.

use sqlx::{Connection as _, PgConnection};

use super::{
    PostgresConfig,
    error::{LOCK_NOT_AVAILABLE, during, says},
    session::{Session, connect},
};
use crate::{
    Error,
    hold::{Hold, HoldError},
};

const DOING: &str = "hold the shard's database";
/// `MPNDHOLD`.
const LOCK: i64 = 0x4d50_4e44_484f_4c44;
/// `MPNDREAD`.
const READS: i64 = 0x4d50_4e44_5245_4144;
/// What a server shows of a session's name, bytes.
const NAME_BYTES_MAX: usize = 63;

/// The session that holds it.
#[derive(Debug)]
pub(crate) struct Holding(PgConnection);

impl Holding {
    /// Whether the session is still there, and with it the lock.
    pub(crate) async fn check(&mut self) -> Result<(), Error> {
        let checked = sqlx::raw_sql("SELECT 1").execute(&mut self.0).await;
        checked.map(drop).map_err(during("look after a lock in the shard's database"))
    }

    pub(crate) async fn release(self) {
        if let Err(error) = self.0.close().await {
            tracing::debug!(%error, "the session that held the database did not close cleanly");
        }
    }
}

/// Says here that somebody reads the log from its beginning. Any number may.
pub(super) async fn log(config: &PostgresConfig, by: &str) -> Result<Hold, Error> {
    let mut connection = connect(&named(config, by), &[]).await?;
    let locked = sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(READS).execute(&mut connection).await;
    locked.map_err(during("hold the log"))?;
    Ok(Hold::session(Holding(connection)))
}

/// Whether anybody has said so.
pub(super) async fn is_log_held(session: &mut Session) -> Result<bool, Error> {
    let held = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (classid::bigint << 32) + objid::bigint = $1)",
    )
    .bind(READS);
    held.fetch_one(&mut session.connection).await.map_err(during("ask who holds the log"))
}

fn named(config: &PostgresConfig, by: &str) -> PostgresConfig {
    let application_name = by.chars().filter(char::is_ascii).take(NAME_BYTES_MAX).collect();
    PostgresConfig { application_name, ..config.clone() }
}

/// Holds it in the name of `by`. One that has just been let go of is waited for as long as locks are.
pub(super) async fn hold(config: &PostgresConfig, by: &str) -> Result<Hold, HoldError> {
    let mut connection = connect(&named(config, by), &[]).await?;
    let locked = sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await;
    match locked {
        Ok(_) => Ok(Hold::session(Holding(connection))),
        Err(error) if says(&error, LOCK_NOT_AVAILABLE) => {
            let holder = holder(&mut connection).await?;
            Err(HoldError::Held { holder: holder.unwrap_or_else(|| "another process".to_owned()) })
        }
        Err(error) => Err(during(DOING)(error).into()),
    }
}

/// The other session by its name, where it comes from, and its process in the server.
async fn holder(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    let who = sqlx::query_scalar(
        "SELECT format('%s (from %s, server process %s)', a.application_name, \
         coalesce(host(a.client_addr), 'a local socket'), a.pid) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND (l.classid::bigint << 32) + l.objid::bigint = $1",
    )
    .bind(LOCK);
    who.fetch_optional(connection).await.map_err(during(DOING))
}
