//! How an import shows that it moves: a bar on a terminal, a line now and then elsewhere.
//!
//! Invariant: a server that is down for long is told once in a while, not with every try.

use std::{
    io::IsTerminal,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millpond_client::import::{Event, Observer, Progress};

use crate::output;

/// Between two lines of the same kind.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Redraws of a bar that has nothing new.
const TICK: Duration = Duration::from_millis(200);

/// Shows one import.
pub(crate) struct Display {
    state: Arc<Mutex<State>>,
}

struct State {
    /// Its address.
    server: String,
    /// `None`: standard error is no terminal.
    bar: Option<ProgressBar>,
    began: Instant,
    /// Lines that were done before.
    first_line: Option<u64>,
    progress_told: Instant,
    waiting_told: Option<Instant>,
}

impl Display {
    pub(crate) fn new(server: &str) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(bar);
        let server = server.to_owned();
        let state =
            State { server, bar, began: now, first_line: None, progress_told: now, waiting_told: None };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What the importer tells its events to.
    pub(crate) fn observer(&self) -> Observer {
        let state = Arc::clone(&self.state);
        Arc::new(move |event| {
            let mut state = state.lock().expect("nothing panics while it shows");
            state.show(&event);
        })
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        let state = self.state.lock().expect("nothing panics while it shows");
        if let Some(bar) = &state.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style("{spinner} {bytes} {msg}"));
    bar.enable_steady_tick(TICK);
    bar
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is sound").progress_chars("=> ")
}

impl State {
    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Resumed { line, stale } => {
                self.first_line = Some(*line);
                self.tell(|| output::note(&format!("going on after line {line}")));
                if *stale {
                    self.tell(|| {
                        output::warning(
                            "more than 24 h have passed: lines that were in flight may apply twice",
                        );
                    });
                }
            }
            Event::InputChanged { line } => self.tell(|| {
                let what = format!("the file has changed before line {line}, where an earlier run stood");
                output::warning(&format!("{what}; importing it from its first line"));
            }),
            Event::LogChanged => self.tell(|| {
                let what = "the server's log is not the one that an earlier run wrote to";
                output::warning(&format!("{what}; importing everything"));
            }),
            Event::Progress(progress) => self.progress(progress),
            Event::Waiting { error, delay } => self.waiting(error, *delay),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let first = *self.first_line.get_or_insert(0);
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = progress.line.saturating_sub(first) as f64 / seconds;
        let failed =
            if progress.failed > 0 { format!(", {} failed", progress.failed) } else { String::new() };
        let text = format!("{} lines, {rate:.0}/s{failed}", progress.line);
        self.waiting_told = None;
        if let Some(bar) = &self.bar {
            if let Some(total) = progress.bytes_total
                && bar.length().is_none()
            {
                bar.set_length(total);
                bar.set_style(style("[{bar:30}] {percent}% {msg}, ETA {eta}"));
                bar.reset_eta();
            }
            bar.set_position(progress.bytes);
            bar.set_message(text);
        } else if self.progress_told.elapsed() >= LINE_INTERVAL {
            self.progress_told = Instant::now();
            let percent = progress.bytes_total.filter(|total| *total > 0);
            let percent = percent.map(|total| format!("{}%, ", progress.bytes * 100 / total));
            output::note(&format!("{}{text}", percent.unwrap_or_default()));
        }
    }

    fn waiting(&mut self, error: &millpond_client::Error, delay: Duration) {
        // The first refusal of a batch is everyday back-pressure: worth a line only when it lasts.
        let brief = !error.is_unreachable() && delay < Duration::from_secs(1);
        if brief || self.waiting_told.is_some_and(|told| told.elapsed() < LINE_INTERVAL) {
            return;
        }
        self.waiting_told = Some(Instant::now());
        let text = format!("waiting for {}: {error}", self.server);
        self.tell(|| output::note(&text));
    }

    /// Writes lines above the bar.
    fn tell(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}
