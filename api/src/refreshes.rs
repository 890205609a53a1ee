//! Which shards have been read since the api last fixed where it hears outcomes from.
//!
//! Invariant: a read that began before that moment does not count.

use std::sync::{Mutex, MutexGuard};

/// One shard.
#[derive(Clone, Copy, Debug, Default)]
struct One {
    running: bool,
    /// Something was missed since the running read began.
    again: bool,
    read: Read,
}

/// What came of reading a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Read {
    /// Not yet.
    #[default]
    Open,
    /// Its watermarks are known.
    Done,
    /// It did not answer: it will be asked again, and nobody need wait for that.
    Unreachable,
}

/// Every shard, by its index in the topology.
#[derive(Debug)]
pub(crate) struct Refreshes(Mutex<Vec<One>>);

impl Refreshes {
    pub(crate) fn new(shards: usize) -> Self {
        Self(Mutex::new(vec![One::default(); shards]))
    }

    /// The shards that are not being read now: they are from here on.
    pub(crate) fn begin(&self) -> Vec<usize> {
        let mut each = self.each();
        let idle = each.iter_mut().enumerate().filter(|(_, one)| !one.running);
        idle.map(|(index, one)| {
            one.running = true;
            index
        })
        .collect()
    }

    /// Outcomes were missed: what is being read now may be from before.
    pub(crate) fn missed(&self) {
        for one in self.each().iter_mut() {
            one.again = one.running;
            one.read = Read::Open;
        }
    }

    /// A shard has been read. Whether it is to be read again at once: it is, then.
    pub(crate) fn ended(&self, index: usize, read: Read) -> bool {
        let mut each = self.each();
        let Some(one) = each.get_mut(index) else { return false };
        one.running = std::mem::take(&mut one.again);
        if !one.running {
            one.read = read;
        }
        one.running
    }

    /// Shards of which that came, by index.
    pub(crate) fn of(&self, read: Read) -> Vec<usize> {
        self.each().iter().enumerate().filter(|(_, one)| one.read == read).map(|(index, _)| index).collect()
    }

    fn each(&self) -> MutexGuard<'_, Vec<One>> {
        self.0.lock().expect("nothing panics while it holds them")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_while_a_shard_is_read_makes_it_be_read_again() {
        let refreshes = Refreshes::new(2);
        assert_eq!(refreshes.of(Read::Open), [0, 1]);
        assert_eq!(refreshes.begin(), [0, 1]);
        assert_eq!(refreshes.begin(), [0; 0]);
        assert!(!refreshes.ended(0, Read::Done));
        assert_eq!(refreshes.of(Read::Done), [0]);
        refreshes.missed();
        assert_eq!(refreshes.of(Read::Open), [0, 1]);
        assert!(refreshes.ended(1, Read::Done), "it may have been read before that");
        assert_eq!(refreshes.of(Read::Open), [0, 1]);
        assert!(!refreshes.ended(1, Read::Unreachable));
        assert_eq!((refreshes.of(Read::Open), refreshes.of(Read::Unreachable)), (vec![0], vec![1]));
        assert_eq!(refreshes.begin(), [0, 1]);
    }
}
