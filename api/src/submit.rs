//! Mutations onto the log: sent at once, in the order of the calls, and theirs to keep from then on.
//!
//! Sending does not wait, so a call that is dropped has either not sent or sent for good: the log's queue owns the
//! records. Invariant: *not-accepted* is said only of what was certainly never sent.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use millpond_log::{Acks, Append, Error};
use millpond_schemas::{
    ByteString, Expiry, Mutation, MutationId, Offset, Op, PartitionId, Position, TtlMode, UnixMillis,
};
use millpond_trace::{Kind, Span, TRACEPARENT};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    calling,
    metrics::{Ingested, place},
    problem::{Code, Problem},
    state::State,
};

/// Mutations that were sent.
#[derive(Debug)]
pub(crate) struct Sent {
    acks: Acks,
    records: Vec<SentRecord>,
    /// From sending to the ack.
    span: Span,
}

#[derive(Debug)]
struct SentRecord {
    partition: PartitionId,
    key_hash: u64,
    /// Which operation, as metrics order them.
    op: usize,
    bytes: u64,
    /// No ack is below this, or the log is another one.
    floor: Offset,
    expiry: Option<Expiry>,
}

/// A mutation that the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Its name.
    pub(crate) position: Position,
    /// When its key will expire, where the mutation alone says so.
    pub(crate) expires_at: Option<UnixMillis>,
}

/// An id for a mutation that nobody named: random, not durable.
pub(crate) fn random_id() -> MutationId {
    let bytes: [u8; 16] = rand::random();
    // All zero means no id.
    MutationId { bytes: if bytes == [0; 16] { [1; 16] } else { bytes }, durable: false }
}

/// Hash of a key for the memory of recent writes.
pub(crate) fn key_hash(record_key: &[u8]) -> u64 {
    xxh3_64(record_key)
}

impl State {
    /// Sends mutations in one call, without waiting. Those of one partition lie on the log in this order.
    ///
    /// # Errors
    /// 503, 413: none of them is on the log.
    pub(crate) fn send(&self, mutations: &[Mutation]) -> Result<Sent, Problem> {
        if self.has_diverged() {
            return Err(Problem::new(Code::LogDiverged, ""));
        }
        let mut records = Vec::with_capacity(mutations.len());
        let mut appends = Vec::with_capacity(mutations.len());
        let (mut span, header) = self.span_of_append(mutations.len());
        for mutation in mutations {
            self.judge_clock(mutation)?;
            let partition = self.partition_of(&mutation.key);
            let mut raw = mutation.encode();
            raw.headers.extend(header.clone().map(|value| (ByteString::from_static(TRACEPARENT), value)));
            records.push(SentRecord {
                partition,
                key_hash: key_hash(mutation.key.bytes()),
                op: place(&mutation.op),
                bytes: raw.len() as u64,
                floor: self.partitions.of(partition).end(),
                expiry: expiry_of(&mutation.op),
            });
            appends.push(Append { partition, raw });
        }
        if !self.backlog.takes(records.iter().map(|record| record.bytes).sum(), &self.config) {
            return Err(failed_as(&mut span, Problem::new(Code::BacklogFull, "")));
        }
        let acks = self.log.enqueue(&appends).map_err(|error| failed(&mut span, &error))?;
        Ok(Sent { acks, records, span })
    }

    /// A span of sending, and what records carry on: it, or where nothing is recorded here the caller's.
    fn span_of_append(&self, records: usize) -> (Span, Option<Bytes>) {
        let Some(call) = calling::span() else { return (Span::none(), None) };
        let mut span = self.tracer.span("append", Kind::Producer, Some(call));
        span.set("messaging.operation.type", "send");
        span.set("messaging.batch.message_count", records);
        let carried = span.context().unwrap_or(call);
        (span, carried.is_sampled().then(|| carried.to_string().into()))
    }

