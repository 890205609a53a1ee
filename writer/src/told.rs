//! A halt is told once, however often it is met again.
//!
//! Not here: its phase, which always says it. Invariant: another halt, and one that comes back after something was
//! applied, is told anew.

use millpond_schemas::PartitionId;

use crate::Halt;

/// The halt of one partition that was told last.
#[derive(Debug, Default)]
pub(crate) struct Told(Option<Halt>);

impl Told {
    /// Tells of it, unless it was the last that was told: one that may pass is met again every second.
    pub(crate) fn tell(&mut self, partition: PartitionId, halt: &Halt) {
        if self.is_news(halt) {
            tracing::error!(partition = partition.0, reason = halt.name(), "partition halted: {halt}");
        } else {
            tracing::debug!(partition = partition.0, reason = halt.name(), "still halted: {halt}");
        }
    }

    /// It is over, or somebody has acted: should it come back, that is news.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    fn is_news(&mut self, halt: &Halt) -> bool {
        if self.0.as_ref() == Some(halt) {
            return false;
        }
        self.0 = Some(halt.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(detail: &str) -> Halt {
        Halt::ShardRefused { detail: detail.to_owned() }
    }

    #[test]
    fn a_halt_is_news_once_and_again_when_it_was_over() {
        let mut told = Told::default();
        let mut news = |halt: &Halt| told.is_news(halt);
        assert!(news(&refused("no table")));
        assert!(!news(&refused("no table")) && !news(&refused("no table")));
        assert!(news(&refused("no column")), "it is another one");
        assert!(news(&refused("no table")));
        told.forget();
        assert!(told.is_news(&refused("no table")), "it came back");
    }
}
