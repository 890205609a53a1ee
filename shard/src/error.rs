//! What can go wrong with a shard, by what the caller does next. How an engine's codes map to it is the engine's file.

use millpond_schemas::PartitionId;

/// The cause of an error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another log or writer has the partition: read the watermark anew.
    #[error("partition {partition}: the watermark is not what was expected")]
    Fenced {
        /// Whose watermark.
        partition: PartitionId,
    },
    /// A row's version is not below the one that was to replace it: halt the partition (`row-ahead`).
    #[error(
        "partition {partition}: {touched} of {sent} rows could be written; the others are ahead of the log"
    )]
    RowAhead {
        /// Whose rows.
        partition: PartitionId,
        /// Rows in the statement.
        sent: u64,
        /// Rows that it changed.
        touched: u64,
    },
    /// The world: read the watermark, and go on from there, for ever.
    #[error("cannot {doing}: the shard is unavailable")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The database refuses a value: find the record (`record-refused`).
    #[error("cannot {doing}: the shard refused a value")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: BoxError,
    },
    /// The database holds what was never written: serve none of it.
    #[error("cannot {doing}: the shard is corrupt")]
    Corrupt {
        /// What was being done.
        doing: &'static str,
        /// What was found.
        #[source]
        source: BoxError,
    },
    /// The database is not one that this build can use (`shard-refused`).
    #[error("cannot {doing}: the shard refused the statement")]
    Schema {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        #[source]
        source: BoxError,
    },
}

impl Error {
    pub(crate) fn unavailable(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Unavailable { doing, source: source.into() }
    }

    pub(crate) fn corrupt(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Corrupt { doing, source: source.into() }
    }

    pub(crate) fn schema(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Schema { doing, source: source.into() }
    }

    pub(crate) fn refused(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Refused { doing, source: source.into() }
    }
}

/// Rows in a copy that is not there.
pub(crate) fn no_copy(doing: &'static str) -> Error {
    Error::unavailable(doing, "the shard has no copy of the partition")
}

/// What a database's own code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Unavailable,
    Refused,
    Corrupt,
    Schema,
}

impl Class {
    pub(crate) fn of(self, doing: &'static str, source: impl Into<BoxError>) -> Error {
        match self {
            Self::Unavailable => Error::unavailable(doing, source),
            Self::Refused => Error::refused(doing, source),
            Self::Corrupt => Error::corrupt(doing, source),
            Self::Schema => Error::schema(doing, source),
        }
    }
}

/// Turns sqlx's error into ours; `class` judges what the database itself said.
pub(crate) fn classify(
    doing: &'static str,
    error: sqlx::Error,
    class: impl FnOnce(&dyn sqlx::error::DatabaseError) -> Class,
) -> Error {
    let class = match &error {
        sqlx::Error::Database(database) => class(database.as_ref()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Class::Corrupt,
        sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Class::Refused,
        sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => Class::Unavailable,
        _ => Class::Schema,
    };
    class.of(doing, error)
}
