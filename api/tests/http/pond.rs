//! An api with everything around it, and a hand that applies what is on the log when it is told to.
//!
//! Invariant: nothing is applied by itself.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use millpond_api::{Api, Checks, Config, Error, Parts, Shown, Tokens};
use millpond_log::{Clock, Log, Outcomes, local};
use millpond_schemas::{
    Created, Decoder, Exception, Flush, Generation, Keyring, LogId, Mutation, Offset, Op, Outcome,
    OutcomeRange, PartitionId, Record, Row, Topology, UnixMillis, Upsert, Version, Watermark,
};
use millpond_shard::{Router, Shard, SqliteConfig};
use millpond_trace::Tracer;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::wire::{Answer, Wire};

pub(crate) const P0: PartitionId = PartitionId(0);
const LOG_ID: LogId = LogId([7; 16]);

/// An api on a log of one partition and a shard that holds it.
pub(crate) struct Pond {
    pub(crate) api: Api,
    pub(crate) address: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) log: Log,
    /// The primary.
    pub(crate) shard: Shard,
    replicas: Vec<Shard>,
    /// What was applied, for the replicas.
    flushes: Mutex<Vec<Flush>>,
    pub(crate) outcomes: Outcomes,
    pub(crate) shutdown: CancellationToken,
    served: Vec<JoinHandle<Result<(), Error>>>,
    _dir: tempfile::TempDir,
}

/// What became of a mutation, as the hand sees it.
pub(crate) type Judge<'a> = &'a mut (dyn FnMut(&Mutation, Offset) -> Outcome + Send);

/// Everything applies plainly.
pub(crate) fn plainly(_: &Mutation, _: Offset) -> Outcome {
    Outcome::Applied(None)
}

impl Pond {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::default(), Vec::new()).await
    }

    pub(crate) async fn start_with(config: Config, checks: Vec<Checks>) -> Self {
        Self::start_replicated(0, config, checks).await
    }

    /// With so many replicas, which get what was applied when they are told to.
    pub(crate) async fn start_replicated(replicas: usize, config: Config, checks: Vec<Checks>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = local::DirLock::acquire(dir.path()).unwrap();
        let log = local::Log::open(&lock, "log/mutations.1", local::Options::new(1)).await.unwrap();
        let log = Log::Local(log);
        let shard = open(&dir.path().join("s0.sqlite")).await;
        let mut copies = Vec::new();
        for replica in 0..replicas {
            copies.push(open(&dir.path().join(format!("s0-{replica}.sqlite"))).await);
        }
        let outcomes = Outcomes::memory();
        let mut registry = Registry::default();
        let parts = parts(&log, &outcomes, (&shard, &copies)).await;
        millpond_shard::register(&mut registry, parts.shards.clone());
        let api = Api::start(config, parts, &mut registry);
        let shutdown = CancellationToken::new();
        let (listener, ops_listener) = (listener().await, listener().await);
        let (address, ops) = (listener.local_addr().unwrap(), ops_listener.local_addr().unwrap());
        let serve = {
            let (api, shutdown) = (api.clone(), shutdown.clone());
            tokio::spawn(async move { api.serve(listener, shutdown).await })
        };
        let serve_ops = {
            let (api, shutdown) = (api.clone(), CancellationToken::new());
            tokio::spawn(async move {
                api.serve_ops(ops_listener, Shown::new("api", checks, registry), shutdown).await
            })
        };
        let served = vec![serve, serve_ops];
        let (replicas, flushes) = (copies, Mutex::default());
        let pond =
            Self { api, address, ops, log, shard, replicas, flushes, outcomes, shutdown, served, _dir: dir };
        until_ready(pond.ops).await;
        pond
    }

    /// Another api over the same log and shard: where it is served.
    pub(crate) async fn another(&self) -> SocketAddr {
        let parts = parts(&self.log, &self.outcomes, (&self.shard, &self.replicas)).await;
        let api = Api::start(Config::default(), parts, &mut Registry::default());
        let listener = listener().await;
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { api.serve(listener, CancellationToken::new()).await });
        address
    }

    /// Another api over the same log and shard, that asks for tokens. Not served yet.
    pub(crate) async fn guarded(&self, tokens: watch::Receiver<Arc<Tokens>>, registry: &mut Registry) -> Api {
        let parts = parts(&self.log, &self.outcomes, (&self.shard, &self.replicas)).await;
        Api::start(Config::default(), Parts { tokens: Some(tokens), ..parts }, registry)
    }

    /// Brings a replica to where the primary is.
    pub(crate) async fn replicate(&self, replica: usize) {
        let replica = &self.replicas[replica];
        let at = replica.watermark(P0).await.unwrap().unwrap().applied;
        let flushes = self.flushes.lock().unwrap().clone();
        for flush in flushes.into_iter().filter(|flush| flush.previous.applied >= at) {
            assert_eq!(replica.apply(vec![flush]).await.unwrap().fenced, []);
        }
    }

    /// A replica.
    pub(crate) fn replica(&self, replica: usize) -> &Shard {
        &self.replicas[replica]
    }

    /// One call on a connection of its own.
    pub(crate) async fn call(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        Wire::open(self.address).await.call(head, headers, body).await
    }

    /// Waits until the log has so many records.
    pub(crate) async fn logged(&self, records: i64) {
        let mut changes = self.log.changes();
        while self.log.bounds(P0).await.unwrap().end < Offset(records) {
            changes.changed().await.unwrap();
        }
    }

    /// How many records the log has.
    pub(crate) async fn end(&self) -> i64 {
        self.log.bounds(P0).await.unwrap().end.0
    }

    /// The keys on the log, without their tenant.
    pub(crate) async fn keys(&self) -> Vec<Vec<u8>> {
        let records = self.log.read(P0, Offset(0), usize::MAX).await.unwrap().records;
        let key = |raw: &millpond_schemas::Raw| {
            let key = raw.key.clone().unwrap();
            key.strip_prefix(b"default/".as_slice()).unwrap().to_vec()
        };
        records.iter().map(|record| key(&record.raw)).collect()
    }

    /// Applies everything that is on the log, and publishes what became of it.
    pub(crate) async fn apply(&self, judge: Judge<'_>) {
        if let Some(range) = self.apply_silently(judge).await {
            self.outcomes.publish(Arc::new(range));
        }
    }

    /// Applies everything that is on the log, as a writer does that dies before it publishes.
    pub(crate) async fn apply_silently(&self, judge: Judge<'_>) -> Option<OutcomeRange> {
        let previous = self.shard.watermark(P0).await.unwrap().unwrap();
        let records = self.log.read(P0, previous.applied.next(), usize::MAX).await.unwrap().records;
        let last = records.last()?;
        let mut rows = std::collections::BTreeMap::new();
        let mut exceptions = Vec::new();
        for record in &records {
            let mutation = decode(record);
            let outcome = judge(&mutation, record.offset);
            if matches!(outcome, Outcome::Applied(_))
                && let Some(row) = row_of(&mutation, record.offset, record.time)
            {
                rows.insert(mutation.key.clone(), Upsert { row, created: Created::KeepIfLive });
            }
            if !outcome.is_plain() {
                exceptions.push(Exception { offset: record.offset, id: None, outcome });
            }
        }
        let range = OutcomeRange {
            generation: Generation::FIRST,
            partition: P0,
            from: previous.applied.next(),
            to: last.offset,
            time: last.time,
            exceptions,
            expired: Vec::new(),
        };
        let next = Watermark {
            applied: last.offset,
            digest_offset: last.offset,
            digest: last.raw.digest(),
            time: last.time,
            ..previous.clone()
        };
        let flush = Flush {
            previous,
            next,
            rows: rows.into_values().collect(),
            purged: Vec::new(),
            outcomes: range.clone(),
            seen: Vec::new(),
            operations: Vec::new(),
            dead_letters: Vec::new(),
        };
        self.flushes.lock().unwrap().push(flush.clone());
        assert_eq!(self.shard.apply(vec![flush]).await.unwrap().fenced, []);
        Some(range)
    }

    /// What a metric says now.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = Wire::open(self.ops).await.call("GET /metrics", &[], b"").await.body;
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").parse().unwrap()
    }

    /// Waits until a metric says so.
    pub(crate) async fn metric_is(&self, name: &str, value: f64) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while (self.metric(name).await - value).abs() > f64::EPSILON {
            assert!(tokio::time::Instant::now() < until, "{name} never became {value}");
        }
    }

    /// Waits until the api has stopped serving.
    pub(crate) async fn served(&mut self) -> Result<(), Error> {
        self.served.remove(0).await.unwrap()
    }
}

