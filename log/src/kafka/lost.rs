//! Acks that carry no offset: the record is looked for on the log.
//!
//! librdkafka reports so when a retry finds that the broker has the record already. Invariant: an offset is answered
//! only where the identical record lies; never is one made up.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, Ordering},
};

use millpond_schemas::{Offset, PartitionId, Raw, Received};

use super::standing::{Scan, Standing};
use crate::{Ack, Error};

/// A record that is on the log, somewhere from `from` on.
pub(super) struct Missing {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    pub(super) raw: Raw,
    pub(super) answer: Box<dyn FnOnce(Result<Ack, Error>) + Send>,
}

/// The record was acked, but does not lie where it must.
#[derive(Debug, thiserror::Error)]
#[error("the record was acked without an offset, and is not found from offset {from} on")]
struct NotFound {
    from: Offset,
}

/// Looks for records.
pub(super) struct Lost {
    standing: Arc<Standing>,
    known_ends: Arc<[AtomicI64]>,
}

impl Lost {
    pub(super) fn new(standing: Arc<Standing>, known_ends: Arc<[AtomicI64]>) -> Self {
        Self { standing, known_ends }
    }

    /// Looks for the record, from the last known offset to the end, and answers later.
    pub(super) fn find(&self, missing: Missing) {
        let Missing { partition, from, raw, answer } = missing;
        let found = Arc::<Mutex<Option<Ack>>>::default();
        let seen = Arc::clone(&found);
        let show = move |record: Received| {
            let mut found = seen.lock().expect("nothing panics while it holds the ack");
            if found.is_none() && record.raw == raw {
                *found = Some(Ack { offset: record.offset, time: record.time });
            }
        };
        let known_ends = Arc::clone(&self.known_ends);
        let done = move |reached: Result<Offset, Error>| {
            let found = *found.lock().expect("nothing panics while it holds the ack");
            let Some(ack) = found else {
                let error = reached.err().unwrap_or_else(|| Error::unavailable("an ack", NotFound { from }));
                return answer(Err(Error::Unknown { source: Arc::new(error) }));
            };
            known_ends[partition.0 as usize].fetch_max(ack.offset.0 + 1, Ordering::AcqRel);
            answer(Ok(ack));
        };
        // To the end, wherever it is: the scan ends there.
        let to = Offset::MAX;
        self.standing.scan(Scan { partition, from, to, show: Box::new(show), done: Box::new(done) });
    }
}