    /// Waits until the log has them, in the order in which they were sent.
    ///
    /// # Errors
    /// 503: none is on the log. 504: any of them may be.
    pub(crate) async fn accepted(&self, mut sent: Sent) -> Result<Vec<Accepted>, Problem> {
        let acks = sent.acks.await.map_err(|error| failed(&mut sent.span, &error))?;
        if let ([record], [ack]) = (sent.records.as_slice(), acks.as_slice()) {
            sent.span.set("messaging.destination.partition.id", i64::from(record.partition.0));
            sent.span.set("messaging.kafka.offset", ack.offset.0);
        }
        drop(sent.span);
        let (generation, now) = (self.generation(), self.now());
        let mut accepted = Vec::with_capacity(acks.len());
        let mut ingested = Ingested::default();
        for (record, ack) in sent.records.into_iter().zip(acks) {
            if ack.offset < record.floor {
                return Err(self.diverge(record.partition, ack.offset, record.floor));
            }
            self.partitions.acked(record.partition, record.key_hash, ack);
            let is_apart = self.compare_clock(record.partition, [ack.time, now]);
            let (count, bytes) = &mut ingested[record.op];
            (*count, *bytes) = (*count + 1, *bytes + record.bytes);
            accepted.push(Accepted {
                position: Position { generation, partition: record.partition, offset: ack.offset },
                // A time that is wrong may still be skipped.
                expires_at: record.expiry.filter(|_| !is_apart).map(|expiry| expiry.at(ack.time)),
            });
        }
        self.metrics.ingested(&ingested);
        Ok(accepted)
    }

    /// What comes back from this log is not above what was there before: nothing more is accepted.
    fn diverge(&self, partition: PartitionId, offset: Offset, floor: Offset) -> Problem {
        if !self.diverged.swap(true, Ordering::Relaxed) {
            tracing::error!(
                partition = partition.0,
                offset = offset.0,
                floor = floor.0,
                "the log issued an offset again; no more is accepted"
            );
        }
        Problem::new(Code::OutcomeUnknown, "the log is not the one that was written before")
    }
}

/// When the key expires, if the present row has no say in it.
fn expiry_of(op: &Op) -> Option<Expiry> {
    match op {
        Op::Put { expiry, .. } | Op::Ttl { mode: TtlMode::Set, expiry } => *expiry,
        Op::Ttl { .. }
        | Op::Delete
        | Op::Increment { .. }
        | Op::Append { .. }
        | Op::MergePatch { .. }
        | Op::JsonPatch { .. } => None,
    }
}

/// Ends the span of an append that came to nothing.
fn failed(span: &mut Span, error: &Error) -> Problem {
    failed_as(span, of_log(error))
}

fn failed_as(span: &mut Span, problem: Problem) -> Problem {
    span.fail(problem.code().code());
    problem
}

fn of_log(error: &Error) -> Problem {
    match error {
        Error::Backpressure { .. } => Problem::new(Code::LogBackpressure, ""),
        Error::TooLarge { max, .. } => {
            Problem::new(Code::BodyTooLarge, "more than the log takes at once").limit(*max)
        }
        Error::Unknown { .. } => {
            tracing::warn!(
                request_id = calling::request_id(),
                error = error as &dyn std::error::Error,
                "an append is in doubt"
            );
            Problem::new(Code::OutcomeUnknown, "")
                .hint("the same request with the same Idempotency-Key is safe to repeat")
        }
        Error::Unavailable { .. } => {
            tracing::debug!(
                request_id = calling::request_id(),
                error = error as &dyn std::error::Error,
                "the log takes nothing"
            );
            Problem::new(Code::LogUnavailable, "")
        }
        Error::Trimmed { .. } | Error::BeyondEnd { .. } | Error::Gap { .. } | Error::Corrupt { .. } => {
            tracing::error!(
                request_id = calling::request_id(),
                error = error as &dyn std::error::Error,
                "an append failed as only reads can"
            );
            Problem::new(Code::OutcomeUnknown, "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_unknown_append_leaves_it_open_what_is_on_the_log() {
        use crate::problem::Fate;
        let fate = |error: Error| of_log(&error).code().fate();
        assert_eq!(fate(Error::Backpressure { queued_bytes: 1, max: 1 }), Fate::NotAccepted);
        assert_eq!(fate(Error::Unavailable { reason: "", source: None }), Fate::NotAccepted);
        assert_eq!(fate(Error::TooLarge { bytes: 2, max: 1 }), Fate::Refused);
        let source = std::sync::Arc::new(std::io::Error::other("lost"));
        assert_eq!(fate(Error::Unknown { source }), Fate::Unknown);
    }

    #[test]
    fn random_ids_differ_and_are_not_durable() {
        assert_ne!(random_id().bytes, random_id().bytes);
        assert!(!random_id().durable);
    }
}
