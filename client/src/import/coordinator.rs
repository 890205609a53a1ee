//! Turns notes into a journal, a rejects file and a report.
//!
//! Invariant: rejects first, then the journal, then the word to the observer, so that a crash between any two repeats
//! and never forgets. Its few small writes are made in place: one file a window.

use super::{
    Error,
    frontier::{Advance, Frontier},
    journal::Journal,
    rejects::Rejects,
    report::{End, Event, FAILURES_SHOWN_MAX, Failure, Observer, Progress, Report},
    run::Note,
};
use crate::Position;

pub(super) struct Coordinator {
    journal: Journal,
    rejects: Option<Rejects>,
    frontier: Frontier,
    observer: Observer,
    bytes_total: Option<u64>,
    resumed_after: u64,
    /// The first failed lines of this run.
    failures: Vec<Failure>,
    /// What the reader said at its end.
    end: Option<End>,
    witness: Witnessing,
}

/// Whether the server was asked for what identifies its log.
#[derive(PartialEq, Eq)]
enum Witnessing {
    NotAsked,
    Asked,
    Settled,
}

impl Coordinator {
    pub(super) fn new(
        journal: Journal,
        rejects: Option<Rejects>,
        bytes_total: Option<u64>,
        observer: Observer,
    ) -> Self {
        let known = journal.state.witness.is_some();
        Self {
            resumed_after: journal.state.place.line,
            journal,
            rejects,
            frontier: Frontier::default(),
            observer,
            bytes_total,
            failures: Vec::new(),
            end: None,
            witness: if known { Witnessing::Settled } else { Witnessing::NotAsked },
        }
    }

    /// Whether everything that was read is done and journaled.
    pub(super) fn is_done(&self) -> bool {
        self.end.is_some() && self.frontier.is_empty() && self.witness != Witnessing::Asked
    }

    /// Takes a note in. Returns a position to ask the server about, once.
    pub(super) fn take(&mut self, note: Note) -> Result<Option<Position>, Error> {
        match note {
            Note::Opened(opened) => self.frontier.open(opened),
            Note::Delivered(delivered) => self.frontier.deliver(delivered),
            Note::Witnessed(witness) => {
                self.witness = Witnessing::Settled;
                self.journal.state.witness = witness;
                self.journal.save()?;
                return Ok(None);
            }
            Note::Failed(error) => return Err(error.into()),
            Note::Unreadable { line, source } => return Err(Error::Input { line, source }),
            Note::Ended { truncated } => {
                self.end = Some(truncated.map_or(End::Complete, |line| End::Truncated { line }));
            }
        }
        if let Some(advance) = self.frontier.advance() {
            self.pass(advance)?;
        }
        if self.end == Some(End::Complete) && self.frontier.is_empty() && !self.journal.state.complete {
            self.journal.state.complete = true;
            self.journal.save()?;
        }
        Ok(self.ask())
    }

    fn pass(&mut self, advance: Advance) -> Result<(), Error> {
        let rejects = match &mut self.rejects {
            Some(rejects) => Some(rejects.append(&advance.failures)?),
            None => self.journal.state.rejects.clone(),
        };
        let shown = advance.failures.iter().take(FAILURES_SHOWN_MAX - self.failures.len());
        self.failures.extend(shown.map(|failure| Failure { input: None, ..failure.clone() }));
        self.journal.state.complete = false;
        self.journal.state.pass(advance, rejects);
        self.journal.save()?;
        (self.observer)(Event::Progress(&self.progress()));
        Ok(())
    }

    /// The first position that became known, while nothing else identifies the log.
    fn ask(&mut self) -> Option<Position> {
        if self.witness != Witnessing::NotAsked {
            return None;
        }
        let position = self.journal.state.positions.first().cloned()?;
        self.witness = Witnessing::Asked;
        Some(position)
    }

    fn progress(&self) -> Progress {
        let state = &self.journal.state;
        Progress {
            line: state.place.line,
            bytes: state.place.bytes,
            bytes_total: self.bytes_total,
            accepted: state.accepted,
            failed: state.failed,
        }
    }

    /// What to tell at the end, or when it was `stopped` before.
    pub(super) fn report(self, stopped: bool) -> Report {
        let end = match self.end {
            Some(end) if !stopped => end,
            _ => End::Stopped,
        };
        Report {
            end,
            progress: self.progress(),
            resumed_after: self.resumed_after,
            failures_by_code: self.journal.state.failures_by_code,
            failures: self.failures,
            positions: self.journal.state.positions,
        }
    }
}
