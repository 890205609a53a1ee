//! One segment file: making it, walking its groups, and finding the end of the last one after a crash.
//!
//! Not here: which segments there are. Invariant: only what follows the last valid group of the *last* segment
//! is ever cut, and only when no valid group comes after it.

use std::{
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use crc32c::crc32c;

use super::{
    files::{File, Files},
    format::{ALIGNMENT_BYTES, Bad, GROUP_FIXED_BYTES, GroupHeader, SegmentHeader, group_extent},
    format::{segment_header_bytes, take_record},
    index::{Cursor, Index},
};
use crate::Error;

/// How much is read at once while looking for a group.
const SEARCH_BYTES: usize = 1 << 20;

/// The file of a segment.
pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016}.segment"))
}

/// The name a segment has until it is complete.
fn path_unfinished(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016}.unfinished"))
}

/// What a file in the folder is.
pub(super) enum Kind {
    Segment(u64),
    Unfinished,
    Foreign,
}

/// Tells by the name.
pub(super) fn kind(path: &Path) -> Kind {
    let sequence = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
    match (sequence, path.extension().and_then(|extension| extension.to_str())) {
        (Some(sequence), Some("segment")) => Kind::Segment(sequence),
        (Some(_), Some("unfinished")) => Kind::Unfinished,
        _ => Kind::Foreign,
    }
}

/// Makes a segment with space for `length` bytes. When it returns, file and name are durable.
pub(super) fn create(files: &Files, dir: &Path, header: &SegmentHeader, length: u64) -> io::Result<File> {
    let (unfinished, finished) = (path_unfinished(dir, header.sequence), path(dir, header.sequence));
    if unfinished.exists() {
        files.remove(&unfinished, dir)?;
    }
    let file = files.create(&unfinished)?;
    file.allocate(length)?;
    file.write_at(&header.encode(), 0)?;
    file.sync_all()?;
    files.rename(&unfinished, &finished, dir)?;
    Ok(file.renamed(finished))
}

/// Reads a segment's header.
pub(super) fn read_header(file: &File, sequence: u64, partitions: usize) -> Result<SegmentHeader, Error> {
    let mut bytes = vec![0; segment_header_bytes(partitions)];
    let fits = bytes.len().min(usize::try_from(file.len().map_err(reading)?).unwrap_or(usize::MAX));
    bytes.truncate(fits);
    file.read_at(&mut bytes, 0).map_err(reading)?;
    match SegmentHeader::decode(&bytes, partitions) {
        Ok(header) if header.sequence == sequence => Ok(header),
        Ok(_) => Err(corrupt(file.path(), 0, Bad("it has another segment's name"))),
        Err(bad) => Err(corrupt(file.path(), 0, bad)),
    }
}

/// What a walk found at a place where a group could start.
enum Step {
    Group(GroupHeader),
    Bad(Bad),
}

/// Reads a group's header, and checks it by itself.
fn step(file: &File, file_bytes: u64, mark: u64, position: u64) -> io::Result<Step> {
    let left = file_bytes.saturating_sub(position);
    if left < GROUP_FIXED_BYTES as u64 {
        return Ok(Step::Bad(Bad("it ends too early")));
    }
    let mut bytes = vec![0; GROUP_FIXED_BYTES];
    file.read_at(&mut bytes, position)?;
    let header_bytes = match group_extent(&bytes, mark, position) {
        Ok((header_bytes, length)) if u64::from(length) <= left => header_bytes,
        Ok(_) => return Ok(Step::Bad(Bad("it ends too early"))),
        Err(bad) => return Ok(Step::Bad(bad)),
    };
    bytes.resize(header_bytes, 0);
    file.read_at(&mut bytes, position)?;
    Ok(GroupHeader::decode(&bytes).map_or_else(Step::Bad, Step::Group))
}

/// Finds the blocks of a segment that another follows, by its groups' headers alone. It must end where the
/// next one starts.
pub(super) fn index_sealed(
    file: &File,
    header: &SegmentHeader,
    next: &SegmentHeader,
) -> Result<Index, Error> {
    let file_bytes = file.len().map_err(reading)?;
    let mut index = Index::new(header.first.len());
    let mut cursor = Cursor::at_start(header);
    while cursor.next != next.first {
        let position = cursor.position;
        let group = match step(file, file_bytes, header.mark, position).map_err(reading)? {
            Step::Group(group) => group,
            Step::Bad(bad) => return Err(corrupt(file.path(), position, bad)),
        };
        cursor.advance(&group, &mut index).map_err(|bad| corrupt(file.path(), position, bad))?;
    }
    Ok(index)
}

/// The last segment, as a crash may have left it.
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) cursor: Cursor,
    /// Bytes that were cut off.
    pub(super) torn_bytes: u64,
}

/// Checks every byte of the last segment, cuts a torn tail, and makes durable what is left.
pub(super) fn recover(file: &File, header: &SegmentHeader, length: u64) -> Result<Recovered, Error> {
    let file_bytes = file.len().map_err(reading)?;
    let mut index = Index::new(header.first.len());
    let mut cursor = Cursor::at_start(header);
    let (mut bytes, mut last) = (Vec::new(), (cursor.position, Vec::new()));
    let torn = loop {
        let position = cursor.position;
        let group = match step(file, file_bytes, header.mark, position).map_err(reading)? {
            Step::Group(group) => group,
            Step::Bad(bad) => break bad,
        };
        bytes.resize(group.length as usize, 0);
        file.read_at(&mut bytes, position).map_err(reading)?;
        if let Err(bad) = check_blocks(&group, &bytes) {
            break bad;
        }
        cursor.advance(&group, &mut index).map_err(|bad| corrupt(file.path(), position, bad))?;
        last.0 = position;
        std::mem::swap(&mut last.1, &mut bytes);
    };
    let torn_bytes = match search(file, file_bytes, header.mark, cursor.position).map_err(reading)? {
        Tail::Zeros => 0,
        Tail::Torn => file_bytes - cursor.position,
        Tail::Group => return Err(corrupt(file.path(), cursor.position, torn)),
    };
    settle(file, &cursor, torn_bytes, length, (last.0, &last.1))
        .map_err(|source| Error::unavailable("it could not settle its last segment", source))?;
    Ok(Recovered { index, cursor, torn_bytes })
}

