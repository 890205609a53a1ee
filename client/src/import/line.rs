//! Lines out of a byte stream, with the place and the digest of all that came before.
//!
//! Invariant: a line never takes more memory than its bound, and the digest covers every byte that was passed.

use std::io::{self, BufRead, BufReader, Read};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3Default;

const READ_BYTES: usize = 256 * 1024;

/// A place in the input, and what it takes to find it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Lines before it.
    pub(super) line: u64,
    /// Bytes before it.
    pub(super) bytes: u64,
    /// XXH3-128 over those bytes, hexadecimal.
    pub(super) digest: String,
    /// The last of those lines had no newline: the input ended there.
    #[serde(default)]
    pub(super) unterminated: bool,
}

/// One line, without its newline.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// As it stands in the input.
    Whole(&'a [u8]),
    /// Longer than the bound, and skipped.
    TooLong,
}

/// The lines of one input.
pub(super) struct Lines {
    reader: BufReader<Box<dyn Read + Send>>,
    digest: Xxh3Default,
    place: Place,
    before_unterminated: Option<Place>,
    line_bytes_max: usize,
    buffer: Vec<u8>,
}

impl Lines {
    pub(super) fn new(reader: Box<dyn Read + Send>, line_bytes_max: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_BYTES, reader),
            digest: Xxh3Default::new(),
            place: Place::default(),
            before_unterminated: None,
            line_bytes_max,
            buffer: Vec::new(),
        }
    }

    /// Where the next line begins.
    pub(super) fn place(&self) -> Place {
        Place { digest: format!("{:032x}", self.digest.digest128()), ..self.place.clone() }
    }

    /// The number of the last line, from 1; 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.place.line
    }

    /// Where the last line began, if it had no newline.
    pub(super) fn before_unterminated(&self) -> Option<&Place> {
        self.before_unterminated.as_ref()
    }

    /// Passes over what an earlier run has done. `false`: the input is not the one that it saw.
    pub(super) fn skip_to(&mut self, place: &Place) -> io::Result<bool> {
        if *place == Place::default() {
            return Ok(true);
        }
        let mut left = place.bytes;
        while left > 0 {
            let chunk = self.reader.fill_buf()?;
            let take = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if take == 0 {
                return Ok(false);
            }
            self.digest.update(&chunk[..take]);
            self.reader.consume(take);
            left -= u64::try_from(take).expect("a length fits 64 bits");
        }
        self.place = Place { digest: String::new(), unterminated: false, ..place.clone() };
        if self.place().digest != place.digest {
            return Ok(false);
        }
        if place.unterminated { self.finish_line() } else { Ok(true) }
    }

    /// A last line that had no newline when it was done may have one now, but must not have grown.
    fn finish_line(&mut self) -> io::Result<bool> {
        self.fill(2)?;
        self.pass();
        self.place.unterminated = self.buffer.is_empty();
        Ok(matches!(self.buffer.as_slice(), b"" | b"\n" | b"\r\n"))
    }

    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.fill(self.line_bytes_max + 2)?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let before = (!self.ended()).then(|| self.place());
        let whole = self.ended() || self.buffer.len() <= self.line_bytes_max;
        self.pass();
        let mut ended = whole;
        while !ended {
            self.fill(READ_BYTES)?;
            self.pass();
            ended = self.buffer.is_empty() || self.ended();
        }
        self.place.line += 1;
        self.place.unterminated = !self.ended();
        self.before_unterminated = before.filter(|_| self.place.unterminated);
        let line = strip_newline(&self.buffer);
        let fits = whole && line.len() <= self.line_bytes_max;
        Ok(Some(if fits { Line::Whole(line) } else { Line::TooLong }))
    }

    /// Reads up to a newline, or to `bytes_max`.
    fn fill(&mut self, bytes_max: usize) -> io::Result<()> {
        self.buffer.clear();
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        self.reader.by_ref().take(limit).read_until(b'\n', &mut self.buffer).map(drop)
    }

    /// Counts what was read as passed.
    fn pass(&mut self) {
        self.digest.update(&self.buffer);
        self.place.bytes += u64::try_from(self.buffer.len()).expect("a length fits 64 bits");
    }

    fn ended(&self) -> bool {
        self.buffer.last() == Some(&b'\n')
    }
}

fn strip_newline(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &'static str, line_bytes_max: usize) -> Lines {
        Lines::new(Box::new(text.as_bytes()), line_bytes_max)
    }

    fn all(lines: &mut Lines) -> Vec<Option<String>> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(match line {
                Line::Whole(line) => Some(String::from_utf8(line.to_vec()).unwrap()),
                Line::TooLong => None,
            });
        }
        all
    }

    #[test]
    fn lines_are_what_stands_between_newlines() {
        let mut lines = lines("a\r\n\nbcd\nbcde\nlast", 3);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(all(&mut lines), [some("a"), some(""), some("bcd"), None, None]);
        assert_eq!((lines.number(), lines.place().bytes), (5, 17));
        assert_eq!(lines.before_unterminated().map(|place| (place.line, place.bytes)), Some((4, 13)));
    }

    #[test]
    fn a_line_far_over_the_bound_is_skipped_whole() {
        let text: &'static str = Box::leak(format!("{}\nb\n", "a".repeat(3 * READ_BYTES)).into_boxed_str());
        assert_eq!(all(&mut lines(text, 10)), [None, Some("b".to_owned())]);
    }

    #[test]
    fn a_place_is_found_again_in_the_same_input_only() {
        let mut first = lines("a\nb\nc\n", 10);
        first.next().unwrap();
        first.next().unwrap();
        let place = first.place();
        let mut again = lines("a\nb\nc\nd\n", 10);
        assert!(again.skip_to(&place).unwrap());
        assert_eq!(again.next().unwrap(), Some(Line::Whole(b"c")));
        assert_eq!(again.number(), 3);
        assert!(!lines("a\nx\nc\n", 10).skip_to(&place).unwrap(), "a changed line");
        assert!(!lines("a\n", 10).skip_to(&place).unwrap(), "a shorter input");
    }

    #[test]
    fn a_last_line_without_newline_may_get_one_but_not_grow() {
        let mut first = lines("a\nb", 10);
        all(&mut first);
        let place = first.place();
        let skipped = |text: &'static str| {
            let mut lines = lines(text, 10);
            lines.skip_to(&place).unwrap().then(|| all(&mut lines))
        };
        assert_eq!(skipped("a\nb"), Some(vec![]));
        assert_eq!(skipped("a\nb\nc"), Some(vec![Some("c".to_owned())]));
        assert_eq!(skipped("a\nb\r\nc"), Some(vec![Some("c".to_owned())]));
        assert_eq!(skipped("a\nbc\n"), None);
    }
}
