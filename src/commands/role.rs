//! `millpond api`, `writer` and `sweeper`: one role in this process, on Kafka and Postgres.

use anyhow::Result;
use clap::Args;
use millpond::roles;

use crate::{cli::SettingsArgs, exit::Exit, telemetry};

const EXAMPLES: &str = "\
Examples:
  millpond init --config millpond.toml
  millpond api --config millpond.toml --listen 127.0.0.1:7420
  millpond writer --config millpond.toml --ops-listen 127.0.0.1:7431
  millpond sweeper --config millpond.toml --ops-listen 127.0.0.1:7441

Start as many of each as wanted: writers and sweepers share out the partitions among themselves, and every api takes any \
call.";

/// Arguments of a role.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Which one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Api,
    Writer,
    Sweeper,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Writer => "writer",
            Self::Sweeper => "sweeper",
        }
    }
}

/// Runs it until it is told to stop.
pub(crate) async fn run(role: Role, args: RoleArgs, before: SettingsArgs) -> Result<Exit> {
    let settings = args.settings.over(before).load()?.settings;
    telemetry::init(settings.telemetry.log_format, role.name())?;
    match role {
        Role::Api => roles::api(settings).await?,
        Role::Writer => roles::writer(settings).await?,
        Role::Sweeper => roles::sweeper(settings).await?,
    }
    Ok(Exit::Done)
}