/// Waits until the api whose ops listener this is has read its shard.
pub(crate) async fn until_ready(ops: SocketAddr) {
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while Wire::open(ops).await.call("GET /readyz", &[], b"").await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "it never became ready");
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// A shard with an empty copy.
async fn open(path: &std::path::Path) -> Shard {
    let shard = Shard::open(&SqliteConfig::new(path)).await.unwrap();
    shard.create_copy(Watermark::empty(P0, Generation::FIRST, LOG_ID)).await.unwrap();
    shard
}

async fn parts(log: &Log, outcomes: &Outcomes, (primary, replicas): (&Shard, &[Shard])) -> Parts {
    let (_, topology) = watch::channel(Arc::new(topology()));
    Parts {
        log: log.clone(),
        outcomes: outcomes.subscribe().await.unwrap(),
        topology,
        shards: vec![Router::new("s0", primary.clone(), replicas.to_vec())],
        clock: Clock::System,
        tracer: Tracer::default(),
        tokens: None,
        cursor_key: millpond_api::CursorKey::new([7; 32]),
    }
}

fn topology() -> Topology {
    Topology {
        epoch: 1,
        generation: Generation::FIRST,
        log_id: LOG_ID,
        shards: vec![millpond_schemas::Shard {
            name: "s0".into(),
            primary: "s0.sqlite".into(),
            replicas: Vec::new(),
        }],
        placement: vec![0],
        skips: Vec::new(),
        skip_times: Vec::new(),
    }
}

fn decode(record: &millpond_schemas::Received) -> Mutation {
    let keyring = Keyring::new(1, [1; 32]);
    let decoder = Decoder { log_id: LOG_ID, partition: P0, partitions: 1, keyring };
    match decoder.decode(record).unwrap() {
        Record::Mutation(mutation) => mutation,
        Record::Control(_) => panic!("nobody appends control records here"),
    }
}

fn row_of(mutation: &Mutation, offset: Offset, time: UnixMillis) -> Option<Row> {
    let version = Version::new(Generation::FIRST, offset);
    match &mutation.op {
        Op::Put { value, content_type, expiry } => Some(Row {
            key: mutation.key.clone(),
            version,
            value: Some(value.clone()),
            content_type: content_type.clone(),
            expires_at: expiry.map(|expiry| expiry.at(time)),
            created_at: time,
            updated_at: time,
        }),
        Op::Delete => Some(Row::tombstone(mutation.key.clone(), version, time)),
        Op::Ttl { .. }
        | Op::Increment { .. }
        | Op::Append { .. }
        | Op::MergePatch { .. }
        | Op::JsonPatch { .. } => None,
    }
}
