//! Parameters of a statement. Many rows travel as arrays, one for each column.
//!
//! Invariant: SQL text is made of our own words and numbers; what users sent is always a parameter.

use std::sync::Arc;

use millpond_schemas::{PartitionId, sql};
use sqlx::{
    Arguments, AssertSqlSafe, Encode, Postgres, Type,
    postgres::{PgArguments, PgHasArrayType},
    query::Query,
};

/// Parameters, in order.
#[derive(Default)]
pub(super) struct Parameters(PgArguments);

impl Parameters {
    pub(super) fn with<'t, T: Encode<'t, Postgres> + Type<Postgres>>(mut self, value: T) -> Self {
        self.0.add(value).expect("Postgres' own types encode");
        self
    }

    /// One column of some rows.
    pub(super) fn column<'t, I, T>(self, items: &'t [I], of: impl Fn(&'t I) -> T) -> Self
    where
        T: Encode<'t, Postgres> + Type<Postgres> + PgHasArrayType + 't,
    {
        let values: Vec<T> = items.iter().map(of).collect();
        self.with(values)
    }

    /// The statement with these parameters. `sql` is put together from our own words and numbers.
    pub(super) fn query(self, sql: impl Into<Arc<str>>) -> Query<'static, Postgres, PgArguments> {
        sqlx::query_with(AssertSqlSafe(sql.into()), self.0)
    }
}

/// This moment by the shard's clock, ms. One value throughout a statement.
pub(super) const NOW: &str = "floor(date_part('epoch', statement_timestamp()) * 1000)::bigint";

/// Name of the table of a partition.
pub(super) fn leaf(partition: PartitionId) -> String {
    sql::leaf_name(partition)
}

pub(super) fn number(partition: PartitionId) -> i64 {
    i64::from(partition.0)
}
