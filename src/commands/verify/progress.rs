//! How a verification shows that it moves: a bar on a terminal, a line now and then elsewhere.
//!
//! Not here: what was found. Invariant: the bar never goes back, but where a copy is read anew.

use std::{
    io::IsTerminal,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond::verify::Event;
use millpond_schemas::Offset;
use millpond_writer::Verifying;

use crate::output;

/// Between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Redraws of a bar that has nothing new.
const TICK: Duration = Duration::from_millis(200);

/// A copy's part of the bar; of it the replay takes the first so many.
const COPY: u64 = 1000;
const REPLAY: u64 = 900;

/// Shows one verification.
pub(super) struct Display {
    state: Mutex<State>,
    /// `None`: standard error is no terminal.
    bar: Option<ProgressBar>,
}

struct State {
    began: Instant,
    told: Instant,
    records: u64,
    /// By the number of a copy.
    copies: Vec<Copy>,
}

#[derive(Clone, Copy, Default)]
struct Copy {
    /// Of [`COPY`].
    done: u64,
    compared: u64,
}

impl Display {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let state = State { began: now, told: now, records: 0, copies: Vec::new() };
        Self { state: Mutex::new(state), bar: std::io::stderr().is_terminal().then(bar) }
    }

    /// It has come further.
    pub(super) fn show(&self, event: Event) {
        let mut state = self.lock();
        state.take(event);
        let (done, all) = (state.copies.iter().map(|copy| copy.done).sum(), COPY * state.copies.len() as u64);
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(state.text());
        } else if state.told.elapsed() >= LINE_INTERVAL {
            state.told = Instant::now();
            output::note(&format!("{}%, {}", (done * 100).checked_div(all).unwrap_or(0), state.text()));
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, event: Event) {
        match event {
            Event::Begins(copies) => self.copies = vec![Copy::default(); copies],
            Event::Done(number) => self.of(number, |copy| copy.done = COPY),
            Event::Copy(number, Verifying::Compared(compared)) => {
                self.of(number, |copy| (copy.done, copy.compared) = (REPLAY, compared));
            }
            Event::Copy(number, Verifying::Replayed { records, applied, to }) => {
                self.records += records;
                let offsets = |offset: Offset| u64::try_from(offset.next().0).unwrap_or(0);
                let done = (offsets(applied) * REPLAY).checked_div(offsets(to)).unwrap_or(REPLAY);
                self.of(number, |copy| copy.done = done.min(REPLAY));
            }
        }
    }

    fn of(&mut self, number: usize, change: impl FnOnce(&mut Copy)) {
        if let Some(copy) = self.copies.get_mut(number) {
            change(copy);
        }
    }

    fn text(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = self.records as f64 / seconds;
        let compared: u64 = self.copies.iter().map(|copy| copy.compared).sum();
        format!("{} records replayed, {rate:.0}/s, {compared} things compared", self.records)
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("[{bar:30}] {percent}% {msg}, ETA {eta}");
    bar.set_style(style.expect("the template is sound").progress_chars("=> "));
    bar.enable_steady_tick(TICK);
    bar
}
