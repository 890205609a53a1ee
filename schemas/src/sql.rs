//! The versioned tables of a shard, as text: what a database holds after each migration.
//!
//! Not here: running them. Invariant: a migration that was published never changes; a new one follows it.

use xxhash_rust::xxh3::xxh3_64;

use crate::PartitionId;

/// One step of a shard's tables, run once, in one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: u32,
    /// For people.
    pub name: &'static str,
    /// One or more statements.
    pub sql: &'static str,
}

impl Migration {
    /// Identifies the text; kept in the database, so that one that was changed afterwards is noticed.
    pub fn checksum(&self) -> i64 {
        xxh3_64(self.sql.as_bytes()).cast_signed()
    }
}

/// Those of a SQLite shard, in order.
pub const SQLITE: &[Migration] = &[
    Migration { version: 1, name: "0001_first", sql: include_str!("../sql/sqlite/0001_first.sql") },
    Migration { version: 2, name: "0002_published", sql: include_str!("../sql/sqlite/0002_published.sql") },
];

/// Those of a Postgres shard, in order.
pub const POSTGRES: &[Migration] = &[
    Migration { version: 1, name: "0001_first", sql: include_str!("../sql/postgres/0001_first.sql") },
    Migration { version: 2, name: "0002_published", sql: include_str!("../sql/postgres/0002_published.sql") },
];

/// Name of the Postgres table that holds one partition's rows: made of an integer only.
pub fn leaf_name(partition: PartitionId) -> String {
    format!("kv_p{:05}", partition.0)
}

/// Statements that make the leaf of one partition on a Postgres shard. Running them again changes nothing.
pub fn leaf(partition: PartitionId) -> String {
    include_str!("../sql/postgres/leaf.sql")
        .replace("{leaf}", &leaf_name(partition))
        .replace("{partition}", &partition.0.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_without_gaps() {
        for migrations in [SQLITE, POSTGRES] {
            for (version, migration) in (1..).zip(migrations) {
                assert_eq!(migration.version, version);
                assert!(migration.name.starts_with(&format!("{version:04}_")));
            }
        }
    }

    #[test]
    fn a_leaf_is_named_by_its_partition_alone() {
        let sql = leaf(PartitionId(42));
        assert!(sql.contains("kv_p00042") && sql.contains("IN (42)"), "{sql}");
        assert!(!sql.contains('{'), "{sql}");
    }
}
