//! Holes, silence and pauses, on a real log and a real shard.

use millpond_log::{Clock, Log, Outcomes, local};
use millpond_schemas::{Generation, LogId, Offset, Outcome, OutcomeRange, Topology, UnixMillis};
use millpond_shard::{Router, Shard, SqliteConfig};
use millpond_trace::Tracer;
use prometheus_client::registry::Registry;
use tokio::{sync::watch, time::timeout};

use super::*;
use crate::{Api, Config, Parts, backlog::FirstEnds, partition::Told, partitions::Awaited};

const P0: PartitionId = PartitionId(0);
const LOG_ID: LogId = LogId([7; 16]);
const PATIENCE: Duration = Duration::from_mins(1);

struct Followed {
    api: Api,
    shard: Shard,
    outcomes: Outcomes,
    _dir: tempfile::TempDir,
}

async fn followed() -> Followed {
    started(true).await
}

/// With a shard that answers, or does not.
async fn started(answers: bool) -> Followed {
    let dir = tempfile::tempdir().unwrap();
    let lock = local::DirLock::acquire(dir.path()).unwrap();
    let log = Log::Local(local::Log::open(&lock, "log", local::Options::new(1)).await.unwrap());
    let shard = Shard::open(&SqliteConfig::new(dir.path().join("s0.sqlite"))).await.unwrap();
    shard.create_copy(Watermark::empty(P0, Generation::FIRST, LOG_ID)).await.unwrap();
    if !answers {
        shard.close().await;
    }
    let outcomes = Outcomes::memory();
    let named = |name: &str| millpond_schemas::Shard {
        name: name.into(),
        primary: "s0.sqlite".into(),
        replicas: Vec::new(),
    };
    let topology = Topology {
        epoch: 1,
        generation: Generation::FIRST,
        log_id: LOG_ID,
        shards: vec![named("s0")],
        placement: vec![0],
        skips: Vec::new(),
        skip_times: Vec::new(),
    };
    let parts = Parts {
        log,
        outcomes: outcomes.subscribe().await.unwrap(),
        topology: watch::channel(Arc::new(topology)).1,
        shards: vec![Router::new("s0", shard.clone(), Vec::new())],
        clock: Clock::System,
        tracer: Tracer::default(),
        cursor_key: crate::CursorKey::new([7; 32]),
        tokens: None,
    };
    let api = Api::start(Config::default(), parts, &mut Registry::default());
    Followed { api, shard, outcomes, _dir: dir }
}

fn range(from: i64, to: i64) -> OutcomeRange {
    OutcomeRange {
        generation: Generation::FIRST,
        partition: P0,
        from: Offset(from),
        to: Offset(to),
        time: UnixMillis(1),
        exceptions: Vec::new(),
        expired: Vec::new(),
    }
}

impl Followed {
    /// Applies records of nothing up to `to`, and tells nobody.
    async fn apply(&self, to: i64) {
        let previous = self.shard.watermark(P0).await.unwrap().unwrap();
        let next = Watermark { applied: Offset(to), digest_offset: Offset(to), ..previous.clone() };
        let flush = millpond_schemas::Flush {
            outcomes: range(previous.applied.next().0, to),
            previous,
            next,
            rows: Vec::new(),
            purged: Vec::new(),
            seen: Vec::new(),
            operations: Vec::new(),
            dead_letters: Vec::new(),
        };
        assert_eq!(self.shard.apply(vec![flush]).await.unwrap().fenced, []);
    }

    fn waits_at(&self, offset: i64) -> crate::partitions::Waiter<Told> {
        match self.api.app.partitions.await_outcome(P0, Offset(offset)) {
            Awaited::Waiter(waiter) => waiter,
            Awaited::Known(_) | Awaited::Full => panic!("nothing was heard of {offset}"),
        }
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let held = async {
            while !holds(&self.api.app) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, held).await.expect("it never became so");
    }
}

fn reads(app: &State) -> u64 {
    app.metrics.outcome_reads.get()
}

#[tokio::test]
async fn a_hole_between_ranges_is_read_from_the_primary() {
    let followed = followed().await;
    followed.until(|app| app.refreshes.of(Read::Done) == [0]).await;
    let mut waiter = followed.waits_at(1);
    followed.apply(3).await;
    followed.outcomes.publish(Arc::new(range(2, 3)));
    let told = timeout(PATIENCE, waiter.told()).await.expect("it is told");
    assert_eq!((told, reads(&followed.api.app)), (Some(Outcome::Applied(None).into()), 1));
    followed.api.stop().await;
}

