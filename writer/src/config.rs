//! What a writer can be told. Nothing here changes results: what does travels in the Claim.

use std::time::Duration;

use millpond_schemas::{
    Generation,
    limits::{PURGE_GRACE_MS, VALUE_BYTES_MAX},
};

/// Bounds of a flush, and what the writer's Claims say.
#[derive(Clone, Debug)]
pub struct Config {
    /// Most records of one partition in a flush. More: fewer transactions, longer waits behind each. Default 5,000.
    pub flush_records_max: usize,
    /// Most bytes of records of one partition in a flush. Default 8 MiB.
    pub flush_bytes_max: usize,
    /// Least time from one flush of a shard to the next while fewer than 64 records wait. Shorter: more transactions
    /// and CPU time for the same records; longer: longer waits for outcomes. Default 2 ms.
    pub flush_interval: Duration,
    /// How long a transaction should take at most; a slower shard gets fewer records per flush. Default 100 ms.
    pub flush_time_max: Duration,
    /// What the Claims say.
    pub claim: ClaimConfig,
}

/// What the fold depends on: goes into the log with every Claim, and never falls within a generation.
#[derive(Clone, Debug)]
pub struct ClaimConfig {
    /// Which life of the log.
    pub generation: Generation,
    /// Longest value, bytes.
    pub value_bytes_max: u64,
    /// How long a tombstone stays, of log time.
    pub purge_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            flush_records_max: 5_000,
            flush_bytes_max: 8 * 1024 * 1024,
            flush_interval: Duration::from_millis(2),
            flush_time_max: Duration::from_millis(100),
            claim: ClaimConfig {
                generation: Generation::FIRST,
                value_bytes_max: VALUE_BYTES_MAX as u64,
                purge_grace: Duration::from_millis(PURGE_GRACE_MS),
            },
        }
    }
}
