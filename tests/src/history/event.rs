//! One line of a history.
//!
//! Times are Unix µs by the recorder's clock, which does not jump ([`super::Recorder::now_us`]). Positions are strings, as
//! clients see them. Invariant: an event says what was sent and what was told, never what somebody made of it.

use serde::{Deserialize, Serialize};

use super::{Copy, Intent, Text};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// What was run. One, at any place.
    Run(Run),
    /// A write and what its client was told.
    Op(Op),
    /// A read of one key and what its client was told; of a query, one for each key.
    Read(Read),
    /// A call for a mutation's outcome, or an outcome heard on the outcomes topic.
    Look(Look),
    /// A fault that was in fact injected.
    Fault(Fault),
    /// Names the log. The last one counts.
    Topology(Topology),
    /// A record of the log. May come more than once, as the log is read more than once.
    Log(LogRecord),
    /// What the log was seen to span. The last one of a partition counts.
    Bounds(LogBounds),
    /// A copy, as it was in the end.
    Copy(Copy),
    /// A record on the dead-letter topic.
    Published(Published),
    /// After healing.
    Lag(Lag),
}

/// What was run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name.
    pub drill: String,
    /// What it was made of.
    pub seed: u64,
    /// By how much a shard's clock may differ from the recorder's, ms.
    pub skew_ms: u64,
    /// Whether producers with transactions wrote, so that the log may have holes.
    #[serde(default)]
    pub transactions: bool,
}

/// The way that a write took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// A single call.
    Http,
    /// A line of a batch; an event for each.
    Batch,
    /// A native producer.
    Kafka,
    /// A line of `millpond import`, which sends it with one Idempotency-Key as often as it has to: an event for all.
    Import,
}

/// A write: one attempt. A retry is another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Op {
    /// Who sent it; unique to a task.
    pub client: u64,
    /// Whose tokens it keeps. A session has at most one call under way, and all of its reads carry every token that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Which way.
    pub door: Door,
    /// What was sent.
    pub intent: Intent,
    /// Before it was sent.
    pub start_us: i64,
    /// After its answer, or its end.
    pub end_us: i64,
    /// How it ended.
    pub result: WriteResult,
}

/// How a write ended, as its client has to take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteResult {
    /// The log has it: accepted, or with its outcome, a rejection too.
    Ok(Told),
    /// Certainly not on the log: refused (4xx before the log) or not-accepted (503), or never sent.
    Failed {
        /// Of the answer; 0: none.
        status: u16,
        /// The problem's; empty where there is none.
        code: String,
    },
    /// It may be on the log: 504, a 500, or a connection that ended.
    Unknown {
        /// Of the answer; 0: none.
        status: u16,
        /// The problem's code, or what ended.
        code: String,
    },
}

/// What is said to have become of a mutation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its position; with `duplicate` that of the first one. None: accepted, and not told where (a batch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// What became of it.
    pub written: Written,
    /// `KV-Duplicate`: an earlier one with its id stands, and this is that one's outcome.
    #[serde(default)]
    pub duplicate: bool,
    /// `ETag` without quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `KV-Expires-At`, Unix ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// The new value of an operation that returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
    /// Of a ttl change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<bool>,
}

impl Told {
    /// Accepted at this position, as a native producer's delivery report tells it.
    #[expect(clippy::needless_pass_by_value, reason = "a position or its text, as the caller has it")]
    pub fn accepted(position: impl ToString) -> Self {
        Self {
            position: Some(position.to_string()),
            written: Written::Accepted,
            duplicate: false,
            version: None,
            expires_at_ms: None,
            value: None,
            changed: None,
        }
    }
}

/// What became of a mutation that is on the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Written {
    /// Open.
    Accepted,
    /// It took effect, or changed nothing as a ttl change may.
    Applied,
    /// A condition failed.
    Rejected {
        /// The problem's code.
        code: String,
        /// The version that a failed condition found; none: the key was absent, or it was not told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        current: Option<String>,
    },
    /// It can never apply.
    DeadLettered {
        /// The reason's code.
        reason: String,
    },
    /// As a duplicate, of which nothing more was said (`GET /mutations`, the outcomes topic).
    Duplicate {
        /// The first one.
        of: String,
    },
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// Any state.
    Eventual,
    /// Not older than its token.
    Session,
    /// Not older than what was acked before it began.
    Strong,
}

/// A read of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Who sent it.
    pub client: u64,
    /// See [`Op::session`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Who owns the key.
    pub tenant: String,
    /// Which key.
    pub key: Text,
    /// What was asked.
    pub consistency: Consistency,
    /// `KV-Min-Position`, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_position: Option<String>,
    /// Before it was sent.
    pub start_us: i64,
    /// After its answer.
    pub end_us: i64,
    /// What was told.
    pub seen: Seen,
}

/// What a read was told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// The key exists.
    Found(Key),
    /// Absent or expired.
    Absent {
        /// `KV-Position`: of the state that was read.
        position: String,
    },
    /// No answer, or a problem other than absence.
    Failed {
        /// Of the answer; 0: none.
        status: u16,
        /// The problem's code, or what ended.
        code: String,
    },
}

/// A key as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `KV-Position`: of the state that was read.
    pub position: String,
    /// `ETag` without quotes.
    pub version: String,
    /// None: not asked for (HEAD, 304).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
    /// None: not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Unix ms. None: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<i64>,
    /// Whether the answer told of expiry at all; a query without `meta` does not.
    #[serde(default)]
    pub expiry_told: bool,
}

/// A mutation's outcome, asked for by position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Who asked.
    pub client: u64,
    /// After the answer.
    pub end_us: i64,
    /// What was told, of [`Told::position`].
    pub told: Told,
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Such as `kill-9`.
    pub name: String,
    /// To whom.
    pub target: String,
    /// When.
    pub at_us: i64,
    /// Until when, where it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<i64>,
}

/// The log's names, and what decoding and folding depend on besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// 32 hexadecimal digits.
    pub log_id: String,
    /// Which life of the log.
    pub generation: u16,
    /// P.
    pub partitions: u32,
    /// The MAC keys by id, 64 hexadecimal digits each: a test's own.
    pub mac_keys: Vec<(u32, String)>,
    /// Positions that an operator gave up.
    pub skips: Vec<String>,
    /// Records whose append time an operator called wrong.
    pub skip_times: Vec<SkippedTime>,
}

/// Records of one partition that take the time before them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedTime {
    /// Position of the first.
    pub from: String,
    /// Offset of the last.
    pub to: i64,
}

/// A record of the log, as it lies there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Which partition.
    pub partition: u32,
    /// Its place.
    pub offset: i64,
    /// Its append time, Unix ms, as the log gives it.
    pub time_ms: i64,
    /// Its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    /// Names and values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Text)>,
    /// Its bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
}

/// What the log was seen to span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBounds {
    /// Which partition.
    pub partition: u32,
    /// The first offset that can be read.
    pub start: i64,
    /// The next one to be issued.
    pub end: i64,
    /// What two readers found to be no records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

/// Offsets that hold no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first.
    pub from: i64,
    /// The last.
    pub to: i64,
}

/// A dead letter on its topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Which partition.
    pub partition: u32,
    /// The offset of the record that it is.
    pub offset: i64,
    /// The reason's code.
    pub reason: String,
}

/// After healing: how far behind copies are, once they were given the time to catch up, and whether writes go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lag {
    /// When.
    pub at_us: i64,
    /// Records that the serving copy of each partition lacks.
    pub records: Vec<u64>,
    /// New writes since healing that were acked.
    pub acked: u64,
}