/// Writes the last group once more before syncing: the page cache may hold it as clean although the sync that
/// was to cover it failed just before the process died.
fn settle(file: &File, cursor: &Cursor, torn: u64, length: u64, last: (u64, &[u8])) -> io::Result<()> {
    if torn > 0 {
        file.set_len(cursor.position)?;
    }
    if file.len()? < length {
        file.allocate(length)?;
    }
    if !last.1.is_empty() {
        file.write_at(last.1, last.0)?;
    }
    file.sync()
}

/// Goes over the whole groups that have been written since, and changes nothing: another process may be writing more.
pub(super) fn follow(
    file: &File,
    header: &SegmentHeader,
    cursor: &mut Cursor,
    index: &mut Index,
) -> Result<(), Error> {
    loop {
        pass(file, header, cursor, index)?;
        let (position, file_bytes) = (cursor.position, file.len().map_err(reading)?);
        let mut word = [0; ALIGNMENT_BYTES];
        if file.read_at(&mut word, position).is_err() || word == [0; ALIGNMENT_BYTES] {
            return Ok(());
        }
        match search(file, file_bytes, header.mark, position) {
            Ok(Tail::Zeros | Tail::Torn) => return Ok(()),
            Ok(Tail::Group) => {}
            // Its writer has given back unused space meanwhile: once more, up to where it ends now.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(reading(error)),
        }
        // What stands here was whole before the group behind it was begun, so it must be by now.
        let bad = pass(file, header, cursor, index)?;
        if cursor.position == position {
            return Err(corrupt(file.path(), position, bad));
        }
    }
}

/// Goes over whole groups. Answers why what follows is none.
fn pass(file: &File, header: &SegmentHeader, cursor: &mut Cursor, index: &mut Index) -> Result<Bad, Error> {
    const CUT: Bad = Bad("it ends too early");
    let file_bytes = file.len().map_err(reading)?;
    let mut bytes = Vec::new();
    // Its writer gives back unused space at any time.
    let cut = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    loop {
        let position = cursor.position;
        let group = match step(file, file_bytes, header.mark, position) {
            Ok(Step::Group(group)) => group,
            Ok(Step::Bad(bad)) => return Ok(bad),
            Err(error) if cut(&error) => return Ok(CUT),
            Err(error) => return Err(reading(error)),
        };
        bytes.resize(group.length as usize, 0);
        match file.read_at(&mut bytes, position) {
            Err(error) if cut(&error) => return Ok(CUT),
            read => read.map_err(reading)?,
        }
        if let Err(bad) = check_blocks(&group, &bytes) {
            return Ok(bad);
        }
        cursor.advance(&group, index).map_err(|bad| corrupt(file.path(), position, bad))?;
    }
}

fn check_blocks(group: &GroupHeader, bytes: &[u8]) -> Result<(), Bad> {
    for block in &group.blocks {
        let (start, end) = (block.start as usize, (block.start + block.length) as usize);
        if bytes.get(start..end).map(crc32c) != Some(block.crc) {
            return Err(Bad("a block's checksum differs"));
        }
        let mut rest = Bytes::copy_from_slice(&bytes[start..end]);
        for _ in 0..block.count {
            take_record(&mut rest)?;
        }
    }
    Ok(())
}

enum Tail {
    /// Nothing was written there.
    Zeros,
    /// Something, but no group.
    Torn,
    /// A group follows somewhere, so what stands before it was once synced.
    Group,
}

/// Looks at everything from `from`, where no valid group starts.
fn search(file: &File, file_bytes: u64, mark: u64, from: u64) -> io::Result<Tail> {
    let mut chunk = vec![0; SEARCH_BYTES];
    let zeros = vec![0; SEARCH_BYTES];
    let (mut position, mut tail) = (from, Tail::Zeros);
    while position < file_bytes {
        let left = usize::try_from(file_bytes - position).unwrap_or(SEARCH_BYTES);
        chunk.truncate(left);
        file.read_at(&mut chunk, position)?;
        if chunk[..] != zeros[..chunk.len()] {
            tail = Tail::Torn;
            for (at, word) in chunk.chunks_exact(ALIGNMENT_BYTES).enumerate() {
                let candidate = position + (at * ALIGNMENT_BYTES) as u64;
                if word == mark.to_le_bytes()
                    && candidate > from
                    && matches!(step(file, file_bytes, mark, candidate)?, Step::Group(_))
                {
                    return Ok(Tail::Group);
                }
            }
        }
        position += chunk.len() as u64;
    }
    Ok(tail)
}

/// A file could not be read. Whether it can be later, nobody knows.
pub(super) fn reading(source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::Corrupt { detail: "a segment is shorter than what was written to it".to_owned() }
        }
        io::ErrorKind::NotFound => Error::Corrupt { detail: "a segment is gone".to_owned() },
        _ => Error::unavailable("it could not read a segment", source),
    }
}

/// Names the file and the place.
pub(super) fn corrupt(path: &Path, position: u64, bad: Bad) -> Error {
    Error::Corrupt { detail: format!("{} at byte {position}: {}", path.display(), bad.0) }
}
