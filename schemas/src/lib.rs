//! Shapes: records on the log, rows in a shard, and what names them.
//!
//! Pure values with their encodings. Not here: I/O, async, clocks, randomness.
//! Invariant: bytes from outside are decoded once, into types that cannot hold what is invalid.

mod control;
mod envelope;
pub mod floor;
mod flush;
mod ids;
pub mod json;
mod key;
pub mod limits;
mod mutant;
mod mutation;
mod outcome;
mod part;
mod plain;
mod raw;
mod record;
mod refusal;
mod row;
pub mod sql;
mod topology;
mod wire;

/// Text that shares its bytes: a clone copies none.
pub use bytestring::ByteString;
pub use control::{Claim, Control, ControlOp, KeyMissing, Keyring};
pub use envelope::MutationInvalid;
pub use flush::{DeadLetter, Flush, Operation, Seen, SeenInvalid, Watermark};
pub use ids::{Generation, LogId, Offset, PartitionId, Position, PositionInvalid, UnixMillis, Version};
pub use json::JsonInvalid;
pub use key::{KeyInvalid, KeyJoiner, RecordKey, Tenant, partition_of};
pub use mutant::Mutant;
pub use mutation::{
    CONTENT_TYPE_DEFAULT, Conditions, Expiry, Fingerprint, IdHash, Mutation, MutationId, Op, TtlMode,
};
pub use outcome::{Effect, Exception, Outcome, OutcomeInvalid, OutcomeRange, Rejected, Rejection};
pub use raw::{Digest, FORMAT_RECORD, HEADER_FORMAT, HEADER_MAC, Raw, Received};
pub use record::{DecodeError, Decoder, Record};
pub use refusal::{Reason as DeadReason, Refusal};
pub use row::{Created, Row, Upsert};
pub use topology::{Audit, Change, Shard, SkipTime, Topology, TopologyInvalid};

/// The proto file of a record on the mutations log, and of a batch over HTTP.
pub const MUTATION_PROTO: &str = include_str!("../proto/millpond/v1/record.proto");
/// The proto file of a record on the outcomes topic.
pub const OUTCOME_PROTO: &str = include_str!("../proto/millpond/v1/outcome.proto");
