//! Statements over many rows, in a few fixed sizes, so that each is prepared once.
//!
//! Invariant: SQL text is made of our own words and numbers; what users sent is always a parameter.

use std::sync::Arc;

use sqlx::{Arguments, AssertSqlSafe, Encode, Sqlite, Type, query::Query, sqlite::SqliteArguments};

/// One statement in several sizes, the largest first.
pub(super) struct Sizes(Vec<(usize, Arc<str>)>);

impl Sizes {
    /// `sql(n)` is the text for `n` rows. `sizes` falls.
    pub(super) fn new(sizes: &[usize], sql: impl Fn(usize) -> String) -> Self {
        Self(sizes.iter().map(|size| (*size, sql(*size).into())).collect())
    }

    /// Rows of the largest one.
    pub(super) fn largest(&self) -> usize {
        self.covering(usize::MAX).0
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
pub(super) struct Parameters {
    arguments: SqliteArguments,
    /// Texts bound before. Tenants and content types mostly come again, and a shared one is not copied.
    shared: [Option<Arc<str>>; 2],
}

impl Parameters {
    pub(super) fn with_capacity(parameters: usize) -> Self {
        let mut arguments = SqliteArguments::default();
        arguments.reserve(parameters, 0);
        Self { arguments, shared: [None, None] }
    }

    pub(super) fn push<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(&mut self, value: T) {
        self.arguments.add(value).expect("SQLite's own types encode");
    }

    /// A text that neighbours are likely to have too.
    pub(super) fn push_shared(&mut self, text: &str) {
        let known = self.shared.iter().flatten().find(|known| ***known == *text).cloned();
        let text = known.unwrap_or_else(|| {
            self.shared.rotate_left(1);
            Arc::clone(self.shared[1].insert(text.into()))
        });
        self.push(text);
    }

    pub(super) fn push_nulls(&mut self, parameters: usize) {
        for _ in 0..parameters {
            self.push(None::<i64>);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.arguments.len()
    }

    /// The statements with these parameters. `sql` is put together from [`Sizes`].
    pub(super) fn query_text(self, sql: String) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query_with(AssertSqlSafe(sql), self.arguments)
    }

    /// The statement with these parameters. `sql` is one of [`Sizes`].
    pub(super) fn query(self, sql: &Arc<str>) -> Query<'static, Sqlite, SqliteArguments> {
        sqlx::query_with(AssertSqlSafe(Arc::clone(sql)), self.arguments)
    }
}
