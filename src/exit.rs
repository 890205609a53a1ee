//! Exit codes, and how an error is told.
//!
//! Invariant: scripts can tell "no" from "could not ask" from "may have happened" by the code alone.

use std::{error::Error as StdError, io, process::ExitCode};

use millpond::settings::SettingsError;
use millpond_client::{Error as ClientError, import};
use millpond_log::local::LockError;
use millpond_shard::HoldError;
use millpond_writer::{Halt, RebuildError};

use crate::output;

/// How a command ended. The numbers are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// A negative answer: no such key, a condition failed; or a failure of this machine.
    Negative = 1,
    /// The command line, a setting or an option is wrong; nothing was done.
    Usage = 2,
    /// Done in part: keys, lines or outcomes are missing.
    Partial = 3,
    /// Refused as unsafe, or by the server; nothing was done.
    Refused = 4,
    /// No server could be asked or would accept; nothing was done.
    Unavailable = 5,
    /// A write may have happened: ask, or repeat it with the same Idempotency-Key.
    Unknown = 6,
    /// Stopped by a signal, and cleaned up.
    Interrupted = 130,
}

impl Exit {
    /// A verification could not find out.
    pub(crate) const CANNOT_TELL: Self = Self::Usage;
}

/// What `--help` says about them.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  a negative answer (no such key, a condition failed), or a failure of this machine
  2  the command line or a setting is wrong; nothing was done (verify: nothing can be told)
  3  done in part: lines that failed or are left, keys of a shard that does not answer, a write that is not applied
     yet; an import or export goes on when it is run again
  4  refused, as unsafe or by the server; nothing was done
  5  no server could be asked, or it would not accept; nothing was done
  6  a write may have happened: repeat it with the same --idempotency-key
130  stopped by Ctrl-C, as the shell tells it (import and export --out: 3)

A reader that goes away (`millpond scan | head`) is no error.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that is the caller's: wrong usage that clap could not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Refused as unsafe: it would destroy something.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

/// Tells an error on standard error and gives its code. A closed pipe is told to nobody.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    if error.chain().any(is_broken_pipe) {
        return Exit::Done;
    }
    output::error(&told(error));
    if let Some(hint) = error.chain().find_map(hint) {
        output::note(&hint);
    }
    error.chain().find_map(code).unwrap_or(Exit::Negative)
}

/// The whole chain in one line.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let colon = if text.is_empty() { "" } else { ": " };
        text = format!("{text}{colon}{cause}");
        // Its text ends with its innermost cause.
        if cause.is::<ClientError>() || matches!(cause.downcast_ref(), Some(import::Error::Server(_))) {
            break;
        }
    }
    text
}

fn is_broken_pipe(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn code(error: &(dyn StdError + 'static)) -> Option<Exit> {
    if error.is::<Misuse>() {
        return Some(Exit::Usage);
    }
    if error.is::<Refused>() {
        return Some(Exit::Refused);
    }
    if let Some(error) = error.downcast_ref::<SettingsError>() {
        return Some(match error {
            SettingsError::Invalid(_) => Exit::Usage,
            SettingsError::Unsafe(_) => Exit::Refused,
        });
    }
    if let Some(error) = error.downcast_ref::<import::Error>() {
        return Some(match error {
            import::Error::Invalid(_) | import::Error::Input { line: 0, .. } => Exit::Usage,
            import::Error::Busy { .. } => Exit::Refused,
            import::Error::State { .. } => Exit::Negative,
            import::Error::Input { .. } => Exit::Partial,
            import::Error::Server(error) => of_client(error),
        });
    }
    if matches!(error.downcast_ref(), Some(HoldError::Held { .. }))
        || matches!(error.downcast_ref(), Some(LockError::Held { .. }))
    {
        return Some(Exit::Refused);
    }
    if let Some(error) = error.downcast_ref::<RebuildError>() {
        return Some(of_rebuild(error));
    }
    error.downcast_ref::<ClientError>().map(of_client)
}

fn of_rebuild(error: &RebuildError) -> Exit {
    match error {
        RebuildError::Claimed { .. }
        | RebuildError::Beyond { .. }
        | RebuildError::SkippedSince { .. }
        | RebuildError::Halted { halt: Halt::LogDiverged { .. }, .. } => Exit::Refused,
        RebuildError::NotThere { .. } | RebuildError::Trimmed { .. } => Exit::Usage,
        RebuildError::Stopped => Exit::Partial,
        RebuildError::Halted { .. } => Exit::Negative,
    }
}

fn of_client(error: &ClientError) -> Exit {
    match error {
        ClientError::Invalid(_) => Exit::Usage,
        ClientError::Refused(_) => Exit::Refused,
        ClientError::Rejected(_) => Exit::Negative,
        ClientError::Unavailable { .. } | ClientError::Protocol(_) => Exit::Unavailable,
        ClientError::Unknown { .. } => Exit::Unknown,
    }
}

/// What to do next, where that is certain.
fn hint(error: &(dyn StdError + 'static)) -> Option<String> {
    let error = match error.downcast_ref() {
        Some(import::Error::Server(error)) => error,
        _ => error.downcast_ref::<ClientError>()?,
    };
    let hint = match error {
        error if error.problem().is_some_and(|problem| problem.code == "route-unknown") => {
            "there is a server, but not the api: is that its ops listener? The api is on 7420 by default; see --server"
        }
        error if error.problem().is_some_and(|problem| problem.code == "tenant-invalid") => {
            "a tenant is 1 to 63 of a-z, 0-9, _ and -, and begins with a letter or digit; see --tenant"
        }
        error if error.problem().is_some_and(|problem| problem.code == "cursor-invalid") => {
            "the deployment or the tenant is not the one that it began with; --restart begins again"
        }
        error if error.is_unreachable() => {
            "is a server running there? Start one with `millpond`, or name another with --server"
        }
        ClientError::Refused(problem) if problem.status == 401 => {
            "name a file with a token that the server knows with --token-file, or set MILLPOND_TOKEN"
        }
        ClientError::Protocol(_) => "is that a Millpond server of this version? See --server",
        ClientError::Unknown { .. } => {
            "the write may have happened; read the key, or repeat it with the same --idempotency-key"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn every_error_has_the_code_that_its_caller_needs() {
        let of = |error: anyhow::Error| error.chain().find_map(code);
        assert_eq!(of(ClientError::Invalid("x".into()).into()), Some(Exit::Usage));
        let unknown = ClientError::Unknown { problem: None, source: None };
        assert_eq!(of(Err::<(), _>(unknown).context("put a").unwrap_err()), Some(Exit::Unknown));
        assert_eq!(of(SettingsError::Unsafe("x".into()).into()), Some(Exit::Refused));
        assert_eq!(of(anyhow::anyhow!("x")), None);
    }

    #[test]
    fn a_cause_is_told_once() {
        let source = Some(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        let gone = ClientError::Unavailable { problem: None, retry_after: None, source };
        let error = Err::<(), _>(import::Error::Server(gone)).context("import f").unwrap_err();
        assert_eq!(told(&error), "import f: cannot reach the server: connection refused");
        assert_eq!(error.chain().find_map(code), Some(Exit::Unavailable));
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(report(&anyhow::Error::new(closed).context("write")), Exit::Done);
    }
}
