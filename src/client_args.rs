//! What all commands that talk to a server share.
//!
//! Invariant: the same flag and variable means the same in every command.

use std::{ffi::OsString, os::unix::ffi::OsStrExt, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use millpond::settings::parse_duration;
use millpond_client::{
    Client, Consistency, Error, IdempotencyKey, Options, Position, ReadOptions, RetryPolicy, Select, Token,
    Wait, WriteOptions, ops::Ops,
};

/// Which server, and how patiently.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The server's address
    #[arg(long, env = "MILLPOND_SERVER", value_name = "URL", default_value = "http://127.0.0.1:7420")]
    pub(crate) server: String,
    /// Whose keys
    #[arg(long, env = "MILLPOND_TENANT", value_name = "TENANT")]
    pub(crate) tenant: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    /// How long to go on trying when the server cannot take the call
    #[arg(long, env = "MILLPOND_RETRY_FOR", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) retry_for: Duration,
}

impl ServerArgs {
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let retry = RetryPolicy { give_up_after: Some(self.retry_for), ..RetryPolicy::default() };
        let (tenant, token) = (self.tenant.clone(), self.token.read()?);
        Client::new(&Options { tenant, token, retry, ..Options::at(&self.server) })
    }
}

/// Which processes, by their ops listeners.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct OpsArgs {
    /// The address of a process's ops listener; several with commas, or again [default: `http://127.0.0.1:7421`]
    #[arg(long, env = "MILLPOND_OPS", value_name = "URL", value_delimiter = ',')]
    ops: Vec<String>,
    #[command(flatten)]
    token: TokenArgs,
}

/// Where the ops listener is unless somebody says otherwise.
const OPS_DEFAULT: &str = "http://127.0.0.1:7421";
/// How long one process is asked before it counts as gone.
const OPS_RETRY: Duration = Duration::from_secs(2);

impl OpsArgs {
    pub(crate) fn is_default(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let slash = |url: &String| url.trim_end_matches('/').to_owned();
        if self.is_default() { vec![OPS_DEFAULT.to_owned()] } else { self.ops.iter().map(slash).collect() }
    }

    pub(crate) fn at(&self, url: &str) -> Result<Ops, Error> {
        let retry = RetryPolicy { give_up_after: Some(OPS_RETRY), ..RetryPolicy::default() };
        Ops::new(&Options { token: self.token.read()?, retry, ..Options::at(url) })
    }
}

/// What lets a client in.
#[derive(Clone, Debug, Args)]
pub(crate) struct TokenArgs {
    /// A file with the token that lets you in, which nobody else may read [or: `MILLPOND_TOKEN` holds the token]
    #[arg(long, env = "MILLPOND_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// So that a token in an argument is refused, and never kept.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = forget)]
    token: Option<Forgotten>,
}

impl TokenArgs {
    /// The file goes over the variable, as flags do.
    fn read(&self) -> Result<Option<Token>, Error> {
        if self.token.is_some() {
            return Err(Error::Invalid(TOKEN_IN_ARGUMENT.to_owned()));
        }
        if let Some(file) = &self.token_file {
            return Token::from_file(file).map(Some);
        }
        let Some(token) = std::env::var_os(TOKEN).filter(|token| !token.is_empty()) else { return Ok(None) };
        let token = Token::new(token.to_str().unwrap_or_default());
        token.map(Some).map_err(|error| Error::Invalid(format!("{TOKEN}: {error}")))
    }
}

/// Holds a token itself. Read by hand: clap would show it in `--help`.
const TOKEN: &str = "MILLPOND_TOKEN";
const TOKEN_IN_ARGUMENT: &str = "a token in an argument can be read by everybody who lists processes, and stays in \
    the shell's history: make a new one, put it into a file that only you can read (chmod 600) and name that with \
    --token-file or MILLPOND_TOKEN_FILE, or set MILLPOND_TOKEN";

/// In place of a secret.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Forgotten;

#[expect(
    clippy::unnecessary_wraps,
    reason = "clap wants a parser that may fail; this one keeps nothing to tell"
)]
fn forget(_secret: &str) -> Result<Forgotten, String> {
    Ok(Forgotten)
}

/// Which keys of many.
#[derive(Clone, Debug, Args)]
pub(crate) struct RangeArgs {
    /// Only keys that begin with this
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["start", "end"])]
    prefix: Option<OsString>,
    /// From this key on
    #[arg(long, value_name = "KEY")]
    start: Option<OsString>,
    /// Up to this key, which is not among them
    #[arg(long, value_name = "KEY")]
    end: Option<OsString>,
}

impl RangeArgs {
    pub(crate) fn select(&self) -> Select {
        let bytes = |text: &OsString| Bytes::copy_from_slice(text.as_bytes());
        if self.start.is_none() && self.end.is_none() {
            return Select::Prefix(self.prefix.as_ref().map(bytes).unwrap_or_default());
        }
        Select::Range { start: self.start.as_ref().map(bytes), end: self.end.as_ref().map(bytes) }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ConsistencyArg {
    /// Any replica
    Eventual,
    /// Not older than --min-position
    Session,
    /// Not older than the log's end now
    Strong,
}

/// What reads can ask for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Read")]
pub(crate) struct ReadArgs {
    /// How fresh the answer must be
    #[arg(long, value_enum)]
    consistency: Option<ConsistencyArg>,
    /// Not older than this; several with commas
    #[arg(long, value_name = "POSITION", value_delimiter = ',')]
    min_position: Vec<String>,
}

impl ReadArgs {
    pub(crate) fn options(&self) -> Result<ReadOptions, Error> {
        let consistency = self.consistency.map(|consistency| match consistency {
            ConsistencyArg::Eventual => Consistency::Eventual,
            ConsistencyArg::Session => Consistency::Session,
            ConsistencyArg::Strong => Consistency::Strong,
        });
        let min_position = self.min_position.iter().map(Position::new).collect::<Result<_, _>>()?;
        Ok(ReadOptions { consistency, min_position, if_none_match: None })
    }
}

/// What writes can ask for.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Write")]
pub(crate) struct WriteArgs {
    /// Only if the key is at this version, such as 1-3-42; or * for any
    #[arg(long, value_name = "VERSION")]
    if_match: Option<String>,
    /// Wait for the outcome, at most so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,
    /// Sent twice under the same key within 24 h, it takes effect once [default: a random one]
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

impl WriteArgs {
    pub(crate) fn options(&self) -> WriteOptions {
        WriteOptions {
            if_match: self.if_match.as_deref().map(etag),
            wait: self.wait.map_or(Wait::Contract, wait),
            idempotency_key: self
                .idempotency_key
                .clone()
                .map_or(IdempotencyKey::Random, IdempotencyKey::Given),
            ..WriteOptions::default()
        }
    }
}

/// `0` does not wait at all.
pub(crate) fn wait(time: Duration) -> Wait {
    if time.is_zero() { Wait::Accepted } else { Wait::Applied(time) }
}

/// A version as an `ETag`: quotes are a nuisance in a shell.
pub(crate) fn etag(version: &str) -> String {
    let plain = !version.contains('"') && version != "*";
    if plain { format!("\"{version}\"") } else { version.to_owned() }
}

/// Reads a duration argument.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a duration is such as 90, 90s, 15m or 1500ms".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_quoted_once() {
        assert_eq!(etag("1-3-42"), "\"1-3-42\"");
        assert_eq!(etag("\"1-3-42\""), "\"1-3-42\"");
        assert_eq!(etag("*"), "*");
    }
}
