//! Threads that load, each with a runtime, connections and a share of the calls of its own.
//!
//! Invariant: connecting and encoding are over in every lane before the clock starts in any.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::AtomicU64,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use millpond_log::Log;
use tokio::time::Instant;

use super::{
    alarm::Alarm,
    connection::{Connection, Encoder},
    drive::{Pace, Seen, drive},
    native,
    plan::{Lane, Plan, Shape},
    schedule::{Arrival, Schedule},
    slot::Slot,
};

/// Calls to encode for each second of a closed loop; what is faster goes through them again.
const CLOSED_CALLS_A_SECOND: f64 = 20_000.0;

/// What all lanes do together.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) shape: Shape,
    pub(super) encoder: Encoder,
    pub(super) address: SocketAddr,
    pub(super) connections: usize,
    /// Calls at once on a connection.
    pub(super) streams: usize,
    pub(super) threads: usize,
    /// Calls a second; none: a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) arrival: Arrival,
    pub(super) length: Duration,
    /// Where records go that take no HTTP.
    pub(super) log: Option<Log>,
}

/// Lanes that are ready.
pub(super) struct Lanes {
    each: Vec<(Sender<Instant>, JoinHandle<Result<Seen>>)>,
    /// Different calls that were encoded.
    pub(super) encoded: usize,
    /// Calls that have ended.
    pub(super) made: Arc<AtomicU64>,
}

impl Lanes {
    /// Connects and encodes in all of them.
    pub(super) fn prepare(job: &Job) -> Result<Self> {
        let made = Arc::new(AtomicU64::new(0));
        let (ready, prepared) = channel();
        let start = |number| {
            let (begin, begun) = channel();
            let (job, ready, made) = (job.clone(), ready.clone(), Arc::clone(&made));
            let thread = std::thread::Builder::new().name(format!("load-{number}"));
            let thread = thread.spawn(move || lane(&job, number, (ready, &begun), &made))?;
            anyhow::Ok((begin, thread))
        };
        let each = (0..job.threads).map(start).collect::<Result<Vec<_>>>()?;
        drop(ready);
        // Ends when every lane is ready or has failed.
        let encoded: Vec<usize> = prepared.iter().collect();
        if encoded.len() < each.len() {
            let (begins, threads): (Vec<_>, Vec<_>) = each.into_iter().unzip();
            drop(begins);
            let failed = threads.into_iter().find_map(|thread| join(thread).err());
            return Err(failed.unwrap_or_else(|| anyhow!("a lane ended early")));
        }
        Ok(Self { each, encoded: encoded.into_iter().sum(), made })
    }

    /// Starts them all at this moment; returns when they are done.
    pub(super) fn run(self, began: Instant) -> Result<Seen> {
        let mut all = Seen::default();
        let go = |(begin, thread): (Sender<Instant>, _)| {
            // One that has ended says why when it is joined.
            let _gone = begin.send(began);
            thread
        };
        let threads: Vec<JoinHandle<Result<Seen>>> = self.each.into_iter().map(go).collect();
        for thread in threads {
            all.add(join(thread)?);
        }
        Ok(all)
    }
}

fn join(thread: JoinHandle<Result<Seen>>) -> Result<Seen> {
    thread.join().map_err(|_panic| anyhow!("a thread of the load panicked"))?
}

/// The `number`th of so many shares.
fn share(all: usize, number: usize, of: usize) -> usize {
    (all + of - 1 - number) / of
}

fn lane(
    job: &Job,
    number: usize,
    (ready, begun): (Sender<usize>, &Receiver<Instant>),
    made: &Arc<AtomicU64>,
) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (slots, encoded) = job.slots(number).await?;
        let pace = job.pace(number)?;
        ready.send(encoded).context("nobody waits for this lane")?;
        drop(ready);
        let Ok(began) = begun.recv() else { return Ok(Seen::default()) };
        drive(slots, pace, (began, job.length), made).await
    })
}

impl Job {
    /// This lane's slots, and how many different calls they have.
    async fn slots(&self, number: usize) -> Result<(Vec<Slot>, usize)> {
        let connections = share(self.connections, number, self.threads).max(1);
        let places = connections * self.streams;
        let lane = Lane { number: number as u64, of: self.threads as u64, places };
        if let Some(log) = &self.log {
            let producer = native::Producer::make(log, &self.shape, lane, self.calls())?;
            let encoded = producer.batches();
            let slots = (0..places).map(|_| Slot::Native(producer.clone())).collect();
            return Ok((slots, encoded));
        }
        let plan = Arc::new(Plan::make(&self.shape, &self.encoder, lane, self.calls())?);
        let mut slots = Vec::with_capacity(places);
        for _ in 0..connections {
            let opened = Connection::open(self.encoder.protocol, self.address, self.streams).await?;
            slots.extend(opened.into_iter().map(|c| Slot::Http { connection: c, plan: Arc::clone(&plan) }));
        }
        Ok((slots, plan.steps.len()))
    }

    /// Calls that a lane may make.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few millions at most")]
    fn calls(&self) -> usize {
        let rate = self.rate.unwrap_or(CLOSED_CALLS_A_SECOND);
        // A Poisson process may have some more than its mean.
        (rate * 1.1 * self.length.as_secs_f64() / self.threads_f()) as usize + 100
    }

    fn pace(&self, number: usize) -> Result<Pace> {
        let Some(rate) = self.rate else { return Ok(Pace::Closed) };
        let seed = self.shape.seed + number as u64;
        let schedule = Schedule::new(self.arrival, rate / self.threads_f(), self.length, seed);
        Ok(Pace::Open(Box::new(schedule), Alarm::exact()?))
    }

    fn threads_f(&self) -> f64 {
        f64::from(u32::try_from(self.threads).expect("threads are few"))
    }
}
