//! One column of a row, whichever engine it came from.
//!
//! Not here: what a column means (`decode.rs`). Invariant: a column of another type is an error, never a panic.

use sqlx::{Row as _, postgres::PgRow, sqlite::SqliteRow};

type Column<T> = Result<T, sqlx::Error>;

/// A row as an engine answers it.
pub(crate) trait Columns {
    fn integer(&self, at: usize) -> Column<i64>;
    fn maybe_integer(&self, at: usize) -> Column<Option<i64>>;
    fn truth(&self, at: usize) -> Column<bool>;
    fn text(&self, at: usize) -> Column<&str>;
    fn bytes(&self, at: usize) -> Column<&[u8]>;
    fn maybe_bytes(&self, at: usize) -> Column<Option<&[u8]>>;
}

impl Columns for SqliteRow {
    fn integer(&self, at: usize) -> Column<i64> {
        self.try_get(at)
    }
    fn maybe_integer(&self, at: usize) -> Column<Option<i64>> {
        self.try_get(at)
    }
    fn truth(&self, at: usize) -> Column<bool> {
        self.try_get(at)
    }
    fn text(&self, at: usize) -> Column<&str> {
        self.try_get(at)
    }
    fn bytes(&self, at: usize) -> Column<&[u8]> {
        self.try_get(at)
    }
    fn maybe_bytes(&self, at: usize) -> Column<Option<&[u8]>> {
        self.try_get(at)
    }
}

/// Types are known from the statement, so they are not looked at again for each value. An `integer` reads as a `bigint`.
impl Columns for PgRow {
    fn integer(&self, at: usize) -> Column<i64> {
        self.try_get_unchecked(at)
    }
    fn maybe_integer(&self, at: usize) -> Column<Option<i64>> {
        self.try_get_unchecked(at)
    }
    fn truth(&self, at: usize) -> Column<bool> {
        self.try_get_unchecked(at)
    }
    fn text(&self, at: usize) -> Column<&str> {
        self.try_get_unchecked(at)
    }
    fn bytes(&self, at: usize) -> Column<&[u8]> {
        self.try_get_unchecked(at)
    }
    fn maybe_bytes(&self, at: usize) -> Column<Option<&[u8]>> {
        self.try_get_unchecked(at)
    }
}
