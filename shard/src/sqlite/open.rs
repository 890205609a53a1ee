//! Opening the file: is it ours, is it new, is it up to date.
//!
//! Invariant: nothing is written to a file that is not a shard.

use std::time::Duration;

use millpond_schemas::sql::{self, Migration};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use super::{SqliteConfig, error::during};
use crate::Error;

/// `MPND`, in the file's header.
const APPLICATION_ID: i64 = 0x4d50_4e44;
/// How long a statement waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the write-ahead log at which a commit moves them to the file and syncs both: 8 MiB. More: whoever syncs on the
/// same drive waits longer, as the log does for its answers (16,000 pages: 60 ms at a tenth of what saturates). Fewer: more
/// writes of hot pages.
const WAL_PAGES: &str = "2000";
/// The same where nothing is synced.
const WAL_PAGES_THROWAWAY: &str = "16000";
/// What a write-ahead log is cut to after it has grown beyond.
const WAL_BYTES_KEPT: &str = "134217728";
/// Texts kept prepared, those used last; above the number of different ones that a load is likely to have.
const STATEMENTS_MAX: usize = 100;
/// Rows that a connection's thread reads ahead of its task.
const ROWS_AHEAD_MAX: usize = 256;

/// How a connection that writes is opened.
pub(super) fn writing(config: &SqliteConfig) -> SqliteConnectOptions {
    let (synchronous, pages) = if config.throwaway {
        (SqliteSynchronous::Off, WAL_PAGES_THROWAWAY)
    } else {
        // The log is the truth: what a power loss takes is applied again.
        (SqliteSynchronous::Normal, WAL_PAGES)
    };
    plain(config)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("wal_autocheckpoint", pages)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        .pragma("cache_size", format!("-{}", config.cache_kib))
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(STATEMENTS_MAX)
        .row_buffer_size(ROWS_AHEAD_MAX)
}

/// How a connection that reads is opened.
pub(super) fn reading(config: &SqliteConfig) -> SqliteConnectOptions {
    let share = config.cache_kib / config.readers.max(1);
    writing(config).pragma("cache_size", format!("-{share}")).pragma("query_only", "ON")
}

/// How a connection is opened that changes nothing in the file, for a process beside the one that has it.
pub(super) fn reading_only(config: &SqliteConfig) -> SqliteConnectOptions {
    plain(config)
        .read_only(true)
        .pragma("cache_size", format!("-{}", config.cache_kib))
        .pragma("temp_store", "MEMORY")
        .statement_cache_capacity(STATEMENTS_MAX)
        .row_buffer_size(ROWS_AHEAD_MAX)
}

/// Without anything that would change the file.
fn plain(config: &SqliteConfig) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(&config.path).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

/// Checks the file, makes it where there is none, brings it up to date. Answers the first connection.
pub(super) async fn prepare(config: &SqliteConfig) -> Result<SqliteConnection, Error> {
    let doing = during("open the shard's file");
    let mut connection = plain(config).create_if_missing(true).connect().await.map_err(doing)?;
    check_ours(&mut connection).await?;
    connection.close().await.map_err(during("open the shard's file"))?;
    let mut connection = writing(config).connect().await.map_err(during("open the shard's file"))?;
    migrate(&mut connection, sql::SQLITE).await?;
    sync_directory(config)?;
    Ok(connection)
}

/// Checks the file as it is, and makes nothing.
pub(super) async fn inspect(config: &SqliteConfig) -> Result<(), Error> {
    let doing = during("open the shard's file");
    let mut connection = reading_only(config).connect().await.map_err(doing)?;
    check_ours(&mut connection).await?;
    if known(&mut connection, sql::SQLITE).await? < sql::SQLITE.len() {
        return Err(Error::schema(
            MIGRATING,
            "an older build made them: start the server once with this one",
        ));
    }
    connection.close().await.map_err(during("open the shard's file"))
}

async fn check_ours(connection: &mut SqliteConnection) -> Result<(), Error> {
    const DOING: &str = "tell whether the file is a shard";
    let read = sqlx::query_as(
        "SELECT application_id, (SELECT count(*) FROM sqlite_schema) FROM pragma_application_id",
    );
    let (id, tables): (i64, i64) = match read.fetch_one(connection).await.map_err(during(DOING)) {
        Err(Error::Corrupt { source, .. }) => return Err(Error::schema(DOING, source)),
        other => other?,
    };
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        return Ok(());
    }
    Err(Error::schema(DOING, "it is another program's SQLite database"))
}

/// Runs what is missing of `migrations`, each in one transaction.
async fn migrate(connection: &mut SqliteConnection, migrations: &'static [Migration]) -> Result<(), Error> {
    for migration in migrations.iter().skip(known(connection, migrations).await?) {
        run(connection, migration).await?;
    }
    Ok(())
}

/// How many of `migrations` were run.
async fn known(connection: &mut SqliteConnection, migrations: &'static [Migration]) -> Result<usize, Error> {
    let done = done(connection).await?;
    for (version, checksum) in &done {
        match migrations.iter().find(|migration| i64::from(migration.version) == *version) {
            None => {
                return Err(Error::schema(
                    MIGRATING,
                    format!("a newer build made version {version} of its tables"),
                ));
            }
            Some(known) if known.checksum() != *checksum => {
                return Err(Error::schema(
                    MIGRATING,
                    format!("version {version} of its tables is not the known one"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(done.len())
}

const MIGRATING: &str = "bring the shard's tables up to date";

/// Version and checksum of what was run, in order.
async fn done(connection: &mut SqliteConnection) -> Result<Vec<(i64, i64)>, Error> {
    let there: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'migration'")
        .fetch_one(&mut *connection)
        .await
        .map_err(during(MIGRATING))?;
    if there == 0 {
        return Ok(Vec::new());
    }
    let done = sqlx::query_as("SELECT version, checksum FROM migration ORDER BY version");
    done.fetch_all(connection).await.map_err(during(MIGRATING))
}

/// A second process at the same moment fails here, and its caller tries again.
async fn run(connection: &mut SqliteConnection, migration: &'static Migration) -> Result<(), Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(during(MIGRATING))?;
    sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(during(MIGRATING))?;
    sqlx::query("INSERT INTO migration VALUES (?, ?, ?, unixepoch() * 1000)")
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum())
        .execute(&mut *transaction)
        .await
        .map_err(during(MIGRATING))?;
    // A pragma takes no parameter; this is APPLICATION_ID.
    sqlx::query("PRAGMA application_id = 0x4d504e44")
        .execute(&mut *transaction)
        .await
        .map_err(during(MIGRATING))?;
    transaction.commit().await.map_err(during(MIGRATING))
}

/// SQLite syncs the files, not the entry that names a new one.
fn sync_directory(config: &SqliteConfig) -> Result<(), Error> {
    let directory = match config.path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    std::fs::File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::unavailable("sync the shard's directory", error))
}
