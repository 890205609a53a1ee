//! What a drill is run with, and where it tells what happened. Clones share everything.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use super::{Drill, Length, Report, Request};
use crate::{
    checker::{self, Source},
    deployment::Deployment,
    history::{Event, Fault, Recorder, Run},
    workload::{Options, Totals},
};

/// Operations a second of a workload.
const RATE: u32 = 300;
/// The same in the short form.
const RATE_SHORT: u32 = 100;
/// Shards and recorder go by one machine's clock, which is only slewed.
const SKEW_MS: u64 = 100;

/// A drill's surroundings.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    request: Request,
    started: Instant,
    /// Where the history is written.
    folder: PathBuf,
    recorder: Recorder,
    /// The folder, where nobody named one.
    temporary: Mutex<Option<TempDir>>,
    report: Mutex<Report>,
}

impl Context {
    pub(super) fn new(drill: &Drill, request: Request) -> Result<Self> {
        let (folder, temporary) = match &request.keep {
            Some(keep) => (keep.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("millpond-drill-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let Request { seed, length, .. } = request;
        let command = format!(
            "tests/drill {} --seconds {} --count {} --seed {seed}",
            drill.name,
            length.time.as_secs(),
            length.count
        );
        let report =
            Report { name: drill.name.to_owned(), number: drill.number, seed, command, ..Report::default() };
        let history = folder.join(format!("{}-{seed}.jsonl", drill.name));
        let recorder = Recorder::create(&history)?;
        let run = Run { drill: drill.name.to_owned(), seed, skew_ms: SKEW_MS, transactions: false };
        recorder.record(&Event::Run(run));
        let report = Report { history: Some(history), ..report };
        let (report, temporary) = (Mutex::new(report), Mutex::new(temporary));
        Ok(Self(Arc::new(Inner { request, started: Instant::now(), folder, recorder, temporary, report })))
    }

    /// All that is random comes of it; see [`Context::random`].
    pub fn seed(&self) -> u64 {
        self.0.request.seed
    }

    /// A generator of its own for each purpose, so that one that draws more does not change another.
    pub fn random(&self, purpose: u64) -> StdRng {
        StdRng::seed_from_u64(self.seed().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(purpose))
    }

    /// When to end.
    pub fn length(&self) -> Length {
        self.0.request.length
    }

    /// A number for each round, until so many are done or the time is up.
    pub fn rounds(&self) -> impl Iterator<Item = u64> + use<> {
        let Length { time, count } = self.length();
        let ends = Instant::now() + time;
        (0..count).take_while(move |_| Instant::now() < ends)
    }

    /// Whether times are judged: see [`Context::judge`].
    pub fn is_long(&self) -> bool {
        self.0.request.is_long
    }

    /// The history that is written.
    pub fn recorder(&self) -> &Recorder {
        &self.0.recorder
    }

    /// What clients do: seeded, and in the short form slower, as the machine does other things.
    pub fn workload(&self) -> Options {
        let rate = if self.is_long() { RATE } else { RATE_SHORT };
        Options { seed: self.seed(), rate, ..Options::default() }
    }

    /// What a workload's clients were told counts for the report.
    pub fn worked(&self, totals: &Totals) {
        self.operations(totals.ok, totals.failed, totals.unknown);
        if totals.left_out > 0 {
            self.figure("left out", totals.left_out.to_string());
        }
    }

    /// A folder of the drill's own, for its history.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// A fault was injected: such as `kill-9` and `writer-1`.
    pub fn fault(&self, kind: &str, target: &str) {
        *self.lock().faults.entry(kind.to_owned()).or_default() += 1;
        let (name, target) = (kind.to_owned(), target.to_owned());
        let fault = Fault { name, target, at_us: self.0.recorder.now_us(), until_us: None };
        self.0.recorder.record(&Event::Fault(fault));
    }

    /// How many faults were injected so far.
    pub fn faults(&self) -> u64 {
        self.lock().faults.values().sum()
    }

    /// So many more operations ended so.
    pub fn operations(&self, ok: u64, failed: u64, unknown: u64) {
        let mut report = self.lock();
        report.ok += ok;
        report.failed += failed;
        report.unknown += unknown;
    }

    /// A successor took so long.
    pub fn takeover(&self, time: Duration) {
        self.lock().takeovers.push(time);
    }

    /// A further line of the report.
    pub fn figure(&self, name: &str, value: impl Into<String>) {
        self.lock().figures.push((name.to_owned(), value.into()));
    }

    /// A further line of the report, for a time that the long form judges.
    pub fn judge(&self, name: &str, time: Duration, at_most: Duration) {
        let [took, mark] = [time, at_most].map(|time| time.as_secs_f64());
        self.figure(name, format!("{took:.2} s (mark: {mark:.2} s)"));
        if self.is_long() && time > at_most {
            self.violation(format!("{name} took {took:.2} s, the mark is {mark:.2} s"));
        }
    }

    /// A share of the takeovers, in per cent, took no longer than this; the long form judges it.
    pub fn judge_takeovers(&self, per_cent: usize, at_most: Duration) {
        let found = self.lock().takeover_at(per_cent);
        if let Some(time) = found {
            self.judge(&format!("takeover p{per_cent}"), time, at_most);
        }
    }

    /// A promise was broken. The drill goes on.
    pub fn violation(&self, what: impl Into<String>) {
        self.lock().violations.push(what.into());
    }

    /// The drill shows nothing, and why.
    pub fn void(&self, why: impl Into<String>) {
        self.lock().voids.push(why.into());
    }

    /// Adds the deadlocks of a deployment's databases; one is a violation.
    pub fn deadlocks(&self, deployment: &Deployment) -> Result<()> {
        let found = deployment.deadlocks()?;
        if found > 0 {
            self.violation(format!("Postgres found {found} deadlocks"));
        }
        *self.lock().deadlocks.get_or_insert(0) += found;
        Ok(())
    }

    /// Ends the history and has it checked. What the checker finds is the drill's.
    pub async fn check(&self) -> Result<()> {
        self.0.recorder.finish()?;
        let path = self.0.recorder.path().to_owned();
        let checking = tokio::task::spawn_blocking(move || checker::check(&Source::File(&path)));
        let verdict = checking.await.context("the checker panicked")??;
        for void in &verdict.void {
            self.void(void.clone());
        }
        for found in &verdict.violations {
            let line = found.line.map(|line| format!(", line {line}")).unwrap_or_default();
            self.violation(format!("{}{line}: {}", found.invariant, found.what));
        }
        let counts = verdict.counts;
        let told =
            match verdict.violated.iter().map(|(of, count)| format!("{count} of {of}")).collect::<Vec<_>>() {
                none if none.is_empty() => "no violation".to_owned(),
                some => some.join(", "),
            };
        self.lock().checker = Some(format!(
            "{told} ({} records, {} writes, {} reads, {} copies)",
            counts.records,
            counts.ok + counts.failed + counts.unknown,
            counts.reads,
            counts.copies
        ));
        Ok(())
    }

    /// Ends the report. The history stays where it was asked for, or where a promise was broken.
    pub(super) fn report(&self) -> Report {
        let mut report = self.lock().clone();
        report.took = self.0.started.elapsed();
        let temporary = self.0.temporary.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(temporary) = temporary
            && !report.violations.is_empty()
        {
            let _ = temporary.keep();
        }
        let stays = self.0.request.keep.is_some() || !report.violations.is_empty();
        report.history = report.history.filter(|_| stays);
        report
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
