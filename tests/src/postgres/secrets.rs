//! The passwords of a cluster's roles, made up anew, and the file that tells them to clients.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use super::user::User;

/// Length of a password, letters and digits.
const PASSWORD_CHARS: usize = 20;

/// One password for each role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Secrets {
    /// The superuser `postgres`.
    pub postgres: String,
    /// The role `millpond`, no superuser.
    pub millpond: String,
    /// The role `replicator`, with which replicas follow.
    pub replicator: String,
    /// Holds all three, for `PGPASSFILE`.
    pub file: PathBuf,
    /// Holds the role `millpond`'s, for `shards.password_file`.
    pub millpond_file: PathBuf,
}

impl Secrets {
    /// Makes them up and writes the file `pgpass` into this folder, for the eyes of root and the engines' user only.
    pub fn create(dir: &Path) -> Result<Self> {
        Self::create_with(dir, made_up())
    }

    /// As [`Secrets::create`], with this password for the role `millpond`: another cluster has it, too.
    pub fn create_with(dir: &Path, millpond: String) -> Result<Self> {
        let secrets = Self {
            postgres: made_up(),
            millpond,
            replicator: made_up(),
            file: dir.join("pgpass"),
            millpond_file: dir.join("password"),
        };
        writeln!(private(&secrets.millpond_file)?, "{}", secrets.millpond)?;
        let mut file = private(&secrets.file)?;
        for (role, password) in [
            ("postgres", &secrets.postgres),
            ("millpond", &secrets.millpond),
            ("replicator", &secrets.replicator),
        ] {
            writeln!(file, "*:*:*:{role}:{password}")?;
        }
        User::find()?.own(&secrets.file)?;
        Ok(secrets)
    }
}

fn made_up() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_CHARS)
}

/// A new file that nobody else can read.
fn private(path: &Path) -> Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.with_context(|| format!("make {}", path.display()))
}
