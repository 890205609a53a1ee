//! A limit on everything, by name. Those that the fold depends on travel in a Claim and are only defaults here.

/// Longest key, bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Longest tenant name, bytes.
pub const TENANT_BYTES_MAX: usize = 63;
/// Longest value, bytes, unless a Claim says more.
pub const VALUE_BYTES_MAX: usize = 512 * 1024;
/// Longest content type, bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Longest condition, bytes: far above any position.
pub const CONDITION_BYTES_MAX: usize = 255;
/// Most operations in one batch.
pub const BATCH_OPERATIONS_MAX: usize = 10_000;
/// Largest batch body, decoded, bytes.
pub const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most rows on one page of a query.
pub const PAGE_ROWS_MAX: usize = 1000;
/// Shortest TTL, ms.
pub const TTL_MS_MIN: u64 = 1000;
/// Longest TTL, ms: ten years of 365.25 days.
pub const TTL_MS_MAX: u64 = 315_576_000_000;
/// Latest moment that a row can expire: the end of the year 9999.
pub const EXPIRES_AT_MS_MAX: i64 = 253_402_300_799_999;
/// Deepest nesting of a JSON patch.
pub const JSON_DEPTH_MAX: usize = 64;
/// Most operations in one JSON Patch.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 1000;
/// Largest result that travels in an outcome, bytes.
pub const RESULT_BYTES_MAX: usize = 4096;
/// Largest outcome record; a larger one is split.
pub const OUTCOME_BYTES_MAX: usize = 1024 * 1024;
/// Most headers that a record may carry.
pub const HEADERS_MAX: usize = 128;
/// Most bytes of headers that a record may carry.
pub const HEADER_BYTES_MAX: usize = 32 * 1024;
/// How far back the duplicate window reaches, in offsets.
pub const WINDOW_OFFSETS: i64 = 65_536;
/// How long ids, operations and outcomes are remembered, in ms of log time.
pub const MEMORY_MS: u64 = 24 * 3600 * 1000;
/// Furthest that a control record may lie behind the end that its appender saw, in offsets.
pub const CONTROL_OFFSETS_MAX: i64 = 65_536;
/// Furthest that an append time may lie ahead of the writer's clock, ms.
pub const TIME_JUMP_MS_MAX: u64 = 600_000;
/// How long a tombstone stays, ms of log time, unless configured.
pub const PURGE_GRACE_MS: u64 = 7 * 24 * 3600 * 1000;
/// Most rows that one Sweep or Purge takes: so many keys of the longest kind fit one outcome record.
pub const SWEEP_ROWS_MAX: u32 = 900;
/// Most partitions of one generation.
pub const PARTITIONS_MAX: u32 = 4096;
/// The envelope's format that this build writes: 1.0.
pub const FORMAT: u32 = 100;
/// The fold's version: rises with every change of what a log means.
pub const FOLD_VERSION: u32 = 1;

/// The fold's version that a writer speaks: [`FOLD_VERSION`], and one more where a test plays the next build.
pub fn fold_version() -> u32 {
    FOLD_VERSION + u32::from(crate::Mutant::NewerFold.is_picked())
}
