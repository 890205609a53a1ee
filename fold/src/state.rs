//! What the fold carries from flush to flush beside the rows: watermark, Claim in force, duplicate window.
//!
//! Invariant: changes only by [`State::advance`], after the flush is committed.

use millpond_schemas::{
    Claim, Flush, Seen, Watermark,
    limits::{PURGE_GRACE_MS, VALUE_BYTES_MAX},
};

use crate::window::Window;

/// One partition's state at a watermark.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) watermark: Watermark,
    pub(crate) claim: Option<Claim>,
    pub(crate) window: Window,
}

/// The watermark holds a Claim that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the watermark's Claim cannot be read")]
pub struct StateInvalid;

impl State {
    /// The state at a copy's watermark, with the ids that the copy has seen (any order; old ones do no harm).
    pub fn new(watermark: Watermark, seen: Vec<Seen>) -> Result<Self, StateInvalid> {
        let encoded = Some(watermark.claim.clone()).filter(|claim| !claim.is_empty());
        let claim = encoded.map(|claim| Claim::decode(claim).ok_or(StateInvalid)).transpose()?;
        let mut window = Window::default();
        window.extend(seen);
        window.forget(watermark.applied);
        Ok(Self { watermark, claim, window })
    }

    /// How far the copy has applied its log.
    pub fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// The Claim in force.
    pub fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Takes over a flush that is committed.
    ///
    /// # Panics
    /// When the flush was folded from another watermark: our bug, and it must not go on.
    pub fn advance(&mut self, flush: &Flush) {
        assert_eq!(flush.previous.applied, self.watermark.applied, "a flush follows the one before it");
        self.watermark = flush.next.clone();
        if !self.watermark.claim.is_empty() {
            let claim = Claim::decode(self.watermark.claim.clone());
            self.claim = Some(claim.expect("the fold encoded it"));
        }
        self.window.extend(flush.seen.iter().copied());
        self.window.forget(self.watermark.applied);
    }
}

/// The limit on values under a Claim, bytes.
pub(crate) fn value_bytes_max(claim: Option<&Claim>) -> usize {
    claim.map_or(VALUE_BYTES_MAX, |claim| usize::try_from(claim.value_bytes_max).unwrap_or(usize::MAX))
}

/// How long tombstones stay under a Claim, ms.
pub(crate) fn purge_grace_ms(claim: Option<&Claim>) -> u64 {
    claim.map_or(PURGE_GRACE_MS, |claim| claim.purge_grace_ms)
}
