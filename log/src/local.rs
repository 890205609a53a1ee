//! The embedded default: a stream is a folder of segment files in the data directory.
//!
//! One appender thread writes groups (see [`append`]); readers read files. Streams know nothing of each other.
//! Invariant: an ack means fsynced, a record is readable only after its fsync, and no offset is issued twice.

mod append;
mod beside;
mod encode;
mod extent;
mod files;
mod format;
mod index;
mod lock;
mod open;
mod pieces;
mod queue;
mod read;
mod sealed;
mod segment;
mod shared;
mod shut;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use millpond_schemas::{Offset, PartitionId, Received, UnixMillis};
use tokio::sync::{oneshot, watch};

pub use lock::{DirLock, LOCK_FILE, LockError};

use self::{format::record_bytes, pieces::Piece, queue::Call, read::Wanted, read::blocking, shared::Shared};
use crate::{
    Ack, Append, Bounds, Clock, Error, Extent, Read, Shut, Space,
    meters::{Meters, Queued},
};

/// A record may have this many bytes: key, value and headers, and 12 more, and 8 more per header.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// The size of a segment unless told otherwise.
pub const SEGMENT_BYTES: u64 = 128 << 20;
/// The bound of the queue unless told otherwise.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// The bound of the queue can be no more than this.
const QUEUE_BYTES_LIMIT: usize = 1 << 30;

/// How to open a stream.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many partitions: at least 1, and the same every time.
    pub partitions: u32,
    /// Bytes of a segment file. Larger ones are trimmed in larger steps, smaller ones are more files.
    pub segment_bytes: u64,
    /// Bytes of records that wait or are being written; beyond it is [`Error::Backpressure`]. At most 1 GiB.
    pub queue_bytes_max: usize,
    /// Gives append times.
    pub clock: Clock,
}

impl Options {
    /// The defaults for so many partitions.
    pub fn new(partitions: u32) -> Self {
        Self {
            partitions,
            segment_bytes: SEGMENT_BYTES,
            queue_bytes_max: QUEUE_BYTES_MAX,
            clock: Clock::System,
        }
    }
}

/// An open stream. A clone is the same stream; when the last one is dropped, it closes.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    appender: Mutex<Option<JoinHandle<()>>>,
    /// Dropped after the appender has ended. None: another process has it, or nobody; this one only reads.
    _lock: Option<lock::StreamLock>,
    /// Keeps the other process from trimming. None: this one writes.
    _reading: Option<std::fs::File>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.shared.dir).finish()
    }
}

impl Log {
    /// Opens a stream, making it if need be, and settles what a crash left.
    ///
    /// # Shape
    /// `stream` is its folder in the locked directory, such as `log/mutations.1`. Open it once at a time.
    /// # Errors
    /// [`Error::Corrupt`]: halt. [`Error::Unavailable`]: files cannot be read or made.
    /// # Panics
    /// When the stream is open already in this process, or has no partition.
    pub async fn open(lock: &DirLock, stream: &str, options: Options) -> Result<Self, Error> {
        let (lock, stream) = (lock.clone(), stream.to_owned());
        blocking(move || open::open(&lock, &stream, options, files::Files::default())).await
    }

    /// Opens a stream that is there, only to read it: beside the process that has the directory, or without one. It
    /// takes no records.
    ///
    /// # Shape
    /// `dir` is the data directory, `stream` as in [`Log::open`].
    /// # Errors
    /// [`Error::Unavailable`]: there is none. [`Error::Corrupt`]: as in [`Log::open`].
    pub async fn open_read_only(dir: &Path, stream: &str, partitions: u32) -> Result<Self, Error> {
        let (dir, stream) = (dir.to_owned(), stream.to_owned());
        blocking(move || beside::open(&dir, &stream, partitions)).await
    }

    /// As [`crate::Log::partitions`].
    pub fn partitions(&self) -> u32 {
        self.0.shared.options.partitions
    }

