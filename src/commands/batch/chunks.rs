//! A stream of lines cut into batches.
//!
//! Invariant: where it is cut depends on the bytes alone, so that a second run cuts at the same lines; no chunk is
//! larger than a batch may be but that of a single line that is.

use std::io::{self, BufRead, BufReader, Read};

use millpond_client::import::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};

/// Some whole lines.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// The number of the first one in the input, from 1.
    pub(super) first_line: u64,
    /// How many, blank ones included.
    pub(super) lines: u64,
    /// With their line ends. Of a line that is too large only the beginning.
    pub(super) body: Vec<u8>,
}

impl Chunk {
    pub(super) fn is_too_large(&self) -> bool {
        self.body.len() > BATCH_BYTES_MAX
    }
}

/// The chunks of an input.
pub(super) struct Chunks {
    reader: BufReader<Box<dyn Read>>,
    /// Lines before the next one.
    lines: u64,
    /// A line that was read and did not fit any more.
    next: Option<Vec<u8>>,
}

impl Chunks {
    pub(super) fn new(reader: Box<dyn Read>) -> Self {
        Self { reader: BufReader::with_capacity(1 << 18, reader), lines: 0, next: None }
    }

    /// The next chunk; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut chunk = Chunk { first_line: self.lines + 1, lines: 0, body: Vec::new() };
        while let Some(line) = self.line()? {
            let fits = chunk.body.len() + line.len() <= BATCH_BYTES_MAX
                && usize::try_from(chunk.lines).is_ok_and(|lines| lines < BATCH_OPERATIONS_MAX);
            if chunk.lines > 0 && !fits {
                self.next = Some(line);
                break;
            }
            chunk.body.extend_from_slice(&line);
            chunk.lines += 1;
        }
        self.lines += chunk.lines;
        Ok((chunk.lines > 0).then_some(chunk))
    }

    /// A line with its end. One that is too large is cut off behind the limit, and the rest of it passed over.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.next.take() {
            return Ok(Some(line));
        }
        let limit = u64::try_from(BATCH_BYTES_MAX).expect("a small number") + 1;
        let mut line = Vec::new();
        (&mut self.reader).take(limit).read_until(b'\n', &mut line)?;
        if line.len() > BATCH_BYTES_MAX && line.last() != Some(&b'\n') {
            self.pass()?;
        }
        Ok((!line.is_empty()).then_some(line))
    }

    fn pass(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            self.reader.consume(length);
            if length == 0 || end.is_some() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(input: Vec<u8>) -> Vec<Chunk> {
        let mut chunks = Chunks::new(Box::new(io::Cursor::new(input)));
        std::iter::from_fn(|| chunks.next().unwrap()).collect()
    }

    #[test]
    fn an_input_is_cut_at_lines_and_nothing_is_lost() {
        let input: Vec<u8> = (0..25_000).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        let cut = chunks(input.clone());
        let firsts: Vec<_> = cut.iter().map(|chunk| (chunk.first_line, chunk.lines)).collect();
        assert_eq!(firsts, [(1, 10_000), (10_001, 10_000), (20_001, 5_000)]);
        assert_eq!(cut.into_iter().flat_map(|chunk| chunk.body).collect::<Vec<_>>(), input);
        assert_eq!(chunks(Vec::new()), []);
    }

    #[test]
    fn large_lines_make_small_chunks_and_one_that_is_too_large_stands_alone() {
        let line = |length: usize| [vec![b'x'; length - 1], vec![b'\n']].concat();
        let half = BATCH_BYTES_MAX / 2;
        let input = [line(half), line(half), line(1), line(BATCH_BYTES_MAX + 7), b"last".to_vec()].concat();
        let cut = chunks(input);
        let shape: Vec<_> =
            cut.iter().map(|chunk| (chunk.first_line, chunk.lines, chunk.is_too_large())).collect();
        assert_eq!(shape, [(1, 2, false), (3, 1, false), (4, 1, true), (5, 1, false)]);
        assert_eq!(cut[3].body, b"last");
    }
}
