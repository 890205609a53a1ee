//! What SQLite's result codes mean for the caller. The codes: sqlite.org/rescode.html.

use sqlx::error::DatabaseError;

use crate::{
    Error,
    error::{Class, classify},
};

/// Turns sqlx's error into ours, for `map_err`.
pub(super) fn during(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| classify(doing, error, class)
}

const SQLITE_ERROR: i32 = 1;

/// The low byte of an extended code is the primary one.
fn class(error: &dyn DatabaseError) -> Class {
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(SQLITE_ERROR);
    match code & 0xff {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL, NOLFS
        5..=10 | 13..=15 | 22 => Class::Unavailable,
        // CORRUPT, NOTADB
        11 | 26 => Class::Corrupt,
        // TOOBIG, CONSTRAINT, MISMATCH, RANGE
        18..=20 | 25 => Class::Refused,
        // ERROR, INTERNAL, PERM, SCHEMA, MISUSE, AUTH and whatever is new
        _ => Class::Schema,
    }
}
