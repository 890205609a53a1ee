//! The few file operations that the local log is made of, in one place, so that a test can watch and fail each.
//!
//! Not here: what the bytes mean. Invariant: a file is only ever written through its [`File`], at explicit positions.

use std::{
    fs,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate},
    io::{Errno, pwritev},
};

/// One operation that changes something, or makes a change durable.
#[derive(Debug)]
#[cfg_attr(not(test), expect(dead_code, reason = "only tests look inside"))]
pub(crate) enum Op<'a> {
    /// A new, empty file.
    Create(&'a Path),
    /// Bytes at a position, part after part.
    Write(&'a Path, u64, &'a [IoSlice<'a>]),
    /// The bytes of a file and its length become durable.
    Sync(&'a Path),
    /// A file gets this length; what is added is zero.
    SetLen(&'a Path, u64),
    /// A file is at least this long and has the disk space for it; what is added is zero.
    Allocate(&'a Path, u64),
    /// A file gets another name.
    Rename(&'a Path, &'a Path),
    /// The names in a folder become durable.
    SyncDir(&'a Path),
    /// A name goes away.
    Remove(&'a Path),
}

/// What a test wants to happen instead of an operation.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum Fault {
    /// It fails and changes nothing.
    Fail(io::Error),
    /// It seems to be done, and is not.
    Skip,
}

#[cfg(test)]
type Watch = std::sync::Arc<dyn Fn(&Op<'_>) -> Option<Fault> + Send + Sync>;

/// Where tests hook in. Empty, and free, otherwise.
#[derive(Clone, Default)]
pub(crate) struct Files {
    read_only: bool,
    #[cfg(test)]
    watch: Option<Watch>,
}

impl Files {
    /// Calls `watch` before every operation.
    #[cfg(test)]
    pub(crate) fn watched(watch: impl Fn(&Op<'_>) -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self { watch: Some(std::sync::Arc::new(watch)), ..Self::default() }
    }

    /// Of which none is ever opened to write.
    pub(crate) fn read_only() -> Self {
        Self {
            read_only: true,
            #[cfg(test)]
            watch: None,
        }
    }

    /// Whether it is.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Does an operation, unless a test wants something else.
    #[cfg(test)]
    fn run(&self, op: &Op<'_>, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.watch.as_ref().and_then(|watch| watch(op)) {
            None => work(),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Skip) => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[inline]
    #[expect(clippy::unused_self, reason = "tests hook in here")]
    fn run(&self, _op: &Op<'_>, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        work()
    }

    /// A new file to read and write; fails when the name is taken.
    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.run(&Op::Create(path), || fs::File::create_new(path).map(drop))?;
        self.open(path)
    }

    /// A file that is there, to read and, unless all are [read only](Files::read_only), to write.
    pub(crate) fn open(&self, path: &Path) -> io::Result<File> {
        let file = fs::File::options().read(true).write(!self.read_only).open(path)?;
        Ok(File { file, path: path.to_owned(), files: self.clone() })
    }

    /// Renames a file, and makes its new name durable.
    pub(crate) fn rename(&self, from: &Path, to: &Path, dir: &Path) -> io::Result<()> {
        self.run(&Op::Rename(from, to), || fs::rename(from, to))?;
        self.sync_dir(dir)
    }

    /// Removes a file, and makes that durable.
    pub(crate) fn remove(&self, path: &Path, dir: &Path) -> io::Result<()> {
        self.run(&Op::Remove(path), || fs::remove_file(path))?;
        self.sync_dir(dir)
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(&Op::SyncDir(dir), || fs::File::open(dir)?.sync_all())
    }
}

/// An open file that knows its name as it was opened.
pub(crate) struct File {
    file: fs::File,
    path: PathBuf,
    files: Files,
}

impl File {
    /// Its name, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// After a rename.
    pub(crate) fn renamed(mut self, path: PathBuf) -> Self {
        self.path = path;
        self
    }

    /// Its length in bytes, preallocated space included.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Writes all bytes at a position.
    pub(crate) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.write_parts_at(&[IoSlice::new(bytes)], position)
    }

    /// As [`File::write_at`], part after part.
    pub(crate) fn write_parts_at(&self, parts: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        let op = Op::Write(&self.path, position, parts);
        self.files.run(&op, || write_all(&self.file, &mut parts.to_vec(), position))
    }

    /// fdatasync: bytes and length are durable. After an error nothing is known; never call it again for the
    /// same bytes.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.files.run(&Op::Sync(&self.path), || self.file.sync_data())
    }

    /// fsync: as [`File::sync`], for a file that is new.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.files.run(&Op::Sync(&self.path), || self.file.sync_all())
    }

    /// Cuts or extends.
    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.files.run(&Op::SetLen(&self.path, length), || self.file.set_len(length))
    }

    /// Reserves disk space up to a length, so that no write up to there finds the disk full.
    pub(crate) fn allocate(&self, length: u64) -> io::Result<()> {
        let allocate = || match fallocate(&self.file, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // A file system without it: the space is found when it is written.
            Err(Errno::OPNOTSUPP) => self.file.set_len(length),
            Err(error) => Err(error.into()),
        };
        self.files.run(&Op::Allocate(&self.path, length), allocate)
    }

    /// Fills `bytes` from a position; an early end is an error.
    pub(crate) fn read_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }

    /// As [`File::read_at`], but only when all of it is in memory; whether it was.
    #[cfg(target_os = "linux")]
    pub(crate) fn read_cached_at(&self, bytes: &mut [u8], position: u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let length = bytes.len();
        preadv2(&self.file, &mut [io::IoSliceMut::new(bytes)], position, ReadWriteFlags::NOWAIT) == Ok(length)
    }

    /// Nothing can be known to be in memory.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read_cached_at(&self, _bytes: &mut [u8], _position: u64) -> bool {
        false
    }
}

/// What `FileExt::write_all_at` does, for parts.
fn write_all(file: &fs::File, mut parts: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
    // Goes over parts that are empty.
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match pwritev(file, parts, position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
