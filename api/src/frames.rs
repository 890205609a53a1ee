//! Where HTTP/2 frames begin and end in the bytes that a client sends: only to tell whether a head is incomplete.
//!
//! Not here: what frames mean; that is the HTTP library's. Invariant: holds nothing but a frame's header.

/// Length of what a client sends before its first frame, bytes.
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that are there.
    have: usize,
    /// Bytes of the preface or of a payload that are still to come.
    left: usize,
    /// What is to come belongs to a body, whose pace is watched elsewhere.
    body: bool,
    /// A header block is open until its last CONTINUATION.
    block: bool,
}

impl Frames {
    /// Before the preface.
    pub(crate) fn new() -> Self {
        Self { header: [0; HEADER_BYTES], have: 0, left: PREFACE.len(), body: false, block: false }
    }

    /// Takes the next bytes. Whether a frame or header block was completed by them.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut completed = false;
        while !bytes.is_empty() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = bytes.get(taken..).unwrap_or_default();
            } else {
                let taken = (HEADER_BYTES - self.have).min(bytes.len());
                let (head, rest) = bytes.split_at(taken);
                if let Some(place) = self.header.get_mut(self.have..self.have + taken) {
                    place.copy_from_slice(head);
                }
                self.have += taken;
                bytes = rest;
                if self.have == HEADER_BYTES {
                    self.begin();
                }
            }
            completed |= self.left == 0 && self.have == 0 && !self.block;
        }
        completed
    }

    /// Whether a client that sends no more would leave a head, or another frame than a body's, incomplete.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.have > 0 || self.block || (self.left > 0 && !self.body)
    }

    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.have = 0;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.body = kind == DATA;
        if matches!(kind, HEADERS | CONTINUATION) {
            self.block = flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn after(bytes: &[u8]) -> (Frames, bool) {
        let mut frames = Frames::new();
        let completed = frames.follow(PREFACE);
        assert!(completed && !frames.is_incomplete());
        let completed = frames.follow(bytes);
        (frames, completed)
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_continuation() {
        let (mut frames, completed) = after(&frame(HEADERS, 0, b"abc"));
        assert!(frames.is_incomplete() && !completed);
        assert!(!frames.follow(&frame(CONTINUATION, 0, b"")));
        assert!(frames.is_incomplete());
        assert!(frames.follow(&frame(CONTINUATION, END_HEADERS, b"d")));
        assert!(!frames.is_incomplete());
    }

    #[test]
    fn a_body_that_is_on_its_way_is_no_incomplete_head() {
        let data = frame(DATA, 0, b"abc");
        assert!(!after(&data[..10]).0.is_incomplete());
        assert!(after(&data[..8]).0.is_incomplete(), "nobody knows yet that it is a body's");
        assert!(after(&frame(4, 0, b"settings")[..12]).0.is_incomplete());
    }

    #[test]
    fn pieces_of_any_size_tell_the_same() {
        let all = [
            frame(4, 0, b""),
            frame(HEADERS, 0, b"abc"),
            frame(CONTINUATION, END_HEADERS, b"d"),
            frame(DATA, 1, b""),
        ];
        let all = all.concat();
        for size in 1..all.len() {
            let mut frames = Frames::new();
            frames.follow(PREFACE);
            let completed = all.chunks(size).filter(|piece| frames.follow(piece)).count();
            assert!(completed >= 1 && !frames.is_incomplete(), "{size}");
        }
    }
}
