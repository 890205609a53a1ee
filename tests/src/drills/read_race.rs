//! A few keys are read by many and written as fast as it goes: what a read says is the state at the position that it
//! names, at every moment.
//!
//! Not the workload, which draws from many keys: here every flush changes what is being read. Invariant: a reader makes
//! one call at a time, so that an api has a connection free for each and answers it with a query of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    Context, Drill, Length, Need,
    calls::{Caller, is_known},
    stage,
};
use crate::{
    deployment::{Deployment, PATIENCE},
    history::{Consistency, Event, Intent, Read, Recorder, Seen},
    http::Http,
    process::until_async,
    roles::Kind,
};

/// Readers of each api, and writers.
const READERS: u64 = 4;
const WRITERS: u64 = 2;
/// How often a batch writes each key.
const ROUNDS: usize = 2;
/// The first numbers of both.
const READERS_FROM: u64 = 3_000_000;
const WRITERS_FROM: u64 = 4_000_000;

pub(super) const DRILL: Drill = Drill {
    name: "read-race",
    // Of no fault of its own: of the promise that every fault has to leave.
    number: 0,
    about: "few keys, read by many through two apis and written as fast as it goes, one writer killed: each read is the \
            state at its position",
    engines: Need::Shared,
    long: Length::new(60, 200_000),
    short: Length::new(20, 2_000),
    run: |context| Box::pin(run(context)),
};

/// What readers and writers share.
struct Race {
    recorder: Recorder,
    /// One of each partition.
    keys: Vec<String>,
    stop: CancellationToken,
    reads: AtomicU64,
    failed: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
}

async fn run(context: Context) -> Result<()> {
    let mut deployment = Deployment::start(&stage::options()).await?;
    stage::until_shared_out(&deployment).await?;
    let race = Arc::new(Race {
        recorder: context.recorder().clone(),
        keys: deployment.keys("hot-"),
        stop: CancellationToken::new(),
        reads: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        writes: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let (mut running, began) = (JoinSet::new(), Instant::now());
    for api in 0..deployment.count(Kind::Api) {
        let (address, api) = (deployment.address_of_api(api), u64::try_from(api)?);
        for number in 0..READERS {
            running.spawn(Arc::clone(&race).reads(address, READERS_FROM + api * READERS + number));
        }
        for number in 0..WRITERS {
            let client = WRITERS_FROM + api * WRITERS + number;
            running.spawn(Arc::clone(&race).writes(Caller {
                recorder: race.recorder.clone(),
                address,
                client,
            }));
        }
    }
    let wanted = context.length().count;
    race.until(&context, began, wanted / 2).await?;
    deployment.kill(Kind::Writer, 0)?;
    context.fault("kill -9", "writer-0");
    deployment.start_again(Kind::Writer, 0).await?;
    race.until(&context, began, wanted).await?;
    race.stop.cancel();
    while let Some(ended) = running.join_next().await {
        ended.context("a client panicked")?;
    }
    let [reads, failed, writes, refused] =
        [&race.reads, &race.failed, &race.writes, &race.refused].map(|count| count.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs_f64();
    context.figure("hot keys", format!("{reads} reads, {writes} writes in {seconds:.1} s"));
    context.operations(reads + writes, failed + refused, 0);
    context.settle(&deployment).await
}

impl Race {
    /// Waits until there are so many reads, or half or all of the drill's time is over.
    async fn until(&self, context: &Context, began: Instant, wanted: u64) -> Result<()> {
        let all = context.length();
        let ends = if wanted < all.count { all.time / 2 } else { all.time };
        let raced = || self.reads.load(Ordering::Relaxed) > 0 && self.writes.load(Ordering::Relaxed) > 0;
        let enough = async || {
            let is_over = context.is_long() && began.elapsed() >= ends;
            raced() && (is_over || self.reads.load(Ordering::Relaxed) >= wanted)
        };
        ensure!(until_async(all.time + PATIENCE, enough).await, "not {wanted} reads");
        Ok(())
    }

    async fn reads(self: Arc<Self>, address: SocketAddr, client: u64) {
        let http = Http::new(address);
        for key in self.keys.iter().cycle() {
            if self.stop.is_cancelled() {
                break;
            }
            let (path, consistency) = match client % READERS {
                0 => (format!("/kv/{key}?consistency=strong"), Consistency::Strong),
                _ => (format!("/kv/{key}"), Consistency::Eventual),
            };
            let start_us = self.recorder.now_us();
            let answer = http.get(&path).send().await;
            let (end_us, seen) = (self.recorder.now_us(), Seen::of_answer(answer.as_ref()));
            let count = if matches!(seen, Seen::Failed { .. }) { &self.failed } else { &self.reads };
            count.fetch_add(1, Ordering::Relaxed);
            let (tenant, key) = ("default".to_owned(), key.as_str().into());
            let (session, min_position) = (None, None);
            self.recorder.record(&Event::Read(Read {
                client,
                session,
                tenant,
                key,
                consistency,
                min_position,
                start_us,
                end_us,
                seen,
            }));
        }
    }

    async fn writes(self: Arc<Self>, caller: Caller) {
        for batch in 0u64.. {
            if self.stop.is_cancelled() {
                break;
            }
            let keys = self.keys.iter().cycle().take(self.keys.len() * ROUNDS);
            let put = |(line, key): (usize, &String)| {
                Intent::put(key.as_str(), format!("w{}-{batch}-{line}", caller.client))
            };
            let told = caller.batch(&keys.enumerate().map(put).collect::<Vec<_>>()).await;
            let known = told.iter().filter(|result| is_known(result)).count();
            for (count, number) in [(&self.writes, known), (&self.refused, told.len() - known)] {
                count.fetch_add(u64::try_from(number).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        }
    }
}
