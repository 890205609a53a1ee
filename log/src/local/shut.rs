//! Why the log takes nothing just now: for whoever looks, and once for the operator.
//!
//! Not here: whether it is tried again, which every call does. Invariant: a group that is durable ends it.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{Error, Shut};

const DISK_FULL: &str = "its disk is full: it takes records again by itself once there is space";
const WRITE_FAILED: &str = "its disk did not take a write: every call tries again";

/// Open until an append has failed.
#[derive(Default)]
pub(super) struct Shutter(Mutex<Option<&'static str>>);

impl Shutter {
    /// Why it takes nothing; none: it does, or nobody has asked it to yet.
    pub(super) fn why(&self) -> Option<Shut> {
        let reason = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.map(|reason| Shut { reason, dead: false })
    }

    /// Nothing was taken.
    pub(super) fn failed(&self, error: &Error, dir: &Path) {
        let reason = reason(error);
        if self.set(Some(reason)) != Some(reason) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, dir = %dir.display(), reason, "the log takes nothing");
        }
    }

    /// A group is durable.
    pub(super) fn took(&self, dir: &Path) {
        if self.set(None).is_some() {
            tracing::info!(dir = %dir.display(), "the log takes records again");
        }
    }

    /// Answers what it was.
    fn set(&self, to: Option<&'static str>) -> Option<&'static str> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), to)
    }
}

fn reason(error: &Error) -> &'static str {
    let is_full = |source: &io::Error| source.kind() == io::ErrorKind::StorageFull;
    match error {
        Error::Unavailable { reason, source } => {
            let cause = source.as_deref().and_then(|source| source.downcast_ref());
            if cause.is_some_and(is_full) { DISK_FULL } else { reason }
        }
        Error::Unknown { source } => {
            let cause = source.downcast_ref();
            if cause.is_some_and(is_full) { DISK_FULL } else { WRITE_FAILED }
        }
        _ => WRITE_FAILED,
    }
}
