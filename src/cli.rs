//! The command line: which commands there are and what they share.
//!
//! Not here: a command's own arguments; they stand with it. Invariant: every `--help` has examples.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use millpond::settings::{Flag, Loaded, Settings, Sources};

use crate::{commands, exit, exit::Misuse};

const ABOUT: &str = "A SQL-backed key-value store that takes writes at log speed.

Without a command it serves everything in one process: a local log, SQLite shards, writers, sweeper and the HTTP api, \
on loopback.";

const EXAMPLES: &str = "\
Examples:
  millpond                                   serve on 127.0.0.1:7420, data in ./millpond-data
  millpond --listen 127.0.0.1:8000 --data-dir /var/lib/millpond
  MILLPOND_LOG__PARTITIONS=16 millpond --config millpond.toml
  millpond put greeting hello && millpond get greeting
  millpond import flights.ndjson --key-pointer /id";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, about = ABOUT.lines().next(), long_about = ABOUT)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{}", exit::HELP))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) serve: SettingsArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do in place of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make what a deployment on Kafka and Postgres needs; safe to repeat
    Init(commands::init::InitArgs),
    /// Serve HTTP, on Kafka and Postgres
    Api(commands::role::RoleArgs),
    /// Apply the log to the shards, on Kafka and Postgres
    Writer(commands::role::RoleArgs),
    /// Expire and purge keys, on Kafka and Postgres
    Sweeper(commands::role::RoleArgs),
    /// Print or change which node of which shard serves
    Topology(commands::topology::TopologyArgs),
    /// Make copies anew from the log: of a shard that was lost, of a moment, or to compare
    Rebuild(commands::rebuild::RebuildArgs),
    /// Print how far every partition is behind its log
    Lag(commands::lag::LagArgs),
    /// Compare what the shards hold with what the log says, and name what differs
    Verify(commands::verify::VerifyArgs),
    /// Print which keys are written most
    Hot(commands::hot::HotArgs),
    /// Put a value under a key
    Put(commands::put::PutArgs),
    /// Print a key's value
    Get(commands::get::GetArgs),
    /// Delete a key
    Del(commands::del::DelArgs),
    /// Print or change when a key expires
    Ttl(commands::ttl::TtlArgs),
    /// Print which partition a key belongs to
    Partition(commands::partition::PartitionArgs),
    /// Make a token that lets a client in
    Token(commands::token::TokenArgs),
    /// List keys in order, with their values
    Scan(commands::scan::ScanArgs),
    /// Send operations from a file as they are, and tell what became of each line
    Batch(commands::batch::BatchArgs),
    /// Print what became of a write
    Mutation(commands::mutation::MutationArgs),
    /// Export keys to lines that import takes back
    Export(commands::export::ExportArgs),
    /// Import lines from a file; run again, it goes on where it stopped
    Import(commands::import::ImportArgs),
    /// Say what is halted or behind, why, and what to do next
    Doctor(commands::doctor::DoctorArgs),
    /// Give up a record at which a partition is halted, or a record's own time
    Skip(commands::skip::SkipArgs),
    /// Throw away a copy that is not what its log says; it is made anew
    DiscardCopy(commands::discard_copy::DiscardCopyArgs),
    /// List records that could never apply, or try one again
    Deadletters(commands::deadletters::DeadlettersArgs),
    /// Check or print the settings
    Config(commands::config::ConfigArgs),
    /// Print a completion script for a shell
    Completions(commands::completions::CompletionsArgs),
}

/// Flags that set what the server runs with.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct SettingsArgs {
    /// A TOML file with settings; see `millpond config show` for all of them
    #[arg(long, env = "MILLPOND_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where probes and metrics are served [default: 127.0.0.1:7421]
    #[arg(long, value_name = "ADDRESS")]
    ops_listen: Option<String>,
    /// The directory of the log and the shards [default: ./millpond-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Take calls only with a token of this file; see `millpond token new`
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<String>,
    /// A proxy in front ends TLS: with --tokens-file, listen beyond loopback
    #[arg(long)]
    behind_proxy: bool,
    /// Listen beyond loopback without auth and TLS
    #[arg(long)]
    insecure: bool,
}

impl SettingsArgs {
    /// These, and where they say nothing, those that stand before the command.
    pub(crate) fn over(self, before: Self) -> Self {
        Self {
            config: self.config.or(before.config),
            listen: self.listen.or(before.listen),
            ops_listen: self.ops_listen.or(before.ops_listen),
            data_dir: self.data_dir.or(before.data_dir),
            tokens_file: self.tokens_file.or(before.tokens_file),
            behind_proxy: self.behind_proxy || before.behind_proxy,
            insecure: self.insecure || before.insecure,
        }
    }

    /// The file that is named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// For commands that run with no settings: refuses what would be passed over. A file may come from the environment.
    pub(crate) fn unused(&self) -> Result<(), Misuse> {
        let values = [&self.listen, &self.ops_listen, &self.data_dir, &self.tokens_file];
        if values.into_iter().any(Option::is_some) || self.behind_proxy || self.insecure {
            Err(Misuse("this command talks to a server; it takes no settings of one".to_owned()))
        } else {
            Ok(())
        }
    }

    /// The settings from flags, environment, file and defaults.
    pub(crate) fn load(self) -> Result<Loaded> {
        let mut flags = Vec::new();
        let mut flag = |name, key, value: Option<String>| {
            flags.extend(value.map(|value| Flag { name, key, value }));
        };
        flag("--listen", "listen", self.listen);
        flag("--ops-listen", "ops_listen", self.ops_listen);
        flag("--data-dir", "data_dir", self.data_dir);
        flag("--tokens-file", "tokens_file", self.tokens_file);
        flag("--behind-proxy", "behind_proxy", self.behind_proxy.then(|| "true".to_owned()));
        flag("--insecure", "insecure", self.insecure.then(|| "true".to_owned()));
        let environment = std::env::vars_os().filter_map(ours).collect::<Result<_>>()?;
        Ok(Settings::load(&Sources { config: self.config, environment, flags })?)
    }
}

/// A variable of ours as text. Others may be anything.
fn ours((name, value): (OsString, OsString)) -> Option<Result<(String, String)>> {
    let name = name.into_string().ok().filter(|name| name.starts_with("MILLPOND_"))?;
    let value = value.into_string().map_err(|_| Misuse(format!("{name} is not UTF-8")).into());
    Some(value.map(|value| (name, value)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_examples() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:"), "{} has none", command.get_name());
        }
    }
}
