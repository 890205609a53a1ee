//! A small file system of its own in a file, which can be filled to the last byte. Needs root, as the suite has it.
//!
//! Invariant: it is unmounted, and its file removed, with the value.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::process::run;

/// What fills it, in its root.
const FILLER: &str = "filler";

/// A mounted ext4.
#[derive(Debug)]
pub struct SmallFs {
    at: PathBuf,
    _file: NamedTempFile,
}

impl SmallFs {
    /// Makes one of so many bytes and mounts it at a folder, which is made where it is not.
    ///
    /// # Errors
    /// `mkfs.ext4` or `mount` fails; there is no root.
    pub fn mount(at: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(at)?;
        let file = NamedTempFile::new()?;
        file.as_file().set_len(bytes)?;
        run(Command::new("mkfs.ext4").args(["-q", "-m", "0", "-F"]).arg(file.path()))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(file.path()).arg(at))
            .context("mount a small file system: it takes root")?;
        fs::remove_dir(at.join("lost+found"))?;
        Ok(Self { at: at.to_owned(), _file: file })
    }

    /// Takes all the space that is left.
    ///
    /// # Errors
    /// It is full already, so that nothing would be shown.
    pub fn fill(&self) -> Result<()> {
        let mut filler = fs::File::options().create(true).append(true).open(self.at.join(FILLER))?;
        let mut taken = 0;
        for piece in [1 << 20, 4096, 1] {
            let zeros = vec![0; piece];
            loop {
                match filler.write_all(&zeros).and_then(|()| filler.sync_data()) {
                    Ok(()) => taken += piece,
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => bail!("fill {}: {error}", self.at.display()),
                }
            }
        }
        ensure!(taken > 0, "{} was full already", self.at.display());
        Ok(())
    }

    /// Gives the space back.
    ///
    /// # Errors
    /// It was not filled.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.at.join(FILLER)).context("it was filled")
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        // Lazily: what still has a file open there must not keep it for ever.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.at)) {
            eprintln!("{} stays mounted: {error:#}", self.at.display());
        }
    }
}
