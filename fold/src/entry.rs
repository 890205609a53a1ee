//! One record on its way into the fold: decoded, with what operators said about it.
//!
//! Invariant: made from the log and the topology alone.

use millpond_schemas::{DecodeError, Decoder, Digest, Offset, Raw, Received, Record, UnixMillis};

/// One record, decoded.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its append time, not yet clamped.
    pub time: UnixMillis,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its bytes, for a dead letter.
    pub raw: Raw,
    /// What it says.
    pub decoded: Result<Record, DecodeError>,
    /// An operator gave it up.
    pub skipped: bool,
    /// An operator said that its append time is wrong.
    pub time_skipped: bool,
}

impl Entry {
    /// Decodes a record that no operator said anything about.
    pub fn new(decoder: &Decoder, received: Received) -> Self {
        Self {
            offset: received.offset,
            time: received.time,
            digest: received.raw.digest(),
            decoded: decoder.decode(&received),
            raw: received.raw,
            skipped: false,
            time_skipped: false,
        }
    }

    /// Its time in the fold, given that of the record before it: monotone.
    pub fn clamped(&self, before: UnixMillis) -> UnixMillis {
        if self.time_skipped { before } else { self.time.max(before) }
    }
}
