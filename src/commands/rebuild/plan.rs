//! What a rebuild is to do, from its arguments and the topology.
//!
//! Invariant: what cannot be meant is refused before anything is opened for writing.

use std::path::PathBuf;

use anyhow::{Result, bail};
use millpond::{
    rebuild::{self, Place, Source, Target},
    settings::Settings,
};
use millpond_log::Log;
use millpond_schemas::{PartitionId, Position, Topology};
use millpond_writer::Goal;

use super::{RebuildArgs, listed};
use crate::exit::{Misuse, Refused};

/// How the result is made to serve.
pub(super) enum Serving {
    /// Not at all.
    No,
    /// By a change of the topology.
    Topology(Place),
    /// By taking the place of this file.
    File(PathBuf),
}

/// What is to be done.
pub(super) struct Plan {
    pub(super) partitions: Vec<PartitionId>,
    pub(super) goal: Goal,
    pub(super) target: Target,
    pub(super) serving: Serving,
    /// The address that serves already: it was lost.
    in_place: bool,
    shard: Option<String>,
}

impl Plan {
    /// # Errors
    /// [`Misuse`] or [`Refused`].
    pub(super) fn of(args: &RebuildArgs, settings: &Settings, source: &Source) -> Result<Self> {
        let topology = &source.topology;
        let (goal, named) = goal(args, topology)?;
        let partitions = partitions(args, topology, named)?;
        let local = matches!(source.log, Log::Local(_));
        let shard = args.shard.clone();
        let mut plan = match (args.serve, local) {
            (false, _) => {
                let Some(target) = args.into.clone() else {
                    return Err(Misuse("say where to with --into".to_owned()).into());
                };
                Self { partitions, goal, target, serving: Serving::No, in_place: false, shard }
            }
            (true, true) => Self::file(args, settings, topology, partitions)?,
            (true, false) => Self::deployed(args, topology, partitions)?,
        };
        plan.partitions.dedup();
        plan.refuse_serving(settings, topology)?;
        Ok(plan)
    }

    /// Takes the place of a file in a data directory.
    fn file(
        args: &RebuildArgs,
        settings: &Settings,
        topology: &Topology,
        partitions: Vec<PartitionId>,
    ) -> Result<Self> {
        let Some(name) = &args.shard else {
            return Err(Misuse(
                "of a data directory a whole file is exchanged: name its shard with --shard".to_owned(),
            )
            .into());
        };
        let path = settings.data_dir().join(&topology.shards[rebuild::shard_name(topology, name)?].primary);
        let target = match args.into.clone() {
            None => Target::Sqlite(rebuild::beside(&path)),
            Some(target @ Target::Sqlite(_)) => target,
            Some(Target::Postgres(_)) => {
                return Err(Misuse(
                    "a data directory is served from SQLite files: --into sqlite:PATH".to_owned(),
                )
                .into());
            }
        };
        let (serving, shard) = (Serving::File(path), args.shard.clone());
        Ok(Self { partitions, goal: Goal::End, target, serving, in_place: false, shard })
    }

    /// Changes a deployment's topology.
    fn deployed(args: &RebuildArgs, topology: &Topology, partitions: Vec<PartitionId>) -> Result<Self> {
        let shard = args.shard.clone();
        let place = match &shard {
            Some(name) => Place::Shard(name.clone()),
            None if args.partition.is_empty() => {
                return Err(Misuse("say with --shard or --partition what is to serve".to_owned()).into());
            }
            None => Place::Partitions(partitions.clone()),
        };
        let primary = match &shard {
            Some(name) => Some(topology.shards[rebuild::shard_name(topology, name)?].primary.clone()),
            None => None,
        };
        let target = match (args.into.clone(), &primary) {
            (Some(target @ Target::Postgres(_)), _) => target,
            (Some(Target::Sqlite(_)), _) => {
                return Err(
                    Misuse("a deployment is served from Postgres: --into postgres://...".to_owned()).into()
                );
            }
            (None, Some(primary)) => Target::Postgres(primary.clone()),
            (None, None) => {
                return Err(
                    Misuse("say with --into which shard's primary takes the partitions".to_owned()).into()
                );
            }
        };
        let in_place =
            matches!((&target, &primary), (Target::Postgres(address), Some(primary)) if address == primary);
        let serving = Serving::Topology(place);
        Ok(Self { partitions, goal: Goal::End, target, serving, in_place, shard })
    }

