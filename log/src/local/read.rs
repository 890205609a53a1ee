//! Reading: find the blocks, fetch them, check them, take the records out.
//!
//! What is in the page cache is read at once; what is not, on a thread that may block.
//! Invariant: no record is given out before the checksum of its block has been checked.

use std::{io, sync::Arc};

use bytes::Bytes;
use crc32c::crc32c;
use millpond_schemas::{Offset, PartitionId, Received};

use super::{
    files::File,
    format::{Bad, take_record},
    index::Block,
    segment::{corrupt, reading},
    shared::{Located, Shared},
};
use crate::Error;

/// As much is read at once, unless one block is larger.
const RUN_BYTES: u64 = 1 << 20;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) partition: PartitionId,
    pub(super) from: Offset,
    pub(super) bytes_max: usize,
}

impl Shared {
    /// Where to read. A log that another process writes is looked at anew where it seems to end.
    async fn find(self: &Arc<Self>, wanted: Wanted) -> Result<Located, Error> {
        let located = self.locate(wanted.partition, wanted.from, wanted.bytes_max);
        if !(self.files.is_read_only() && matches!(located, Ok(Located::End) | Err(Error::BeyondEnd { .. })))
        {
            return located;
        }
        let shared = Arc::clone(self);
        blocking(move || shared.catch_up()).await?;
        self.locate(wanted.partition, wanted.from, wanted.bytes_max)
    }

    pub(super) async fn read(self: &Arc<Self>, wanted: Wanted) -> Result<Vec<Received>, Error> {
        let (file, blocks) = match self.find(wanted).await? {
            Located::End => return Ok(Vec::new()),
            Located::Last(file, blocks) => (file, blocks),
            Located::Sealed(header, next) => {
                let sealed = match self.sealed.get(header.sequence) {
                    Some(sealed) => sealed,
                    None => {
                        let shared = Arc::clone(self);
                        blocking(move || shared.open_sealed(&header, &next)).await.map_err(|error| {
                            // A trim may have taken it from under us.
                            if self.files.is_read_only() {
                                self.forget_gone();
                            }
                            self.locate(wanted.partition, wanted.from, 0).err().unwrap_or(error)
                        })?
                    }
                };
                let blocks = sealed.index.find(wanted.partition, wanted.from, wanted.bytes_max).to_vec();
                (Arc::clone(&sealed.file), blocks)
            }
        };
        let cached = |bytes: &mut [u8], position| Ok(file.read_cached_at(bytes, position));
        if let Some(records) = fetch(&file, &blocks, wanted, cached)? {
            return Ok(records);
        }
        blocking(move || {
            let read = |bytes: &mut [u8], position| file.read_at(bytes, position).map(|()| true);
            fetch(&file, &blocks, wanted, read).map(|records| records.expect("it waits for the disk"))
        })
        .await
    }
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(stopping) => Err(Error::unavailable("its runtime stops", stopping)),
    }
}

/// Reads blocks and takes out the records from `wanted.from` on that fit. None when `read` says false.
fn fetch(
    file: &File,
    blocks: &[Block],
    wanted: Wanted,
    read: impl Fn(&mut [u8], u64) -> io::Result<bool>,
) -> Result<Option<Vec<Received>>, Error> {
    let mut found = Found { wanted, bytes: 0, records: Vec::new() };
    let mut rest = blocks;
    while let Some((first, _)) = rest.split_first() {
        let (run, behind) = rest.split_at(run_length(rest));
        let mut bytes = vec![0; usize::try_from(run_bytes(first, run)).expect("a run fits memory")];
        if !read(&mut bytes, first.position).map_err(reading)? {
            return Ok(None);
        }
        let bytes = Bytes::from(bytes);
        for block in run {
            let start = usize::try_from(block.position - first.position).expect("it lies in the run");
            let of_block = bytes.slice(start..start + block.length as usize);
            match found.take(block, of_block) {
                Ok(Room::Left) => {}
                Ok(Room::Full) => return Ok(Some(found.records)),
                Err(bad) => return Err(corrupt(file.path(), block.position, bad)),
            }
        }
        rest = behind;
    }
    Ok(Some(found.records))
}

/// How many of these blocks lie so close together that reading them at once wastes less than half.
fn run_length(blocks: &[Block]) -> usize {
    let mut wanted = 0;
    let close = |(at, block): &(usize, &Block)| {
        wanted += u64::from(block.length);
        let bytes = run_bytes(&blocks[0], &blocks[..=*at]);
        *at == 0 || bytes <= RUN_BYTES && bytes <= 2 * wanted
    };
    blocks.iter().enumerate().take_while(close).count()
}

fn run_bytes(first: &Block, run: &[Block]) -> u64 {
    run.last().map_or(0, |last| last.position + u64::from(last.length) - first.position)
}

/// The records taken out so far.
struct Found {
    wanted: Wanted,
    bytes: usize,
    records: Vec<Received>,
}

#[derive(PartialEq, Eq)]
enum Room {
    Left,
    Full,
}

impl Found {
    fn take(&mut self, block: &Block, mut bytes: Bytes) -> Result<Room, Bad> {
        if crc32c(&bytes) != block.crc {
            return Err(Bad("a block's checksum differs"));
        }
        let mut offset = block.first;
        while offset < block.end() {
            let raw = take_record(&mut bytes)?;
            if offset >= self.wanted.from {
                self.bytes += raw.len();
                if self.bytes > self.wanted.bytes_max && !self.records.is_empty() {
                    return Ok(Room::Full);
                }
                self.records.push(Received { offset, time: block.time, raw });
            }
            offset = offset.next();
        }
        Ok(Room::Left)
    }
}