#[tokio::test]
async fn a_primary_behind_what_was_heard_is_asked_until_it_has_come_so_far() {
    let followed = followed().await;
    let mut waiter = followed.waits_at(1);
    followed.outcomes.publish(Arc::new(range(2, 3)));
    followed.until(|app| reads(app) >= 3).await;
    assert!(waiter.is_open(), "nobody knows what becomes of it there");
    followed.apply(3).await;
    let told = timeout(PATIENCE, waiter.told()).await.expect("it is told");
    assert_eq!(told, Some(Outcome::Applied(None).into()));
    followed.api.stop().await;
}

/// Moves a clock that stands, so many steps; in each, everybody does what there is to do.
async fn pass(step: Duration, steps: u32) {
    for _ in 0..steps {
        tokio::time::advance(step).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_does_not_answer_is_asked_again_after_pauses() {
    let followed = followed().await;
    followed.shard.close().await;
    let mut waiter = followed.waits_at(1);
    followed.outcomes.publish(Arc::new(range(2, 3)));
    followed.until(|app| reads(app) == 1).await;
    pass(RETRY_AFTER, 50).await;
    assert!((49..=52).contains(&reads(&followed.api.app)), "{}", reads(&followed.api.app));
    assert!(waiter.is_open());
    followed.outcomes.publish(Arc::new(range(0, 1)));
    assert_eq!(waiter.told().await, Some(Outcome::Applied(None).into()));
    let asked = reads(&followed.api.app);
    pass(RETRY_AFTER, 50).await;
    assert_eq!(reads(&followed.api.app), asked, "nobody waits any more");
    followed.api.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_down_is_no_reason_not_to_be_ready_and_is_asked_again() {
    let followed = followed().await;
    let app = &followed.api.app;
    followed.shard.close().await;
    app.refreshes.missed();
    assert_eq!(app.refreshes.of(Read::Open), [0]);
    pass(REFRESH_EVERY, 5).await;
    assert_eq!(app.refreshes.of(Read::Unreachable), [0]);
    followed.api.stop().await;
}

#[tokio::test]
async fn outcomes_that_were_missed_make_every_shard_be_read_before_it_is_ready_again() {
    let followed = followed().await;
    let app = &followed.api.app;
    followed.until(|app| app.refreshes.of(Read::Done) == [0]).await;
    let mut waiter = followed.waits_at(0);
    followed.apply(0).await;
    let foreign = Arc::new(OutcomeRange { partition: PartitionId(9), ..range(0, 0) });
    for _ in 0..=2 * millpond_log::OUTCOME_RANGES_MAX {
        followed.outcomes.publish(Arc::clone(&foreign));
    }
    followed.until(|app| app.metrics.outcome_holes.get() > 0).await;
    followed.until(|app| app.refreshes.of(Read::Done) == [0]).await;
    assert_eq!(app.partitions.of(P0).committed(), Offset(0));
    assert_eq!(
        timeout(PATIENCE, waiter.told()).await.expect("it is told"),
        Some(Outcome::Applied(None).into())
    );
    followed.api.stop().await;
}

#[tokio::test]
async fn what_a_silent_shard_may_have_applied_long_ago_is_no_backlog() {
    let followed = started(false).await;
    let app = &followed.api.app;
    followed.until(|app| app.refreshes.of(Read::Unreachable) == [0]).await;
    let append = async |records| {
        let record = || millpond_log::Append { partition: P0, raw: millpond_schemas::Raw::default() };
        app.log.append((0..records).map(|_| record()).collect()).await.unwrap();
    };
    append(3).await;
    let mut ends = FirstEnds::default();
    let records = async |ends: &mut FirstEnds| app.look_at_backlog(ends).await.unwrap().extent.records;
    assert_eq!(records(&mut ends).await, 0);
    append(2).await;
    assert_eq!(records(&mut ends).await, 2, "what has come since waits");
    app.partitions.read_watermark(P0, Offset::NONE, UnixMillis(1));
    assert_eq!(records(&mut ends).await, 5, "it has answered: nothing is applied");
    followed.api.stop().await;
}
