//! The real thing: topics of a Kafka cluster, through librdkafka.
//!
//! One producer, one reading thread, one standing reader and one asking thread per topic, each with a client of its
//! own; their librdkafka clients are made when they are first needed. Invariant: no call into librdkafka that may
//! block runs on an async thread, and every thread is joined.

mod admin;
mod check;
mod cluster;
mod config;
mod context;
mod dead_letters;
mod ends;
mod extent;
mod lost;
mod membership;
mod outcomes;
mod producer;
mod reader;
mod record;
mod standing;
mod topics;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use millpond_schemas::{Offset, PartitionId, Received};
use tokio::sync::watch;

pub use self::{
    check::{Mismatch, Report},
    cluster::Cluster,
    config::{Config, ConfigInvalid, QUEUE_BYTES_MAX, READ_AHEAD_BYTES_MAX},
    dead_letters::DeadLetters,
    membership::Membership,
    outcomes::{Outcomes, Subscription},
    record::is_reading_header,
    topics::Topics,
};
use self::{
    cluster::Found,
    context::Identity,
    ends::{Edge, Ends},
    extent::Sizes,
    producer::{Answered, Producer, Target},
    reader::{Reader, Source},
    standing::Standing,
};
use crate::{
    Append, Bounds, Counters, Error, Read, Shut, Stall,
    meters::{Meters, Queued},
};

/// An open topic. A clone is the same one; when the last one is dropped, its threads end.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    config: Arc<Config>,
    identity: Arc<Identity>,
    message_bytes_max: usize,
    known_ends: Arc<[AtomicI64]>,
    changes: watch::Sender<u64>,
    producer: OnceLock<Producer>,
    reader: OnceLock<Reader>,
    standing: OnceLock<Arc<Standing>>,
    ends: Arc<Ends>,
    closed: AtomicBool,
    /// Whether a topic that was made anew is another one.
    pinned: bool,
    meters: Arc<Meters>,
    sizes: Sizes,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.identity.topic()).finish()
    }
}

impl Log {
    fn open(config: &Arc<Config>, found: Found, pinned: bool) -> Self {
        Self(Arc::new(Handle {
            config: Arc::clone(config),
            identity: Identity::new(&found.topic),
            message_bytes_max: found.message_bytes_max,
            known_ends: found.known_ends,
            changes: watch::Sender::new(0),
            producer: OnceLock::new(),
            reader: OnceLock::new(),
            standing: OnceLock::new(),
            ends: found.ends,
            closed: AtomicBool::new(false),
            pinned,
            meters: Arc::default(),
            sizes: Sizes::default(),
        }))
    }

    /// As [`crate::Log::partitions`].
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.0.known_ends.len()).expect("PARTITIONS_MAX is far below")
    }

    fn check(&self, partition: PartitionId) {
        assert!(partition.0 < self.partitions(), "there is no partition {partition}");
    }

    fn standing(&self) -> &Arc<Standing> {
        let Handle { config, identity, standing, .. } = &*self.0;
        standing.get_or_init(|| Arc::new(Standing::start(config, Arc::clone(identity))))
    }

    fn producer(&self) -> &Producer {
        self.0.producer.get_or_init(|| {
            let target = Target {
                identity: Arc::clone(&self.0.identity),
                message_bytes_max: self.0.message_bytes_max,
                known_ends: Arc::clone(&self.0.known_ends),
                standing: Arc::clone(self.standing()),
                pinned: self.0.pinned,
                compression: None,
                meters: Arc::clone(&self.0.meters),
            };
            Producer::start(&self.0.config, target)
        })
    }

    fn reader(&self) -> &Reader {
        self.0.reader.get_or_init(|| {
            let source = Source {
                identity: Arc::clone(&self.0.identity),
                known_ends: Arc::clone(&self.0.known_ends),
                ends: Arc::clone(&self.0.ends),
                standing: Arc::clone(self.standing()),
                changes: self.0.changes.clone(),
            };
            Reader::start(&self.0.config, source)
        })
    }

    /// As [`crate::Log::enqueue`].
    pub(crate) fn enqueue(&self, records: &[Append]) -> Result<Answered, Error> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Error::closed());
        }
        self.producer().enqueue(records)
    }

    /// As [`crate::Log::read`].
    pub(crate) async fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Read, Error> {
        self.check(partition);
        self.reader().read(partition, from, bytes_max).await
    }

    /// As [`crate::Log::record`].
    pub(crate) async fn record(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Received>, Error> {
        let Bounds { start, end } = self.bounds(partition).await?;
        if offset < start {
            return Err(Error::Trimmed { start });
        }
        if offset >= end {
            return Err(Error::BeyondEnd { end });
        }
        let mut looks = 0;
        loop {
            let (record, reached) = self.standing().record(partition, offset).await?;
            looks += 1;
            match record {
                Some(record) => return Ok(Some(record)),
                None if reached <= offset => {
                    return Err(Error::Unavailable {
                        reason: "an open transaction hides the record",
                        source: None,
                    });
                }
                // A hole is one when two looks agree.
                None if looks == 2 => return Ok(None),
                None => {}
            }
        }
    }

    /// As [`crate::Log::rest`].
    pub(crate) fn rest(&self, partition: PartitionId) {
        self.check(partition);
        if let Some(reader) = self.0.reader.get() {
            reader.rest(partition);
        }
    }

    /// As [`crate::Log::bounds`].
    pub(crate) async fn bounds(&self, partition: PartitionId) -> Result<Bounds, Error> {
        self.check(partition);
        let seen = self.0.ends.seen(partition, Edge::Start).await?;
        self.0.known_ends[partition.0 as usize].fetch_max(seen.end.0, Ordering::AcqRel);
        Ok(Bounds { start: seen.edge, end: seen.end })
    }

    /// As [`crate::Log::changes`].
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// As [`crate::Log::stalls`].
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        self.0.reader.get().map_or_else(Vec::new, Reader::stalls)
    }

    /// As [`crate::Log::is_remade`].
    pub(crate) fn is_remade(&self) -> bool {
        self.0.producer.get().is_some_and(Producer::is_remade)
    }

    /// As [`crate::Log::shut`].
    pub(crate) fn shut(&self) -> Option<Shut> {
        self.0.producer.get().and_then(Producer::shut)
    }

    /// As [`crate::Log::counters`].
    pub(crate) fn counters(&self) -> Counters {
        let (holes, restarts) = self.0.reader.get().map_or((0, 0), Reader::counts);
        let producers_failed = self.0.producer.get().map_or(0, Producer::failures);
        Counters { producers_failed, holes, readers_restarted: restarts }
    }

    /// As [`crate::Log::queued`].
    pub(crate) fn queued(&self) -> Queued {
        let bytes = self.0.producer.get().map_or(0, Producer::queued_bytes);
        Queued { bytes, max: self.0.config.queue_bytes_max }
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.0.meters
    }

    /// As [`crate::Log::trim`].
    pub(crate) async fn trim(&self, floors: &[Offset]) -> Result<(), Error> {
        assert_eq!(floors.len(), self.partitions() as usize, "one floor per partition");
        admin::trim(&self.0.config, self.0.identity.topic().to_owned(), floors.to_vec()).await
    }

    /// As [`crate::Log::close`]. What was fetched ahead is dropped.
    pub(crate) async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        let log = self.clone();
        let closing = tokio::task::spawn_blocking(move || {
            if let Some(producer) = log.0.producer.get() {
                producer.close();
            }
            if let Some(reader) = log.0.reader.get() {
                reader.rest_all();
            }
        });
        if let Err(failed) = closing.await
            && failed.is_panic()
        {
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}
