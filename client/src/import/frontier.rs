//! Which windows are done, and how far every line before is.
//!
//! Invariant: windows are passed in order, each only when all its batches are delivered.

use std::collections::VecDeque;

use super::{line::Place, report::Failure, window::Opened};
use crate::{Position, position};

/// What a lane says of a batch that has its answer.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) window: u64,
    pub(super) accepted: u64,
    pub(super) failures: Vec<Failure>,
    pub(super) positions: Vec<Position>,
}

/// What became done at once.
#[derive(Debug)]
pub(super) struct Advance {
    /// Everything before it is done.
    pub(super) place: Place,
    pub(super) accepted: u64,
    /// By line.
    pub(super) failures: Vec<Failure>,
    pub(super) positions: Vec<Position>,
}

struct Open {
    end: Place,
    missing: usize,
    done: Delivered,
}

/// Windows that are under way.
#[derive(Default)]
pub(super) struct Frontier {
    open: VecDeque<Open>,
}

impl Frontier {
    /// A window begins; the next in order.
    pub(super) fn open(&mut self, opened: Opened) {
        let done = Delivered { window: opened.window, failures: opened.unsent, ..Delivered::default() };
        self.open.push_back(Open { end: opened.end, missing: opened.batches, done });
    }

    /// A batch of an open window has its answer.
    pub(super) fn deliver(&mut self, delivered: Delivered) {
        let open = self.open.iter_mut().find(|open| open.done.window == delivered.window);
        let open = open.expect("a window stays open until all its batches are delivered");
        open.missing -= 1;
        open.done.accepted += delivered.accepted;
        open.done.failures.extend(delivered.failures);
        position::merge(&mut open.done.positions, delivered.positions);
    }

    /// Passes every window that is done and has only done ones before it.
    pub(super) fn advance(&mut self) -> Option<Advance> {
        let mut advance: Option<Advance> = None;
        while let Some(Open { end, mut done, .. }) = self.open.pop_front_if(|open| open.missing == 0) {
            done.failures.sort_by_key(|failure| failure.line);
            match &mut advance {
                None => {
                    let Delivered { accepted, failures, positions, .. } = done;
                    advance = Some(Advance { place: end, accepted, failures, positions });
                }
                Some(advance) => {
                    advance.place = end;
                    advance.accepted += done.accepted;
                    advance.failures.append(&mut done.failures);
                    position::merge(&mut advance.positions, done.positions);
                }
            }
        }
        advance
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(window: u64, batches: usize) -> Opened {
        let end = Place { line: (window + 1) * 10, ..Place::default() };
        Opened { window, batches, end, unsent: Vec::new() }
    }

    fn delivered(window: u64) -> Delivered {
        Delivered { window, accepted: 5, ..Delivered::default() }
    }

    #[test]
    fn a_window_waits_for_all_its_batches_and_for_those_before() {
        let mut frontier = Frontier::default();
        frontier.open(opened(0, 2));
        frontier.open(opened(1, 1));
        frontier.open(opened(2, 0));
        frontier.deliver(delivered(1));
        frontier.deliver(delivered(0));
        assert!(frontier.advance().is_none());
        frontier.deliver(delivered(0));
        let advance = frontier.advance().unwrap();
        assert_eq!((advance.place.line, advance.accepted), (30, 15));
        assert!(frontier.is_empty());
    }
}
