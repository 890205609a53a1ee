//! `millpond topology`: what the control topic says, and changes of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use millpond::{deployment, settings::Settings};
use millpond_api::show_time;
use millpond_log::{AmendError, Clock, Topologies};
use millpond_schemas::{Audit, Topology};

use crate::{
    cli::SettingsArgs,
    confirm::who,
    exit::{Exit, Misuse, Refused},
    output,
};

const EXAMPLES: &str = "\
Examples:
  millpond topology show --config millpond.toml
  millpond topology set-primary shard-0 postgres://millpond@db-2:5432/millpond --config millpond.toml

A change names the epoch that it replaces; of two changes at once one wins, and the other is made again upon it.";

/// Arguments of `topology`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopologyArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print shards, their nodes, and which shard holds which partition
    #[command(after_help = EXAMPLES)]
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print who changed it, when and why: skips and discarded copies too
    #[command(after_help = EXAMPLES)]
    History {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Name another primary of a shard: everyone follows. It must have been promoted already
    #[command(after_help = EXAMPLES)]
    SetPrimary {
        /// The shard's name
        shard: String,
        /// The new primary's address, without a password
        address: String,
        /// Why, for those who ask later: it stays on the control topic
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        /// Even where it lacks records that the log no longer has: its partitions halt then, log-gap
        #[arg(long)]
        force: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: SettingsArgs,
    },
}

/// Prints or changes.
pub(crate) async fn run(args: TopologyArgs, before: SettingsArgs) -> Result<Exit> {
    match args.what {
        What::Show { json, settings } => {
            let topologies = deployment::topologies(&settings.over(before).load()?.settings).await?;
            tell(topologies.current().context("there is no topology yet: run `millpond init`")?, json)?;
        }
        What::History { json, settings } => {
            history(&deployment::topologies(&settings.over(before).load()?.settings).await?, json)?;
        }
        What::SetPrimary { shard, address, reason, force, json, settings } => {
            let settings = settings.over(before).load()?.settings;
            let next = set_primary(&settings, (&shard, &address), reason, force).await?;
            tell(&next, json)?;
        }
    }
    Ok(Exit::Done)
}

async fn set_primary(
    settings: &Settings,
    (shard, address): (&str, &str),
    why: String,
    force: bool,
) -> Result<Arc<Topology>> {
    deployment::is_primary(settings, address).await.context("check the new primary")?;
    let mut topologies = deployment::topologies(settings).await?;
    let before = topologies.current().cloned();
    let place = before.as_deref().and_then(|current| Some((current, index(current, shard)?)));
    if let Some(place) = place.filter(|_| !force)
        && let Some(lacking) = deployment::out_of_reach(settings, place, address).await?
    {
        let why = format!(
            "{address} is too far behind to be a primary: {lacking}. Promote one that is further on, or rebuild; with \
             --force these partitions halt, log-gap"
        );
        return Err(Refused(why).into());
    }
    let what = format!("topology set-primary {shard} {address}");
    let audit = Audit { who: who(), at: Clock::System.now(), what, why };
    let next = topologies.amend(&audit, |current| with_primary(current, shard, address)).await;
    let next = next.map_err(|error| match error {
        AmendError::Refused(misuse) => misuse.into(),
        error => anyhow::Error::new(error).context("write the topology"),
    })?;
    if Some(next.epoch) == before.map(|before| before.epoch) {
        output::note("that is its primary already");
    }
    Ok(next)
}

fn index(topology: &Topology, name: &str) -> Option<usize> {
    topology.shards.iter().position(|shard| shard.name == name)
}

fn history(topologies: &Topologies, json: bool) -> Result<()> {
    let audits = topologies.audits().iter();
    if json {
        let told = audits.map(|(epoch, audit)| {
            let Audit { who, at, what, why } = audit;
            serde_json::json!({"epoch": epoch, "at": show_time(*at), "who": who, "what": what, "why": why})
        });
        output::json(&serde_json::json!({"changes": told.collect::<Vec<_>>()}))?;
        return Ok(());
    }
    for (epoch, audit) in audits {
        let text =
            format!("epoch {epoch}  {}  {}  {}: {}", show_time(audit.at), audit.who, audit.what, audit.why);
        output::line(&output::escape_line(text.as_bytes()))?;
    }
    Ok(())
}

/// The document with another primary. A replica that becomes the primary is none any more; the old primary is left out,
/// since nobody knows yet whether it can follow.
fn with_primary(current: &Topology, name: &str, address: &str) -> Result<Option<Topology>, Misuse> {
    let mut next = current.clone();
    let Some(shard) = next.shards.iter_mut().find(|shard| shard.name == name) else {
        let names: Vec<&str> = current.shards.iter().map(|shard| shard.name.as_str()).collect();
        return Err(Misuse(format!("there is no shard {name}; there are {}", names.join(", "))));
    };
    if shard.primary == address {
        return Ok(None);
    }
    address.clone_into(&mut shard.primary);
    shard.replicas.retain(|replica| replica != address);
    Ok(Some(next))
}

fn tell(topology: &Topology, json: bool) -> Result<()> {
    let shards = topology.shards.iter().enumerate().map(|(index, shard)| {
        let partitions: Vec<u32> = topology.partitions_of(index).map(|partition| partition.0).collect();
        serde_json::json!({
            "name": shard.name, "primary": shard.primary, "replicas": shard.replicas, "partitions": partitions,
        })
    });
    if json {
        let shards: Vec<_> = shards.collect();
        output::json(&serde_json::json!({
            "epoch": topology.epoch, "generation": topology.generation.0, "log_id": topology.log_id.to_string(),
            "partitions": topology.partitions(), "shards": shards,
        }))?;
        return Ok(());
    }
    let mut lines = vec![format!(
        "epoch {}, generation {}, {} partitions, log {}",
        topology.epoch,
        topology.generation.0,
        topology.partitions(),
        topology.log_id
    )];
    for (index, shard) in topology.shards.iter().enumerate() {
        let partitions: Vec<String> = topology.partitions_of(index).map(|p| p.to_string()).collect();
        lines.push(format!(
            "{}: partitions {}\n  primary {}",
            shard.name,
            partitions.join(" "),
            shard.primary
        ));
        for replica in &shard.replicas {
            lines.push(format!("  replica {replica}"));
        }
    }
    output::line(&lines.join("\n"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, LogId, Shard};

    use super::*;

    #[test]
    fn a_promoted_replica_is_the_primary_and_no_replica_any_more() {
        let shard = |name: &str, replicas: &[&str]| Shard {
            name: name.into(),
            primary: format!("postgres://m@old/{name}"),
            replicas: replicas.iter().map(ToString::to_string).collect(),
        };
        let current = Topology {
            epoch: 3,
            generation: Generation::FIRST,
            log_id: LogId([1; 16]),
            shards: vec![shard("a", &["postgres://m@new/a", "postgres://m@other/a"]), shard("b", &[])],
            placement: vec![0, 1],
            skips: vec![],
            skip_times: vec![],
        };
        let next = with_primary(&current, "a", "postgres://m@new/a").unwrap().unwrap();
        assert_eq!(next.shards[0].primary, "postgres://m@new/a");
        assert_eq!(next.shards[0].replicas, ["postgres://m@other/a"]);
        assert_eq!(next.shards[1], current.shards[1]);
        assert_eq!(with_primary(&current, "b", "postgres://m@old/b").unwrap(), None);
        assert!(with_primary(&current, "c", "x").unwrap_err().to_string().contains("there are a, b"));
    }
}
