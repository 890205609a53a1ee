//! The appender: one thread, one group at a time, one write and one fdatasync each.
//!
//! While it waits for the disk, the calls of the next group gather in the queue; there is no timer.
//! Invariant: an ack leaves after the fdatasync that covers it. After a failure nothing is written until the
//! file is cut to the last synced byte and opened anew.

use std::{io, sync::Arc, time::Duration};

use millpond_schemas::{Mutant, UnixMillis};

use super::{
    encode::Encoder,
    files::File,
    format::{SegmentHeader, segment_header_bytes},
    index::Cursor,
    queue::Call,
    segment,
    shared::Shared,
};
use crate::{Clock, Error};

/// About as many bytes of calls become one group.
const GROUP_BYTES: usize = 8 << 20;
/// Wall and elapsed time that have parted by this much say that one of them is wrong.
pub(super) const CLOCK_PARTED_MAX: Duration = Duration::from_mins(10);

pub(super) struct Appender {
    shared: Arc<Shared>,
    header: Arc<SegmentHeader>,
    /// None after a failure, until it is cut and opened anew.
    file: Option<Arc<File>>,
    file_bytes: u64,
    /// The next segment may have its name already, whatever was reported: nothing may be added to this one.
    full: bool,
    /// Behind the last synced byte.
    cursor: Cursor,
    encoder: Encoder,
    started: Moment,
}

/// One moment on both clocks.
struct Moment {
    wall: UnixMillis,
    elapsed: Duration,
}

impl Moment {
    fn of(clock: &Clock) -> Self {
        Self { wall: clock.now(), elapsed: clock.elapsed() }
    }

    /// How far wall and elapsed time have parted between two moments.
    fn parted(&self, later: &Self) -> Duration {
        let elapsed =
            i64::try_from(later.elapsed.saturating_sub(self.elapsed).as_millis()).unwrap_or(i64::MAX);
        let wall = later.wall.0.saturating_sub(self.wall.0);
        Duration::from_millis(wall.saturating_sub(elapsed).unsigned_abs())
    }
}

impl Appender {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, io::Error> {
        let state = shared.state();
        let (header, file, cursor) =
            (Arc::clone(state.last()), Arc::clone(&state.file), state.cursor.clone());
        drop(state);
        Ok(Self {
            file_bytes: file.len()?,
            encoder: Encoder::new(header.first.len()),
            full: false,
            started: Moment::of(&shared.options.clock),
            file: Some(file),
            header,
            cursor,
            shared,
        })
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let _abandon = Abandon(Arc::clone(&self.shared));
        let mut calls = Vec::new();
        while self.shared.queue.take(GROUP_BYTES, &mut calls) {
            let bytes = calls.iter().map(|call| call.bytes).sum();
            self.group(&mut calls);
            self.shared.queue.done(bytes);
        }
    }

    /// Appends one group and answers its calls.
    fn group(&mut self, calls: &mut Vec<Call>) {
        let time = match self.time() {
            Ok(time) => time,
            Err(error) => return self.refuse(calls, &error),
        };
        let mut next = self.cursor.next.clone();
        let acks = self.encoder.plan(calls, &mut next, time);
        let file = match self.make_room() {
            Ok(file) => file,
            Err(error) => return self.refuse(calls, &error),
        };
        let position = self.cursor.position;
        let began = self.elapsed();
        let parts = self.encoder.parts(calls, self.header.mark, position);
        if let Err(error) = file.write_parts_at(&parts, position).and_then(|()| synced(&file)) {
            tracing::warn!(%error, position, "a group could not be written");
            self.file = None;
            self.refuse(calls, &Error::Unknown { source: Arc::new(error) });
            if let Err(error) = self.mend() {
                tracing::warn!(%error, "the log stays unavailable");
            }
            return;
        }
        let now = self.elapsed();
        self.shared.meters.synced(now.saturating_sub(began));
        self.shared.shut.took(&self.shared.dir);
        self.cursor = self.shared.commit(self.encoder.header());
        for (call, acks) in calls.drain(..).zip(acks) {
            self.shared.meters.appended(acks.len(), call.bytes, now.saturating_sub(call.since));
            // The caller may be gone; its records stay.
            let _gone = call.answer.send(Ok(acks));
        }
    }

    fn elapsed(&self) -> Duration {
        self.shared.options.clock.elapsed()
    }

    /// Answers every call with the same error.
    fn refuse(&self, calls: &mut Vec<Call>, error: &Error) {
        self.shared.shut.failed(error, &self.shared.dir);
        for call in calls.drain(..) {
            self.shared.meters.failed();
            let _gone = call.answer.send(Err(error.clone()));
        }
    }

    /// The append time of a group.
    fn time(&self) -> Result<UnixMillis, Error> {
        let now = Moment::of(&self.shared.options.clock);
        if self.started.parted(&now) >= CLOCK_PARTED_MAX {
            let reason =
                "wall and elapsed time have parted by 10 minutes: set the clock right, or start anew";
            return Err(Error::Unavailable { reason, source: None });
        }
        Ok(now.wall.max(self.cursor.time))
    }

    /// The file that has room for the planned group where the cursor stands.
    fn make_room(&mut self) -> Result<Arc<File>, Error> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.mend().map_err(|e| Error::unavailable("a failed write is not cleared away", e))?,
        };
        if !self.full && self.cursor.position + self.encoder.length() <= self.file_bytes {
            return Ok(file);
        }
        self.roll(&file).map_err(|e| Error::unavailable("it could not make a segment", e))
    }

    /// Cuts the file to the last synced byte and opens it anew.
    fn mend(&mut self) -> io::Result<Arc<File>> {
        let path = segment::path(&self.shared.dir, self.header.sequence);
        let file = self.shared.files.open(&path)?;
        file.set_len(self.cursor.position)?;
        file.allocate(self.file_bytes)?;
        file.sync()?;
        let file = Arc::new(file);
        self.shared.reopened(Arc::clone(&file));
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Makes the next segment, large enough for the planned group.
    fn roll(&mut self, full: &File) -> io::Result<Arc<File>> {
        let header = SegmentHeader {
            sequence: self.header.sequence + 1,
            mark: rand::random(),
            previous_mark: self.header.mark,
            time: self.cursor.time,
            first: self.cursor.next.clone(),
        };
        self.full = true;
        let least = segment_header_bytes(header.first.len()) as u64 + self.encoder.length();
        let file_bytes = least.max(self.shared.options.segment_bytes);
        let file = segment::create(&self.shared.files, &self.shared.dir, &header, file_bytes)?;
        let (file, header) = (Arc::new(file), Arc::new(header));
        self.shared.rolled(Arc::clone(&header), Arc::clone(&file));
        let used = self.cursor.position;
        (self.cursor, self.header, self.file_bytes) = (Cursor::at_start(&header), header, file_bytes);
        self.file = Some(Arc::clone(&file));
        self.full = false;
        // Only gives back space.
        if let Err(error) = full.set_len(used) {
            tracing::warn!(%error, "a full segment keeps its unused space");
        }
        Ok(file)
    }
}

fn synced(file: &File) -> io::Result<()> {
    if Mutant::AckBeforeSync.is_picked() {
        return Ok(());
    }
    file.sync()
}

/// However the thread ends: nobody waits for it for ever.
struct Abandon(Arc<Shared>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.queue.abandon();
    }
}
