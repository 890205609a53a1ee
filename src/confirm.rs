//! Asking before something is lost.
//!
//! Invariant: off a terminal nothing is asked, and nothing is done that was not agreed to on the command line.

use std::io::{self, BufRead, IsTerminal};

use anyhow::Result;

use crate::{exit::Refused, output};

/// Whether it may be done: `--yes` says so, or somebody at the terminal.
///
/// # Errors
/// [`Refused`]: nobody can be asked, or the answer was no.
pub(crate) fn confirm(what: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Refused(format!(
            "{what}: nobody can be asked here; look with --dry-run, then add --yes"
        ))
        .into());
    }
    output::note(&format!("{what}? Type yes to go on"));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" {
        return Ok(());
    }
    Err(Refused(format!("{what}: not agreed to")).into())
}

/// Who runs this, as far as it can be told.
pub(crate) fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty());
    let user = named.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}
