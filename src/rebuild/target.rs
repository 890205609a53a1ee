//! Where a rebuild goes: a SQLite file or a Postgres database.
//!
//! Invariant: while it is open nobody else rebuilds into it.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result};
use millpond_schemas::{PartitionId, Watermark};
use millpond_shard::{Error, Hold, HoldError, Kind, Shard, SqliteConfig};

use crate::{nodes::Options, settings::Settings};

const SQLITE: &str = "sqlite:";
/// A replay reads and writes keys from everywhere: a page found in memory is one that is not read.
const CACHE_KIB: u32 = 128 * 1024;

/// A database that need not be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file.
    Sqlite(PathBuf),
    /// An address.
    Postgres(String),
}

/// A text names no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target is sqlite:PATH, or postgres://user@host:port/database without a password")]
pub struct TargetInvalid;

impl FromStr for Target {
    type Err = TargetInvalid;

    fn from_str(text: &str) -> Result<Self, TargetInvalid> {
        match text.strip_prefix(SQLITE) {
            Some("") => Err(TargetInvalid),
            Some(path) => Ok(Self::Sqlite(path.into())),
            None if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            None => Err(TargetInvalid),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{SQLITE}{}", path.display()),
            Self::Postgres(address) => f.write_str(address),
        }
    }
}

/// A target that is held.
pub struct Opened {
    /// Handles on it, as many as can work at a time. A file has one connection that writes, which they share.
    pub shards: Vec<Shard>,
    hold: Hold,
}

impl Target {
    /// Makes its tables where there are none, and holds it in the name of `by`. `jobs`: at least 1.
    ///
    /// # Errors
    /// Says who holds it, or what is missing and who has to make it.
    pub async fn open(&self, settings: &Settings, jobs: usize, by: &str) -> Result<Opened> {
        let shards = self.shards(settings, jobs).await?;
        let first = shards.first().context("a rebuild has a job")?;
        let held = match first.migrate().await {
            Ok(()) => first.hold(by).await,
            Err(error) => Err(HoldError::Shard(error)),
        };
        match held {
            Ok(hold) => Ok(Opened { shards, hold }),
            Err(error) => {
                close(&shards).await;
                Err(anyhow::Error::new(error).context(format!("open {self}")))
            }
        }
    }

    async fn shards(&self, settings: &Settings, jobs: usize) -> Result<Vec<Shard>> {
        match self {
            Self::Sqlite(path) => {
                let config = SqliteConfig { readers: 1, cache_kib: CACHE_KIB, ..SqliteConfig::new(path) };
                let shard = Shard::open(&config).await.with_context(|| format!("open {self}"))?;
                Ok(vec![shard; jobs])
            }
            Self::Postgres(address) => {
                let options = Options { readers: 1, ..Options::of(settings, "rebuild")? };
                let open = || Shard::open_postgres(&options.config(address, Kind::Primary));
                (0..jobs).map(|_| open().with_context(|| format!("open {self}"))).collect()
            }
        }
    }

    /// The watermarks in it, without making or holding anything; none: there are no tables.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn look(&self, settings: &Settings, partitions: &[PartitionId]) -> Result<Vec<Watermark>> {
        if matches!(self, Self::Sqlite(path) if !path.exists()) {
            return Ok(Vec::new());
        }
        let shards = self.shards(settings, 1).await?;
        let read = match shards.first() {
            Some(shard) => shard.read_watermarks(partitions.to_vec()).await,
            None => Ok(Vec::new()),
        };
        close(&shards).await;
        match read {
            Err(Error::Schema { source, .. }) if source.to_string().contains("run `millpond init`") => {
                Ok(Vec::new())
            }
            read => read.with_context(|| format!("look into {self}")),
        }
    }

    /// Whether it is the one that a topology names by `primary`; file names there are relative to the data directory.
    pub fn is_named(&self, primary: &str, data_dir: &Path) -> bool {
        match self {
            Self::Postgres(address) => address == primary,
            Self::Sqlite(path) => {
                let real = |path: &Path| path.canonicalize().ok();
                let named = data_dir.join(primary);
                *path == named || real(path).is_some_and(|path| Some(path) == real(&named))
            }
        }
    }
}

impl Opened {
    /// Lets go of it and closes it: what is in it is durable then.
    pub async fn close(self) {
        if let Some(shard) = self.shards.first()
            && let Err(error) = shard.checkpoint().await
        {
            tracing::debug!(%error, "no checkpoint");
        }
        close(&self.shards).await;
        self.hold.release().await;
    }
}

async fn close(shards: &[Shard]) {
    for shard in shards {
        shard.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_file_or_an_address() {
        assert_eq!("sqlite:a/b.sqlite".parse(), Ok(Target::Sqlite("a/b.sqlite".into())));
        assert_eq!("postgres://u@h/d".parse(), Ok(Target::Postgres("postgres://u@h/d".into())));
        for text in ["", "sqlite:", "a.sqlite", "mysql://u@h/d"] {
            assert_eq!(text.parse::<Target>(), Err(TargetInvalid), "{text}");
        }
    }

    #[test]
    fn a_shards_own_file_is_told_however_it_is_spelled() {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("shard-0.sqlite"), "").unwrap();
        let target = Target::Sqlite(
            dir.path().join("../").join(dir.path().file_name().unwrap()).join("shard-0.sqlite"),
        );
        assert!(target.is_named("shard-0.sqlite", dir.path()));
        assert!(!target.is_named("shard-1.sqlite", dir.path()));
        assert!(Target::Sqlite(dir.path().join("shard-9.sqlite")).is_named("shard-9.sqlite", dir.path()));
    }
}
