//! Records to and from librdkafka's messages.
//!
//! Invariant: key, value and headers come back as they were sent; none and empty are told apart.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::{Bytes, BytesMut};
use millpond_schemas::{ByteString, FORMAT_RECORD, HEADER_FORMAT, Offset, Raw, Received, UnixMillis};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};

/// Small records share allocations of this many bytes.
const ARENA_BYTES: usize = 64 << 10;
/// Larger parts have an allocation of their own.
const SHARED_BYTES_MAX: usize = 8 << 10;
/// What a header is called whose name is no UTF-8: rdkafka cannot say it.
const NAME_UNREADABLE: &str = "\u{fffd}";
/// A record's part of a batch besides key, value and headers, at most; and the batch's own header.
const BATCH_BYTES: usize = 61 + 42;
/// A header's part besides name and value, at most.
const HEADER_BYTES: usize = 10;

thread_local! {
    static READING_HEADER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread reads a foreign header just now. A panic is then rdkafka's over a name that is no UTF-8, and is
/// caught: a hook that ends the process over panics must let it pass.
pub fn is_reading_header() -> bool {
    READING_HEADER.get()
}

/// At most how many bytes a batch with just this record has.
pub(super) fn batch_bytes(raw: &Raw) -> usize {
    raw.len() + BATCH_BYTES + HEADER_BYTES * raw.headers.len()
}

/// Headers as librdkafka takes them.
pub(super) fn headers(raw: &Raw) -> Option<OwnedHeaders> {
    if raw.headers.is_empty() {
        return None;
    }
    let all = OwnedHeaders::new_with_capacity(raw.headers.len());
    let insert = |all: OwnedHeaders, (name, value): &(ByteString, Bytes)| {
        all.insert(Header { key: name, value: Some(value.as_ref()) })
    };
    Some(raw.headers.iter().fold(all, insert))
}

/// Where the bytes of small records are copied to.
#[derive(Default)]
pub(super) struct Arena(BytesMut);

impl Arena {
    /// Copies a message.
    pub(super) fn receive(&mut self, message: &BorrowedMessage<'_>) -> Received {
        Received {
            offset: Offset(message.offset()),
            time: UnixMillis(message.timestamp().to_millis().unwrap_or_default()),
            raw: self.raw(message),
        }
    }

    /// Copies a message's bytes.
    pub(super) fn raw(&mut self, message: &BorrowedMessage<'_>) -> Raw {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            (0..headers.count()).map(|at| self.header(headers, at)).collect()
        });
        Raw {
            key: message.key().map(|key| self.copy(key)),
            headers,
            value: message.payload().map(|value| self.copy(value)),
        }
    }

    fn header(&mut self, headers: &impl Headers, at: usize) -> (ByteString, Bytes) {
        // rdkafka panics over a name that is no UTF-8, which anyone may write to the topic.
        READING_HEADER.set(true);
        let header = catch_unwind(AssertUnwindSafe(|| headers.get(at)));
        READING_HEADER.set(false);
        match header {
            // Nearly all headers are this one, which needs no copy.
            Ok(Header { key: HEADER_FORMAT, value: Some(FORMAT_RECORD) }) => {
                (ByteString::from_static(HEADER_FORMAT), Bytes::from_static(FORMAT_RECORD))
            }
            Ok(header) => (header.key.into(), self.copy(header.value.unwrap_or_default())),
            Err(_unreadable) => (ByteString::from_static(NAME_UNREADABLE), Bytes::new()),
        }
    }

    fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.is_empty() {
            return Bytes::new();
        }
        if bytes.len() > SHARED_BYTES_MAX {
            return Bytes::copy_from_slice(bytes);
        }
        if self.0.capacity() < bytes.len() {
            self.0 = BytesMut::with_capacity(ARENA_BYTES);
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }
}
