//! How many files this process may have open: as many as the system lets it, and a word when they are too few.
//!
//! Invariant: only ever raises the limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs besides its clients' connections: files, shards, brokers, the ops listener.
const OTHERS: u64 = 1024;

/// Raises the soft limit to the hard one, and warns when so many connections do not fit below it.
pub(crate) fn raise(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "cannot raise the limit of open files");
        }
    }
    // None: there is no limit.
    let Some(files) = getrlimit(Resource::Nofile).current else { return };
    let needed = u64::try_from(connections_max).unwrap_or(u64::MAX).saturating_add(OTHERS);
    if files < needed {
        tracing::warn!(
            files,
            needed,
            connections_max,
            "too few open files are allowed for so many connections: raise the limit (ulimit -n) or lower \
             connections_max"
        );
    }
}
