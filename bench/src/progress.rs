//! A bar while a load runs, or from step to step of a longer run, where standard error is a terminal.
//!
//! Invariant: costs a few redraws a second, and nothing where nobody looks.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two redraws.
const REDRAW: Duration = Duration::from_millis(250);

/// A bar over steps, of which each may take long; goes away when it is dropped.
pub(crate) struct Steps(ProgressBar);

impl Steps {
    /// So many are to come.
    pub(crate) fn show(name: &str, steps: usize) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps as u64), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len}, {elapsed}: {msg}");
        bar.set_style(style.expect("the template is sound").progress_chars("=> "));
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(REDRAW);
        Self(bar)
    }

    /// What is done now.
    pub(crate) fn at(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// A step is done, and this came of it: a line of output.
    #[expect(clippy::print_stdout, reason = "it is the result")]
    pub(crate) fn done(&self, line: &str) {
        self.0.inc(1);
        self.0.suspend(|| println!("{line}"));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar over the time of a load; goes away when it is dropped.
pub(crate) struct Progress {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows how far a load of this length is, and how many calls were made.
    pub(crate) fn show(name: String, length: Duration, made: Arc<AtomicU64>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::io::stderr()
            .is_terminal()
            .then(|| std::thread::spawn(move || draw(&name, length, &made, &seen)));
        Self { over, thread }
    }
}

fn draw(name: &str, length: Duration, made: &AtomicU64, over: &AtomicBool) {
    let bar = ProgressBar::with_draw_target(Some(length.as_secs().max(1)), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} [{bar:40}] {pos}/{len} s, {msg}");
    bar.set_style(style.expect("the template is sound").progress_chars("=> "));
    bar.set_prefix(name.to_owned());
    let (began, mut before, mut looked) = (Instant::now(), 0, Instant::now());
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(REDRAW);
        let calls = made.load(Ordering::Relaxed);
        let millis = u64::try_from(looked.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        bar.set_position(began.elapsed().as_secs().min(length.as_secs()));
        bar.set_message(format!("{calls} calls, {}/s", (calls - before) * 1000 / millis));
        (before, looked) = (calls, Instant::now());
    }
    bar.finish_and_clear();
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _panicked = thread.join();
        }
    }
}