    /// As [`crate::Log::enqueue`].
    pub(crate) fn enqueue(
        &self,
        records: &[Append],
    ) -> Result<oneshot::Receiver<Result<Vec<Ack>, Error>>, Error> {
        let shared = &self.0.shared;
        let mut bytes = 0;
        for record in records {
            assert!(
                record.partition.0 < shared.options.partitions,
                "there is no partition {}",
                record.partition
            );
            let of_record = record_bytes(&record.raw);
            if of_record > RECORD_BYTES_MAX {
                return Err(Error::TooLarge { bytes: of_record, max: RECORD_BYTES_MAX });
            }
            bytes += of_record;
        }
        if bytes > shared.options.queue_bytes_max {
            return Err(Error::TooLarge { bytes, max: shared.options.queue_bytes_max });
        }
        let (answer, acks) = oneshot::channel();
        if records.is_empty() {
            let _waiting = answer.send(Ok(Vec::new()));
        } else {
            let partitions = records.iter().map(|record| record.partition).collect();
            let pieces = Piece::of(records, shared.options.partitions as usize);
            let since = shared.options.clock.elapsed();
            shared.queue.push(Call { partitions, pieces, bytes, since, answer })?;
        }
        Ok(acks)
    }

    /// As [`crate::Log::read`].
    pub(crate) async fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Read, Error> {
        let records = self.0.shared.read(Wanted { partition, from, bytes_max }).await?;
        let next = records.last().map_or(from, |last| last.offset.next());
        Ok(Read { records, next })
    }

    /// As [`crate::Log::record`].
    pub(crate) async fn record(
        &self,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<Option<Received>, Error> {
        let records = self.0.shared.read(Wanted { partition, from: offset, bytes_max: 1 }).await?;
        match records.into_iter().next() {
            Some(record) => Ok(Some(record)),
            None => Err(Error::BeyondEnd { end: offset }),
        }
    }

    /// As [`crate::Log::queued`].
    pub(crate) fn queued(&self) -> Queued {
        self.0.shared.queue.queued()
    }

    /// As [`crate::Log::shut`].
    pub(crate) fn shut(&self) -> Option<Shut> {
        self.0.shared.shut.why()
    }

    pub(crate) fn meters(&self) -> &Meters {
        &self.0.shared.meters
    }

    /// As [`crate::Log::bounds`].
    pub(crate) async fn bounds(&self, partition: PartitionId) -> Result<Bounds, Error> {
        let shared = Arc::clone(&self.0.shared);
        if shared.files.is_read_only() {
            blocking(move || shared.catch_up()).await?;
        }
        Ok(self.0.shared.bounds(partition))
    }

    /// As [`crate::Log::changes`].
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.changes.subscribe()
    }

    /// As [`crate::Log::trim`].
    pub(crate) async fn trim(&self, floors: &[Offset]) -> Result<(), Error> {
        assert_eq!(floors.len(), self.partitions() as usize, "one floor per partition");
        let (shared, floors) = (Arc::clone(&self.0.shared), floors.to_vec());
        blocking(move || shared.trim(&floors)).await
    }

    /// As [`crate::Log::could_trim`].
    pub(crate) fn could_trim(&self, floors: &[Offset]) -> bool {
        self.0.shared.could_trim(floors)
    }

    /// As [`crate::Log::older`].
    pub(crate) fn older(&self, times: &[UnixMillis]) -> Vec<Option<Offset>> {
        assert_eq!(times.len(), self.partitions() as usize, "one time per partition");
        self.0.shared.older(times).into_iter().map(Some).collect()
    }

    /// As [`crate::Log::extent`].
    pub(crate) async fn extent(&self, from: &[Offset]) -> Result<Extent, Error> {
        assert_eq!(from.len(), self.partitions() as usize, "one offset per partition");
        let (shared, from) = (Arc::clone(&self.0.shared), from.to_vec());
        blocking(move || shared.extent(&from)).await
    }

    /// As [`crate::Log::space`].
    pub(crate) async fn space(&self) -> Result<Space, Error> {
        let shared = Arc::clone(&self.0.shared);
        blocking(move || shared.space()).await
    }

    /// As [`crate::Log::close`].
    pub(crate) async fn close(&self) {
        self.0.shared.queue.close();
        let appender = self.0.take_appender();
        let joined = blocking(move || {
            join(appender);
            Ok(())
        });
        // Fails only when the runtime stops; then the drop joins nothing more, and the thread ends by itself.
        let _stopping = joined.await;
    }
}

impl Handle {
    fn take_appender(&self) -> Option<JoinHandle<()>> {
        self.appender.lock().expect("nothing panics while it holds the thread").take()
    }
}

fn join(appender: Option<JoinHandle<()>>) {
    if let Some(Err(panic)) = appender.map(JoinHandle::join)
        && !std::thread::panicking()
    {
        std::panic::resume_unwind(panic);
    }
}

impl Drop for Handle {
    /// Waits for what was taken: at most the queue.
    fn drop(&mut self) {
        self.shared.queue.close();
        join(self.take_appender());
    }
}
