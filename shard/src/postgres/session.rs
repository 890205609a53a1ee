//! A connection from its first moment: what is set for it, and whether the database is one to work with.
//!
//! Invariant: no statement of a caller runs on a connection that was not checked.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use millpond_schemas::{PartitionId, sql};
use sqlx::{ConnectOptions, Connection, PgConnection, Row as _, postgres::PgConnectOptions};

use super::{
    PostgresConfig, address,
    error::{NO_DATABASE, NO_LOGIN, UNDEFINED_TABLE, during, says},
};
use crate::{Error, Kind, NodeState, decode, engine::Engine};

/// How long a connection may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Statements kept prepared on a connection, those used last: a few for each leaf that it works with.
const STATEMENTS_MAX: usize = 512;
/// The oldest server: `client_connection_check_interval` came with it.
const SERVER_MIN: i64 = 140_000;
/// A setting of our own, read back to see that settings arrive.
const MARK: &str = "millpond.session";

/// For every connection. What is looked up is always found by an index: a plan that was made while a leaf was empty
/// would otherwise go on reading it whole.
const SETTINGS: [(&str, &str); 14] = [
    (MARK, "1"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
    ("client_connection_check_interval", "1s"),
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
const FOR_WRITING: [(&str, &str); 2] = [("statement_timeout", "30s"), ("synchronous_commit", "on")];
const FOR_READING: [(&str, &str); 2] = [("statement_timeout", "5s"), ("default_transaction_read_only", "on")];
const FOR_DUMPING: [(&str, &str); 3] = [
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_read_only", "on"),
];

/// What is used of each table, beside the leaves: those are refused one by one.
const GRANTS: &str = "('kv', 'SELECT'), ('watermark', 'SELECT'), ('watermark', 'INSERT'), ('watermark', 'UPDATE'), \
    ('outcome', 'SELECT'), ('outcome', 'INSERT'), ('outcome', 'DELETE'), \
    ('seen', 'SELECT'), ('seen', 'INSERT'), ('seen', 'DELETE'), \
    ('operation', 'SELECT'), ('operation', 'INSERT'), ('operation', 'UPDATE'), ('operation', 'DELETE'), \
    ('dead_letter', 'SELECT'), ('dead_letter', 'INSERT'), \
    ('published', 'SELECT'), ('published', 'INSERT'), ('published', 'UPDATE')";

/// A connection, and what it knows.
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// Whether it is to write.
    pub(super) writes: bool,
    /// Partitions whose watermark nobody was about to move when this connection read it for the first time.
    pub(super) settled: HashSet<PartitionId>,
    /// Partitions whose rows it was asked for.
    pub(super) asked: HashSet<PartitionId>,
    /// Partitions whose leaves readers' statements have named.
    pub(super) met: BTreeSet<PartitionId>,
}

/// Makes the connection that writes; to a replica, one that reads for the writer's sake.
pub(super) struct Writing(pub(super) Arc<PostgresConfig>);

/// Makes connections that read.
pub(super) struct Reading(pub(super) Arc<PostgresConfig>);

impl Engine for Writing {
    type Connection = Session;
    /// Above what all statements of a call may take; past it the way to the server is broken.
    const DEADLINE: Option<Duration> = Some(Duration::from_mins(1));

    async fn open(&self) -> Result<Session, Error> {
        match self.0.kind {
            Kind::Primary => open(&self.0, &FOR_WRITING, true).await,
            Kind::Replica => open(&self.0, &FOR_READING, false).await,
        }
    }

    async fn close(session: Session) -> Result<(), sqlx::Error> {
        session.connection.close().await
    }
}

impl Engine for Reading {
    type Connection = Session;
    const DEADLINE: Option<Duration> = Some(Duration::from_secs(6));

    async fn open(&self) -> Result<Session, Error> {
        open(&self.0, &FOR_READING, false).await
    }

    async fn close(session: Session) -> Result<(), sqlx::Error> {
        session.connection.close().await
    }
}

/// A connection for a dump, which may take long.
pub(super) async fn dumping(config: &PostgresConfig) -> Result<Session, Error> {
    open(config, &FOR_DUMPING, false).await
}

async fn open(config: &PostgresConfig, more: &[(&str, &str)], writes: bool) -> Result<Session, Error> {
    let mut connection = connect(config, more).await?;
    check(&mut connection, writes).await?;
    Ok(Session { connection, writes, settled: HashSet::new(), asked: HashSet::new(), met: BTreeSet::new() })
}

/// A connection with its settings, not yet checked.
pub(super) async fn connect(config: &PostgresConfig, more: &[(&str, &str)]) -> Result<PgConnection, Error> {
    const DOING: &str = "connect to the shard";
    let options: PgConnectOptions = address::options(config).map_err(|error| Error::schema(DOING, error))?;
    let options = options.statement_cache_capacity(STATEMENTS_MAX).options(SETTINGS).options(more.to_vec());
    match tokio::time::timeout(CONNECT_MAX, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if error.to_string().contains("unsupported startup parameter") => {
            Err(Error::schema(DOING, POOLER))
        }
        Ok(Err(error)) => Err(match missing(config, &error) {
            Some(missing) => Error::schema(DOING, missing),
            None => during(DOING)(error),
        }),
        Err(_) => Err(Error::unavailable(DOING, format!("it does not answer within {CONNECT_MAX:?}"))),
    }
}

/// What an administrator has to run, where the database or the user is not there.
fn missing(config: &PostgresConfig, error: &sqlx::Error) -> Option<String> {
    let options = address::options(config).ok()?;
    let user = options.get_username();
    if says(error, NO_DATABASE) {
        let database = options.get_database().unwrap_or(user);
        return Some(format!(
            "there is no database {database} on this server; let an administrator of it run: \
             CREATE DATABASE \"{database}\" OWNER \"{user}\""
        ));
    }
    // A server that asks for passwords does not tell a user that is not there from a wrong password.
    let refused = NO_LOGIN.iter().any(|code| says(error, code));
    refused.then(|| {
        format!(
            "{error}; if there is no such user on this server, let an administrator of it run: \
             CREATE ROLE \"{user}\" LOGIN PASSWORD '...'; else see PGPASSFILE, PGPASSWORD and shards.password_file"
        )
    })
}

const CHECKING: &str = "check the shard's database";
const POOLER: &str = "the session's settings are lost on the way: a pooler such as pgbouncer stands between; \
    connect to Postgres itself, since pool_mode=transaction breaks prepared statements, locks and timeouts";
const INIT: &str = "its tables are missing or older than this build: run `millpond init`";

/// Whether its settings arrived, and the database and its tables are what this build works with.
async fn check(connection: &mut PgConnection, writes: bool) -> Result<(), Error> {
    settings(connection).await?;
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding') = 'UTF8', \
         pg_is_in_recovery(), (SELECT coalesce(array_agg(checksum ORDER BY version), '{}') FROM migration)",
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| {
        if says(&error, UNDEFINED_TABLE) { Error::schema(CHECKING, INIT) } else { during(CHECKING)(error) }
    })?;
    server(decode::integer(&row, 0)?, decode::truth(&row, 1)?)?;
    if writes && decode::truth(&row, 2)? {
        return Err(Error::unavailable(CHECKING, "it is in recovery: a replica, or about to be promoted"));
    }
    let checksums: Vec<i64> = row.try_get(3).map_err(during(CHECKING))?;
    if known(&checksums)? < sql::POSTGRES.len() {
        return Err(Error::schema(CHECKING, INIT));
    }
    if writes { grants(connection).await } else { Ok(()) }
}