    /// What serves is no target, but for that of `--serve`.
    fn refuse_serving(&self, settings: &Settings, topology: &Topology) -> Result<()> {
        for (index, shard) in topology.shards.iter().enumerate() {
            let mut nodes = std::iter::once(&shard.primary).chain(&shard.replicas);
            let Some(node) = nodes.find(|node| self.target.is_named(node, settings.data_dir())) else {
                continue;
            };
            let serves = |partition: &PartitionId| topology.shard_of(*partition) == Some(index);
            let moves = matches!(self.serving, Serving::Topology(Place::Partitions(_)))
                && *node == shard.primary
                && !self.partitions.iter().any(serves);
            let replaces = self.in_place && Some(&shard.name) == self.shard.as_ref();
            if !replaces && !moves {
                bail!(Refused(format!(
                    "{} serves as a node of {}: name another database",
                    self.target, shard.name
                )));
            }
        }
        Ok(())
    }

    /// Whether a writer may have taken the target meanwhile.
    pub(super) fn in_place(&self) -> bool {
        self.in_place
    }

    /// What is rebuilt, in words.
    pub(super) fn subject(&self) -> String {
        match &self.shard {
            Some(name) => format!("shard {name}"),
            None => format!("partitions {}", listed(&self.partitions)),
        }
    }

    /// How far, in words.
    pub(super) fn goal(&self) -> String {
        match self.goal {
            Goal::End => "to the log's end".to_owned(),
            Goal::Offset(offset) => format!("to offset {offset}"),
            Goal::Time(time) => format!("to {}", millpond_api::show_time(time)),
        }
    }
}

/// How far, and the partition that a position names.
fn goal(args: &RebuildArgs, topology: &Topology) -> Result<(Goal, Option<PartitionId>)> {
    if let Some(text) = &args.to {
        let position: Position = text.parse().map_err(|_| {
            Misuse(format!("{text} is no position: <generation>-<partition>-<offset>, such as 1-3-42"))
        })?;
        if position.generation != topology.generation {
            let generation = topology.generation.0;
            return Err(
                Misuse(format!("{text} is not of the log's generation, which is {generation}")).into()
            );
        }
        return Ok((Goal::Offset(position.offset), Some(position.partition)));
    }
    let Some(text) = &args.to_time else { return Ok((Goal::End, None)) };
    let time = millpond_api::parse_time(text)
        .ok_or_else(|| Misuse(format!("{text} is no time: RFC 3339, such as 2026-11-24T09:00:00Z")))?;
    Ok((Goal::Time(time), None))
}

fn partitions(
    args: &RebuildArgs,
    topology: &Topology,
    named: Option<PartitionId>,
) -> Result<Vec<PartitionId>> {
    if let Some(name) = &args.shard {
        return Ok(topology.partitions_of(rebuild::shard_name(topology, name)?).collect());
    }
    let mut partitions: Vec<PartitionId> = args.partition.iter().copied().map(PartitionId).collect();
    partitions.sort_unstable();
    if let Some(named) = named {
        if partitions.iter().any(|partition| *partition != named) {
            return Err(Misuse(format!("--to names partition {named}, and --partition another")).into());
        }
        partitions = vec![named];
    }
    if let Some(unknown) = partitions.iter().find(|partition| topology.shard_of(**partition).is_none()) {
        let last = topology.partitions() - 1;
        return Err(Misuse(format!("there is no partition {unknown}: they are 0 to {last}")).into());
    }
    if partitions.is_empty() {
        partitions = (0..topology.partitions()).map(PartitionId).collect();
    }
    Ok(partitions)
}
