//! What SQLite's result codes mean for the caller. The codes: sqlite.org/rescode.html.

use crate::Error;

/// Turns sqlx's error into ours, for `map_err`.
pub(super) fn during(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| classify(doing, error)
}

fn classify(doing: &'static str, error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Database(database) => {
            let code = database.code().and_then(|code| code.parse::<i32>().ok());
            by_code(code.unwrap_or(SQLITE_ERROR), doing, error)
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Error::corrupt(doing, error),
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => {
            Error::Refused { doing, source: error.into() }
        }
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            Error::unavailable(doing, error)
        }
        _ => Error::schema(doing, error),
    }
}

const SQLITE_ERROR: i32 = 1;

/// The low byte of an extended code is the primary one.
fn by_code(code: i32, doing: &'static str, error: sqlx::Error) -> Error {
    match code & 0xff {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, NOLFS
        5..=10 | 13..=15 | 22 => Error::unavailable(doing, error),
        // CORRUPT, NOTADB
        11 | 26 => Error::corrupt(doing, error),
        // TOOBIG, CONSTRAINT, MISMATCH, RANGE
        18..=20 | 25 => Error::Refused { doing, source: error.into() },
        // ERROR, INTERNAL, PERM, SCHEMA, MISUSE, AUTH and whatever is new
        _ => Error::schema(doing, error),
    }
}
