//! Holding a database while a copy in it is made that no Claim guards: one process at a time.
//!
//! Not what keeps copies right: that is the compare-and-set, as everywhere. It keeps two rebuilds from doing the same
//! work, and says who does it. Invariant: the engine lets go of it when its holder ends, however it ends.

use std::{
    fs::{self, TryLockError},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use crate::{Error, Shard, postgres};

/// A database that is held until this is dropped or released.
#[derive(Debug)]
pub struct Hold(Kind);

#[derive(Debug)]
enum Kind {
    /// The lock goes with the file.
    File { _file: fs::File },
    /// The lock goes with the session.
    Session(postgres::Holding),
}

/// Why a database could not be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Another process makes copies in it: wait for it, or use another database.
    #[error("the database is being rebuilt by {holder}")]
    Held {
        /// Who, as it wrote it down.
        holder: String,
    },
    /// It could not be asked.
    #[error(transparent)]
    Shard(#[from] Error),
}

impl Hold {
    pub(crate) fn session(holding: postgres::Holding) -> Self {
        Self(Kind::Session(holding))
    }

    /// Whether it is still held; a file's lock always is.
    ///
    /// # Errors
    /// The session that held it is gone.
    pub async fn check(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Kind::File { .. } => Ok(()),
            Kind::Session(holding) => holding.check().await,
        }
    }

    /// Lets go, and waits until the database knows.
    pub async fn release(self) {
        match self.0 {
            Kind::File { .. } => {}
            Kind::Session(holding) => holding.release().await,
        }
    }
}

impl Shard {
    /// Keeps other rebuilds out of this database until the answer is dropped. `by` is who asks, in words.
    ///
    /// # Errors
    /// [`HoldError::Held`]: says who has it.
    pub async fn hold(&self, by: &str) -> Result<Hold, HoldError> {
        match self {
            Self::Sqlite(shard) => shard.hold(by),
            Self::Postgres(shard) => shard.hold(by).await,
        }
    }
}

/// A log is kept whole for whoever reads it from its beginning. Of a deployment that is said in the databases that serve,
/// which whoever trims asks anyway; a local log's own folder says it.
impl Shard {
    /// Says that somebody reads the logs of this shard's partitions from their beginning, until the answer is dropped:
    /// nothing may be trimmed meanwhile. None: this engine has no say in it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it does not answer, and so keeps the logs whole for now.
    pub async fn hold_log(&self, by: &str) -> Result<Option<Hold>, Error> {
        match self {
            Self::Sqlite(_) => Ok(None),
            Self::Postgres(shard) => shard.hold_log(by).await.map(Some),
        }
    }

    /// Whether anybody has said so.
    pub async fn is_log_held(&self) -> Result<bool, Error> {
        match self {
            Self::Sqlite(_) => Ok(false),
            Self::Postgres(shard) => shard.is_log_held().await,
        }
    }
}

/// Beside a SQLite shard's file. It stays when the lock goes: removing it would let two processes lock two files.
fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-hold");
    name.into()
}

/// Holds a SQLite shard's file in the name of `by`.
pub(crate) fn file(path: &Path, by: &str) -> Result<Hold, HoldError> {
    let io = |error| Error::unavailable("hold the shard's file", error);
    let path = lock_path(path);
    let mut options = fs::File::options();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(io)?;
            let holder = Some(holder.trim().to_owned()).filter(|holder| !holder.is_empty());
            return Err(HoldError::Held { holder: holder.unwrap_or_else(|| "another process".to_owned()) });
        }
        Err(TryLockError::Error(error)) => return Err(io(error).into()),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{by}")).map_err(io)?;
    Ok(Hold(Kind::File { _file: file }))
}
