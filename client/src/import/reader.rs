//! Reads the input on a thread of its own and hands windows of batches to the lanes.
//!
//! Invariant: the coordinator hears of a window before a lane gets a batch of it. Memory is bounded: the window being
//! filled, and per lane one batch waiting and one in flight.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    line::{Line, Lines, Place},
    mapping::Mapping,
    report::Failure,
    run::Note,
    window::{Batch, Window},
};

/// A slow stream's lines are sent after at most this long, once another line arrives.
const WINDOW_TIME_MAX: Duration = Duration::from_secs(1);

pub(super) struct Reader {
    pub(super) lines: Lines,
    pub(super) mapping: Mapping,
    /// Begins every line's Idempotency-Key.
    pub(super) id: String,
    pub(super) window: Window,
    pub(super) notes: mpsc::Sender<Note>,
    pub(super) lanes: Vec<mpsc::Sender<Batch>>,
}

/// The other side has gone: the import is over.
struct Gone;

impl Reader {
    /// Blocks until the input ends, or nobody listens any more.
    pub(super) fn run(mut self) {
        let note = match self.read() {
            Ok(Ok(truncated)) => Note::Ended { truncated },
            Ok(Err(Gone)) => return,
            Err(source) => Note::Unreadable { line: self.lines.number(), source },
        };
        // Nobody listens when the import was stopped meanwhile.
        let _ = self.notes.blocking_send(note);
    }

    /// Returns the number of a line that the input ends inside of.
    fn read(&mut self) -> std::io::Result<Result<Option<u64>, Gone>> {
        let mut opened = Instant::now();
        while let Some(line) = self.lines.next()? {
            let line = match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            };
            if let Some(end) = self.take(line.as_deref()) {
                let truncated = end.line + 1;
                return Ok(self.close(end).map(|()| Some(truncated)));
            }
            if self.window.is_full() || opened.elapsed() >= WINDOW_TIME_MAX {
                if self.close(self.lines.place()).is_err() {
                    return Ok(Err(Gone));
                }
                opened = Instant::now();
            }
        }
        Ok(self.close(self.lines.place()).map(|()| None))
    }

    /// Adds the line that was just read. Returns where it began if the input was cut inside of it.
    fn take(&mut self, line: Option<&[u8]>) -> Option<Place> {
        let number = self.lines.number();
        let pushed = match line {
            None => Err(Failure::unsent(number, "line-too-long", String::new(), None)),
            Some(line) if line.trim_ascii().is_empty() => Ok(()),
            Some(line) => {
                let id = format!("{}:{number}:{:016x}", self.id, xxh3_64(line));
                self.window.push(&self.mapping, number, line, &id)
            }
        };
        let failure = pushed.err()?;
        if let Some(place) = self.lines.before_unterminated() {
            return Some(place.clone());
        }
        self.window.fail(failure);
        None
    }

    fn close(&mut self, end: Place) -> Result<(), Gone> {
        let (opened, batches) = self.window.close(end);
        self.notes.blocking_send(Note::Opened(opened)).map_err(|_| Gone)?;
        for (lane, batch) in batches {
            self.lanes[lane].blocking_send(batch).map_err(|_| Gone)?;
        }
        Ok(())
    }
}