async fn settings(connection: &mut PgConnection) -> Result<(), Error> {
    let mark = sqlx::query_scalar("SELECT current_setting($1, true)").bind(MARK);
    let mark: Option<String> = mark.fetch_one(connection).await.map_err(during(CHECKING))?;
    if mark.as_deref() == Some("1") { Ok(()) } else { Err(Error::schema(CHECKING, POOLER)) }
}

/// Whether the server and the database's encoding are ones that this build works with.
pub(super) fn server(version: i64, utf8: bool) -> Result<(), Error> {
    if version < SERVER_MIN {
        let found = version / 10_000;
        return Err(Error::schema(CHECKING, format!("it is Postgres {found}; 14 or newer is needed")));
    }
    if !utf8 {
        return Err(Error::schema(CHECKING, "its encoding is not UTF8: make it anew with ENCODING 'UTF8'"));
    }
    Ok(())
}

/// How many of this build's migrations were run, by their checksums in order.
pub(super) fn known(checksums: &[i64]) -> Result<usize, Error> {
    for (at, checksum) in checksums.iter().enumerate() {
        let version = at + 1;
        match sql::POSTGRES.get(at) {
            None => {
                let newer = format!("a newer build made version {version} of its tables");
                return Err(Error::schema(CHECKING, newer));
            }
            Some(known) if known.checksum() != *checksum => {
                let changed = format!("version {version} of its tables is not the known one");
                return Err(Error::schema(CHECKING, changed));
            }
            Some(_) => {}
        }
    }
    Ok(checksums.len())
}

async fn grants(connection: &mut PgConnection) -> Result<(), Error> {
    let sql = format!(
        "SELECT string_agg(format('GRANT %s ON %I TO %I', privilege, name, current_user), '; ') \
         FROM (VALUES {GRANTS}) used (name, privilege) WHERE NOT has_table_privilege(name, privilege)"
    );
    let missing = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).persistent(false);
    let missing: Option<String> = missing.fetch_one(connection).await.map_err(during(CHECKING))?;
    match missing {
        Some(missing) => Err(Error::schema(CHECKING, format!("let its owner run: {missing}"))),
        None => Ok(()),
    }
}

/// What the server is just now.
pub(super) async fn state(session: &mut Session) -> Result<NodeState, Error> {
    let row = sqlx::query(
        "SELECT pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() \
         OR pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
         ELSE (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint END",
    )
    .fetch_one(&mut session.connection)
    .await
    .map_err(during("ask for a node's state"))?;
    let lag = decode::maybe_integer(&row, 1)?.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    Ok(NodeState { in_recovery: decode::truth(&row, 0)?, replay_lag: lag })
}
