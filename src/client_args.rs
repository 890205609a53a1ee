//! What all commands that talk to a server share.
//!
//! Invariant: the same flag and variable means the same in every command.

use std::time::Duration;

use clap::{Args, ValueEnum};
use millpond::settings::parse_duration;
use millpond_client::{
    Client, Consistency, Error, IdempotencyKey, Options, Position, ReadOptions, RetryPolicy, Wait,
    WriteOptions,
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
    /// How long to go on trying when the server cannot take the call
    #[arg(long, env = "MILLPOND_RETRY_FOR", value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub(crate) retry_for: Duration,
}

impl ServerArgs {
    pub(crate) fn client(&self) -> Result<Client, Error> {
        let retry = RetryPolicy { give_up_after: Some(self.retry_for), ..RetryPolicy::default() };
        Client::new(&Options { tenant: self.tenant.clone(), retry, ..Options::at(&self.server) })
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
