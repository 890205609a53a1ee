//! Postgres refuses to run as root: who it runs as instead, and where its programs are.

use std::{
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::process::{run, wrap};

/// The user of the engines.
pub(super) struct User {
    /// Its number and its group's; none when it is ourselves.
    ids: Option<(u32, u32)>,
}

impl User {
    /// `postgres` when we are root, else ourselves.
    pub(super) fn find() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { ids: None });
        }
        let id = |flag: &str| -> Result<u32> {
            let number =
                run(Command::new("id").args([flag, "postgres"])).context("find the user postgres")?;
            Ok(number.trim().parse()?)
        };
        Ok(Self { ids: Some((id("-u")?, id("-g")?)) })
    }

    /// Gives it a file or a folder.
    pub(super) fn own(&self, path: &Path) -> Result<()> {
        let Some((user, group)) = self.ids else { return Ok(()) };
        chown(path, Some(user), Some(group)).with_context(|| format!("hand over {}", path.display()))
    }

    /// What stands before a command that it runs.
    pub(super) fn prefix(&self) -> Vec<String> {
        let Some((user, group)) = self.ids else { return Vec::new() };
        let (user, group) = (format!("--reuid={user}"), format!("--regid={group}"));
        vec!["setpriv".to_owned(), user, group, "--clear-groups".to_owned(), "--".to_owned()]
    }

    /// Runs a command as this user, in `/`, where it may be, and gives its output.
    pub(super) fn run(&self, command: &Command) -> Result<String> {
        run(wrap(&self.prefix(), command).current_dir("/"))
    }

    /// A process of this user lives whose working directory this is, as every process of a node has its data's. Asked
    /// as this user: root may be denied the answer in a container.
    pub(super) fn works_in(&self, dir: &Path) -> Result<bool> {
        let mut list = Command::new("sh");
        list.args(["-c", "readlink /proc/[0-9]*/cwd; true"]);
        Ok(self.run(&list)?.lines().any(|cwd| Path::new(cwd) == dir))
    }
}

/// A program of the newest Postgres here. Debian keeps the server's programs off the PATH.
pub(super) fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|version| version.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| Path::new(&format!("/usr/lib/postgresql/{version}/bin/initdb")).exists())
        .max();
    newest
        .map_or_else(|| PathBuf::from(name), |v| PathBuf::from(format!("/usr/lib/postgresql/{v}/bin/{name}")))
}
