//! Statements over many rows, in a few fixed sizes, so that each is prepared once.
//!
//! Invariant: SQL text is made of our own words and numbers; what users sent is always a parameter.

use std::sync::Arc;

use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type, query::Query, sqlite::SqliteArguments};

use crate::Error;

/// One statement in several sizes, the largest first.
pub(super) struct Sizes(Vec<(usize, Arc<str>)>);

impl Sizes {
    /// `sql(n)` is the text for `n` rows. `sizes` falls, down to 1.
    pub(super) fn new(sizes: &[usize], sql: impl Fn(usize) -> String) -> Self {
        Self(sizes.iter().map(|size| (*size, sql(*size).into())).collect())
    }

    /// The largest one of at most `rows` rows.
    pub(super) fn within(&self, rows: usize) -> (usize, &Arc<str>) {
        let fits = self.0.iter().find(|(size, _)| *size <= rows);
        let (size, sql) = fits.or(self.0.last()).expect("there is a size");
        (*size, sql)
    }

    /// The smallest one of at least `rows` rows; the largest, if `rows` is beyond.
    pub(super) fn covering(&self, rows: usize) -> (usize, &Arc<str>) {
        let fits = self.0.iter().rev().find(|(size, _)| *size >= rows);
        let (size, sql) = fits.or(self.0.first()).expect("there is a size");
        (*size, sql)
    }
}

/// `rows` times `row`, joined by commas.
pub(super) fn repeated(row: &str, rows: usize) -> String {
    vec![row; rows].join(", ")
}

/// `(0, row), (1, row), …`: rows with their number.
pub(super) fn numbered(row: &str, rows: usize) -> String {
    (0..rows).map(|n| format!("({n}, {row})")).collect::<Vec<_>>().join(", ")
}

/// Parameters, in order.
#[derive(Default)]
pub(super) struct Parameters(SqliteArguments);

impl Parameters {
    pub(super) fn with_capacity(parameters: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(parameters, 0);
        Self(arguments)
    }

    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        self.0.add(value).expect("SQLite's own types encode");
    }

    /// The statement with these parameters. `sql` is one of [`Sizes`].
    pub(super) fn query(self, sql: &Arc<str>) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), self.0)
    }
}

/// Splits `items` into runs for `sizes`, none above `bytes_max` unless it is a single item.
pub(super) fn runs<'i, T>(
    sizes: &'i Sizes,
    mut items: &'i [T],
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize + 'i,
) -> impl Iterator<Item = (&'i [T], &'i Arc<str>)> {
    std::iter::from_fn(move || {
        if items.is_empty() {
            return None;
        }
        let (longest, _) = sizes.within(items.len());
        let mut sum = 0;
        let fitting = items[..longest].iter().take_while(|item| {
            sum += bytes(item);
            sum <= bytes_max
        });
        let (size, sql) = sizes.within(fitting.count().max(1));
        let (run, rest) = items.split_at(size);
        items = rest;
        Some((run, sql))
    })
}

/// Rows in a copy that is not there.
pub(super) fn no_copy(doing: &'static str) -> Error {
    Error::unavailable(doing, "the shard has no copy of the partition")
}
