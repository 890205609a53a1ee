//! How an export shows that it moves: a spinner on a terminal, since nobody knows how many keys there are, and a line
//! now and then elsewhere.

use std::{
    cell::Cell,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::sink::Counts;
use crate::output;

/// Between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Redraws of a spinner that has nothing new.
const TICK: Duration = Duration::from_millis(200);

/// Shows one export.
pub(super) struct Display {
    /// `None`: standard error is no terminal.
    spinner: Option<ProgressBar>,
    began: Instant,
    /// What an earlier run wrote.
    before: Counts,
    told: Cell<Instant>,
}

impl Display {
    pub(super) fn new(before: Counts) -> Self {
        let now = Instant::now();
        let spinner = std::io::stderr().is_terminal().then(spinner);
        Self { spinner, began: now, before, told: Cell::new(now) }
    }

    pub(super) fn show(&self, counts: Counts) {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = (counts.keys - self.before.keys) as f64 / seconds;
        let text = format!("{} keys, {}, {rate:.0} keys/s", counts.keys, HumanBytes(counts.bytes));
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text);
        } else if self.told.get().elapsed() >= LINE_INTERVAL {
            self.told.set(Instant::now());
            output::note(&text);
        }
    }

    /// Writes a line above the spinner.
    pub(super) fn note(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// Takes the spinner away.
    pub(super) fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn spinner() -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_style(ProgressStyle::with_template("{spinner} {msg}").expect("the template is sound"));
    spinner.enable_steady_tick(TICK);
    spinner
}
