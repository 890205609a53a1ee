//! One attempt at a flush, as it is measured and traced.
//!
//! Invariant: where nothing is traced, a record costs nothing here, and a stage two looks at the clock.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use millpond_schemas::{Flush, Offset, PartitionId, Record};
use millpond_shard::Error;
use millpond_trace::{Context, Kind, Links, Span, TRACEPARENT};

use crate::{Parts, Statuses, copy::Batch};

/// What a flush does, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Rows and operations that the fold needs are read from the shard.
    Read,
    /// The fold.
    Fold,
    /// Statements of the transaction.
    Apply,
    /// Its COMMIT.
    Commit,
    /// Outcomes are handed on.
    Publish,
}

impl Stage {
    pub(crate) const ALL: [Self; 5] = [Self::Read, Self::Fold, Self::Apply, Self::Commit, Self::Publish];

    /// For labels, and as the span's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Fold => "fold",
            Self::Apply => "apply",
            Self::Commit => "commit",
            Self::Publish => "publish",
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Read | Self::Apply | Self::Commit => Kind::Client,
            Self::Publish => Kind::Producer,
            Self::Fold => Kind::Internal,
        }
    }
}

/// An attempt under way.
pub(crate) struct Attempt {
    span: Span,
    began: Instant,
    /// When the last stage ended.
    at: Instant,
    stages: [Duration; Stage::ALL.len()],
    /// Of these partitions nothing was committed.
    fenced: Vec<PartitionId>,
    dead: HashSet<(PartitionId, Offset)>,
}

impl Attempt {
    /// Begins; linked to the traces of the mutations in it.
    pub(crate) fn begin(parts: &Parts, shard: usize, batches: &[Batch]) -> Self {
        let began = Instant::now();
        let mut span = Span::none();
        if parts.tracer.is_on() {
            span = parts.tracer.linked("flush", Kind::Consumer, links(batches));
        }
        if span.is_recorded() {
            span.set("millpond.shard", parts.shards[shard].name());
            span.set("millpond.partitions", batches.len());
            let records: usize = batches.iter().map(|batch| batch.entries.len()).sum();
            span.set("messaging.batch.message_count", records);
        }
        let stages = <[Duration; Stage::ALL.len()]>::default();
        Self { span, began, at: began, stages, fenced: Vec::new(), dead: HashSet::new() }
    }

    /// A stage ends now.
    pub(crate) fn passed(&mut self, stage: Stage) {
        self.passed_at(stage, Instant::now());
    }

    /// The transaction ends now, and so much of it was the COMMIT.
    pub(crate) fn applied(&mut self, commit: Duration) {
        let now = Instant::now();
        let sent = now.checked_sub(commit).unwrap_or(self.at).max(self.at);
        self.passed_at(Stage::Apply, sent);
        self.passed_at(Stage::Commit, now);
    }

    fn passed_at(&mut self, stage: Stage, now: Instant) {
        self.stages[stage as usize] += now.saturating_duration_since(self.at);
        self.span.part(stage.name(), stage.kind(), (self.at, now));
        self.at = now;
    }

    /// A partition's part of it was left out.
    pub(crate) fn left_out(&mut self, partition: PartitionId) {
        self.fenced.push(partition);
    }

    /// A partition's part of it was committed.
    pub(crate) fn took(&mut self, flush: &Flush) {
        let partition = flush.next.partition;
        self.dead.extend(flush.dead_letters.iter().map(|letter| (partition, letter.offset)));
    }

    /// It came to nothing.
    pub(crate) fn failed(mut self, error: Error) -> Error {
        // Not the error's own words: a database may put values into them.
        self.span.fail(match error {
            Error::Unavailable { .. } => "unavailable",
            Error::Fenced { .. } => "fenced",
            Error::Refused { .. } => "refused",
            Error::RowAhead { .. } => "row-ahead",
            Error::Corrupt { .. } => "corrupt",
            Error::Schema { .. } => "schema",
        });
        error
    }

    /// It was committed with what is left in the batches.
    pub(crate) fn committed(self, statuses: &Statuses, batches: &[Batch]) {
        let committed = || batches.iter().filter(|batch| !self.fenced.contains(&batch.partition));
        let (mut records, mut bytes, mut mutations) = (0, 0, 0);
        for batch in committed() {
            records += batch.entries.len();
            for entry in &batch.entries {
                bytes += entry.raw.len();
                let dead = !self.dead.is_empty() && self.dead.contains(&(batch.partition, entry.offset));
                mutations += usize::from(matches!(entry.decoded, Ok(Record::Mutation(_))) && !dead);
            }
        }
        statuses.meters().flushed(self.began.elapsed(), records, bytes);
        statuses.count(|totals| {
            totals.mutations += mutations as u64;
            for (total, stage) in totals.stages.iter_mut().zip(self.stages) {
                *total += stage;
            }
        });
        statuses.hot().count(committed());
    }
}

/// The traces of these mutations.
fn links(batches: &[Batch]) -> Links {
    let mut links = Links::default();
    let mut last = None;
    for entry in batches.iter().flat_map(|batch| &batch.entries) {
        let header = entry.raw.header(TRACEPARENT);
        // The records of one call follow each other, and carry the same.
        if header.is_none() || header == last {
            continue;
        }
        last = header;
        let text = header.and_then(|value| std::str::from_utf8(value).ok());
        if let Some(context) = text.and_then(Context::parse) {
            links.add(context);
        }
    }
    links
}
