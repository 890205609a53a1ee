//! How a rebuild shows that it moves: a bar on a terminal, a line now and then elsewhere.
//!
//! Invariant: what it waits for is told once, and again when it is something else.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Write,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond::rebuild::Awaited;
use millpond_schemas::PartitionId;
use millpond_writer::{Progress, Step};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listed;
use crate::output;

/// Between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Between two looks.
const TICK: Duration = Duration::from_millis(200);

/// Shows one rebuild, in a task of its own.
pub(super) struct Display {
    showing: JoinSet<()>,
    over: CancellationToken,
}

impl Display {
    pub(super) fn start(progress: &Progress) -> Self {
        let (over, mut showing) = (CancellationToken::new(), JoinSet::new());
        let (progress, until) = (progress.clone(), over.clone());
        showing.spawn(async move {
            let mut shown = Shown::new("[{bar:30}] {percent}% {msg}");
            while !until.is_cancelled() {
                shown.show(&progress.steps());
                tokio::select! {
                    () = until.cancelled() => {}
                    () = tokio::time::sleep(TICK) => {}
                }
            }
            if let Some(bar) = &shown.bar {
                bar.finish_and_clear();
            }
        });
        Self { showing, over }
    }

    /// Takes the bar away.
    pub(super) async fn finish(mut self) {
        self.over.cancel();
        while let Some(ended) = self.showing.join_next().await {
            ended.expect("a display never panics");
        }
    }

    /// Shows how writers get on.
    pub(super) fn waiting() -> Waiting {
        Waiting(RefCell::new(Shown::new("{spinner} {msg}")))
    }
}

/// Shows what writers have still to do.
pub(super) struct Waiting(RefCell<Shown>);

impl Waiting {
    pub(super) fn show(&self, awaited: &Awaited) {
        let mut shown = self.0.borrow_mut();
        let behind: i64 = awaited.behind.iter().map(|(_, offsets)| offsets).sum();
        let mut text = format!("waiting for the writers: {behind} records behind");
        if !awaited.unclaimed.is_empty() {
            let _ = write!(text, ", not claimed yet: {}", listed(&awaited.unclaimed));
        }
        shown.line(text);
    }

    pub(super) fn clear(&self) {
        if let Some(bar) = &self.0.borrow().bar {
            bar.finish_and_clear();
        }
    }
}

struct Shown {
    /// None: standard error is no terminal.
    bar: Option<ProgressBar>,
    began: Instant,
    told: Instant,
    waits: BTreeMap<PartitionId, String>,
}

impl Shown {
    fn new(template: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(template).expect("the template is sound");
            bar.set_style(style.progress_chars("=> "));
            bar
        });
        let now = Instant::now();
        Self { bar, began: now, told: now, waits: BTreeMap::new() }
    }

    fn show(&mut self, steps: &BTreeMap<PartitionId, Step>) {
        for (partition, step) in steps {
            match &step.waits {
                None => drop(self.waits.remove(partition)),
                Some(why) => {
                    if self.waits.insert(*partition, why.clone()).as_ref() != Some(why) {
                        self.above(&format!("partition {partition} waits, and tries again: {why}"));
                    }
                }
            }
        }
        let sum = |of: fn(&Step) -> i64| steps.values().map(of).sum::<i64>();
        let total = sum(|step| step.to.0 - step.from.0).max(0).unsigned_abs();
        let done = sum(|step| step.applied.0 - step.from.0).max(0).unsigned_abs();
        if let Some(bar) = &self.bar {
            bar.set_length(total.max(1));
            bar.set_position(done);
        }
        let records = steps.values().map(|step| step.records).sum();
        let text = rate(records, total.saturating_sub(done), self.began.elapsed());
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let text = if self.bar.is_some() { text } else { format!("{percent}%, {text}") };
        self.line(text);
    }

    fn line(&mut self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text);
            bar.tick();
        } else if self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            output::note(&text);
        }
    }

    fn above(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }
}

/// Records, how many a second, and how long what is left takes at that.
fn rate(records: u64, left: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = records as f64 / seconds;
    let mut text = format!("{records} records, {per_second:.0}/s");
    if left > 0 && per_second >= 1.0 {
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        let eta = Duration::try_from_secs_f64(left as f64 / per_second).unwrap_or(Duration::MAX);
        let _ = write!(text, ", ETA {}", HumanDuration(eta));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_is_done_says() {
        assert_eq!(rate(1000, 3000, Duration::from_secs(2)), "1000 records, 500/s, ETA 6 seconds");
        assert_eq!(rate(0, 10, Duration::from_secs(2)), "0 records, 0/s");
    }
}
