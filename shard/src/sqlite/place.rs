//! Is the file that is open still the one at its path?
//!
//! A file that was deleted or exchanged goes on to take writes that nobody will ever find. Invariant: what was said
//! about a place is undone when the very file is back.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::Error;

const DOING: &str = "find the shard's file";
const MISSING: &str = "it was deleted while it was open: put it back, or start the server again, which makes a new one \
    and applies the log to it from the first record";
const OTHER: &str =
    "another file was put in its place while it was open: start the server again, so that it opens that one";

/// Which file was opened.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: (u64, u64),
}

impl Place {
    /// That of the file which is there now.
    pub(super) fn of(path: PathBuf) -> Result<Self, Error> {
        let metadata = fs::metadata(&path).map_err(|error| Error::unavailable(DOING, error))?;
        Ok(Self { file: (metadata.dev(), metadata.ino()), path })
    }

    /// Where it was opened.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// One look at the directory.
    pub(super) fn check(&self) -> Result<(), Error> {
        match fs::metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.file => Ok(()),
            Ok(_) => Err(Error::schema(DOING, OTHER)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::schema(DOING, MISSING)),
            Err(error) => Err(Error::unavailable(DOING, error)),
        }
    }
}
