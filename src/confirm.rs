//! Asking before something is lost.
//!
//! Invariant: off a terminal nothing is asked, and nothing is done that was not agreed to on the command line.

use std::io::{self, BufRead, IsTerminal};

use anyhow::Result;
use clap::Args;

use crate::{
    exit::{Misuse, Refused},
    output,
};

/// Arguments of a command that tells what it would do, has it agreed to, and does it.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArgs {
    /// Why, for those who ask later: it is kept with what is done
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only tell what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl ConfirmArgs {
    /// Why it is done; empty where it need not be said.
    ///
    /// # Errors
    /// There is none, and something is to be done.
    pub(crate) fn why(&self) -> Result<String> {
        let reason = self.reason.clone().unwrap_or_default();
        if reason.trim().is_empty() && !self.dry_run {
            let what = "say why with --reason TEXT, or only look with --dry-run";
            return Err(Misuse(what.to_owned()).into());
        }
        Ok(reason)
    }
}

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
