//! `millpond config`: are the settings sound, and what are they?

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::{cli::SettingsArgs, exit::Exit, output};

const EXAMPLES: &str = "\
Examples:
  millpond config check --config millpond.toml
  millpond config show                           every setting with its help, value and origin
  millpond config show > millpond.toml           a file to begin with
  MILLPOND_LOG__PARTITIONS=16 millpond config show --json

Flags go over the environment, the environment over the file, the file over the defaults.";

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say whether the server would start with these settings; exit 2 if not, 4 if they are unsafe
    #[command(after_help = EXAMPLES)]
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print every setting with its help, its value and where that comes from
    #[command(after_help = EXAMPLES)]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// Checks or prints.
pub(crate) fn run(args: ConfigArgs, before: SettingsArgs) -> Result<Exit> {
    match args.what {
        What::Check { settings } => {
            let settings = settings.over(before).load()?.settings;
            settings.tokens_file().map(millpond::tokens::read).transpose()?;
            output::line("the settings are sound")?;
        }
        What::Show { json, settings } => {
            let loaded = settings.over(before).load()?;
            if json {
                output::json(&loaded.to_json())?;
            } else {
                output::line(loaded.to_toml().trim_end())?;
            }
        }
    }
    Ok(Exit::Done)
}
