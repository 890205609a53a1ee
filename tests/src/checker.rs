//! The checker: whether a history keeps Millpond's promises, I1 to I10.
//!
//! The log gives the order of all changes, so nothing is searched: it is replayed into the naive model, never the fold, and
//! every answer is looked up in what came of it. Two passes over a history: the log, then everything else. Invariant: a
//! history in which something is missing is never called right; it is void.

mod claims;
mod clocks;
mod copies;
mod gather;
mod oracle;
mod reads;
mod replay;
mod report;
mod sessions;
mod source;
#[cfg(test)]
mod tests;
mod told;
mod verdict;
mod writes;

use crate::history::Event;

pub use source::{Source, Unreadable, lines};
pub use verdict::{Counts, Invariant, Verdict, Violation};

use self::{
    copies::Copies, gather::Gathered, oracle::Oracle, reads::Reads, sessions::Sessions, verdict::Found,
    writes::Writes,
};

/// Checks a history.
///
/// # Errors
/// It cannot be read, or one of its lines is no event.
pub fn check(source: &Source<'_>) -> Result<Verdict, Unreadable> {
    let mut gathered = Gathered::default();
    let mut found = Found::default();
    source.each(source::LOG, |_, event| gathered.take(event, &mut found))?;
    let oracle = Oracle::new(&mut gathered, &mut found);
    let mut checks = Checks {
        writes: Writes::new(&oracle),
        reads: Reads::new(&oracle, gathered.run.skew_ms),
        sessions: Sessions::default(),
        copies: Copies::new(&oracle),
    };
    source.each(source::CALLS, |line, event| checks.take(line, &event, &mut found))?;
    checks.end(&mut found);
    Ok(found.verdict(gathered.run))
}

/// What every event of the second pass goes through.
struct Checks<'a> {
    writes: Writes<'a>,
    reads: Reads<'a>,
    sessions: Sessions,
    copies: Copies<'a>,
}

impl Checks<'_> {
    fn take(&mut self, line: usize, event: &Event, found: &mut Found) {
        match event {
            Event::Op(op) => {
                self.writes.op(line, op, found);
                self.sessions.op(line, op, found);
            }
            Event::Read(read) => {
                let read = self.reads.placed(read);
                self.reads.read(line, &read, found);
                self.sessions.read(line, &read, found);
            }
            Event::Look(look) => self.writes.look(line, look, found),
            Event::Fault(_) => found.counts.faults += 1,
            Event::Copy(copy) => self.copies.copy(line, copy, found),
            Event::Published(letter) => self.copies.published(line, letter, found),
            Event::Lag(lag) => clocks::healed(line, lag, found),
            Event::Run(_) | Event::Topology(_) | Event::Log(_) | Event::Bounds(_) => {}
        }
    }

    fn end(self, found: &mut Found) {
        self.writes.end(found);
        self.sessions.end(found);
        self.copies.end(found);
    }
}
