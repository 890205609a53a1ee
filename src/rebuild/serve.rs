//! Making a rebuilt copy the serving one of a deployment: a change of the topology, which the running writers follow.
//!
//! Invariant: one change, made again on whatever topology is current; it is written only while the copies are complete
//! but for what the log gains meanwhile.

use std::time::Duration;

use anyhow::{Context, Result};
use millpond_log::{Log, Topologies};
use millpond_schemas::{Audit, Offset, PartitionId, Topology};
use millpond_shard::{Error, Shard};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Between two looks at what the writers have done.
const LOOK: Duration = Duration::from_millis(250);

/// What is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A whole shard has another primary.
    Shard(String),
    /// Partitions belong to the shard that has the target as its primary.
    Partitions(Vec<PartitionId>),
}

/// The topology that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its epoch.
    pub epoch: u64,
    /// Replicas that it names no more: they follow another database.
    pub replicas_dropped: Vec<String>,
}

/// What the writers have made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaited {
    /// Partitions that no writer has claimed yet.
    pub unclaimed: Vec<PartitionId>,
    /// Partitions that are behind the log as it ended at the change, and by how many offsets.
    pub behind: Vec<(PartitionId, i64)>,
}

impl Awaited {
    /// Whether nothing is left to wait for.
    pub fn is_over(&self) -> bool {
        self.unclaimed.is_empty() && self.behind.is_empty()
    }
}

/// The shard of this name.
///
/// # Errors
/// Names those that there are.
pub fn shard_name(topology: &Topology, name: &str) -> Result<usize> {
    topology.shards.iter().position(|shard| shard.name == name).with_context(|| {
        let names: Vec<&str> = topology.shards.iter().map(|shard| shard.name.as_str()).collect();
        format!("there is no shard {name}; there are {}", names.join(", "))
    })
}

/// Writes the topology in which `address` serves. `read`: the one that it was rebuilt by.
///
/// # Errors
/// The topology allows no such change, or says meanwhile what was rebuilt does not; the control topic does not answer.
pub async fn serve(
    control: &Log,
    (place, address): (&Place, &str),
    read: &Topology,
    audit: &Audit,
) -> Result<Served> {
    let mut topologies = Topologies::open(control.clone()).await.context("read the control topic")?;
    let mut dropped = Vec::new();
    let made = topologies.amend(audit, |current| {
        still_holds(current, read, place)?;
        let (next, replicas) = changed(current, place, address)?;
        dropped = replicas;
        Ok::<_, Unfit>((next != *current).then_some(next))
    });
    let topology = made.await.context("write the topology")?;
    Ok(Served { epoch: topology.epoch, replicas_dropped: dropped })
}

/// The topology allows no such change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unfit(String);

/// What was rebuilt by one topology may be put into another one: it skips the same records and, of a whole shard, holds the
/// same partitions. Judged of the very document that is replaced, so that no change slips in between.
fn still_holds(current: &Topology, read: &Topology, place: &Place) -> Result<(), Unfit> {
    let skips = |of: &Topology| (of.log_id, of.generation, of.skips.clone(), of.skip_times.clone());
    if skips(current) != skips(read) {
        return Err(Unfit("an operator has skipped records meanwhile: run it again".to_owned()));
    }
    if let Place::Shard(name) = place {
        let held = |of: &Topology| {
            shard_name(of, name).map(|index| of.partitions_of(index).collect::<Vec<_>>()).ok()
        };
        if held(current) != held(read) {
            return Err(Unfit(format!("{name} has other partitions than when it was begun: run it again")));
        }
    }
    Ok(())
}

/// The document in which `address` serves, and the replicas that it leaves out.
fn changed(current: &Topology, place: &Place, address: &str) -> Result<(Topology, Vec<String>), Unfit> {
    let mut next = current.clone();
    let mut dropped = Vec::new();
    match place {
        Place::Shard(name) => {
            let index = shard_name(current, name).map_err(|error| Unfit(error.to_string()))?;
            let shard = &mut next.shards[index];
            if shard.primary != address {
                address.clone_into(&mut shard.primary);
                dropped = std::mem::take(&mut shard.replicas);
            }
        }
        Place::Partitions(partitions) => {
            let index = current.shards.iter().position(|shard| shard.primary == address);
            let index = index.and_then(|index| u32::try_from(index).ok()).ok_or_else(|| {
                Unfit(format!(
                    "no shard has {address} as its primary: single partitions go to another shard of the topology; a \
                     whole one is named with --shard"
                ))
            })?;
            for partition in partitions {
                let placed = next.placement.get_mut(partition.0 as usize);
                *placed.ok_or_else(|| Unfit(format!("there is no partition {partition}")))? = index;
            }
        }
    }
    Ok((next, dropped))
}

/// Waits until writers have claimed the copies and applied the log as it ends now. Ends early when nothing has changed for `wait`,
/// or when it is stopped: then something is left in the answer. `told` hears of every look.
pub async fn caught_up(
    (shard, log): (&Shard, &Log),
    partitions: &[PartitionId],
    (wait, stop): (Duration, &CancellationToken),
    mut told: impl FnMut(&Awaited),
) -> Result<Awaited> {
    let mut ends = Vec::with_capacity(partitions.len());
    for partition in partitions {
        ends.push((*partition, log.bounds(*partition).await.context("read the log's end")?.end));
    }
    let mut until = Instant::now() + wait;
    let mut last = None;
    loop {
        let awaited = match shard.read_watermarks(partitions.to_vec()).await {
            Ok(marks) => {
                let mut awaited = Awaited::default();
                for (partition, end) in &ends {
                    let mark = marks.iter().find(|mark| mark.partition == *partition);
                    let behind = end.0 - mark.map_or(Offset::NONE, |mark| mark.applied).next().0;
                    if mark.is_none_or(|mark| mark.owner == Offset::NONE) {
                        awaited.unclaimed.push(*partition);
                    }
                    if behind > 0 {
                        awaited.behind.push((*partition, behind));
                    }
                }
                awaited
            }
            Err(Error::Unavailable { .. }) => Awaited { unclaimed: partitions.to_vec(), behind: Vec::new() },
            Err(error) => return Err(anyhow::Error::new(error).context("look how far the writers are")),
        };
        told(&awaited);
        if last.as_ref() != Some(&awaited) {
            until = Instant::now() + wait;
            last = Some(awaited.clone());
        }
        if awaited.is_over() || Instant::now() >= until || stop.is_cancelled() {
            return Ok(awaited);
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use millpond_schemas::{Generation, LogId, Position, Shard as Entry};

    use super::*;

    fn topology() -> Topology {
        let entry = |name: &str, replicas: &[&str]| Entry {
            name: name.into(),
            primary: format!("postgres://m@old/{name}"),
            replicas: replicas.iter().map(ToString::to_string).collect(),
        };
        Topology {
            epoch: 3,
            generation: Generation::FIRST,
            log_id: LogId([1; 16]),
            shards: vec![entry("a", &["postgres://m@replica/a"]), entry("b", &[])],
            placement: vec![0, 1, 0],
            skips: vec![],
            skip_times: vec![],
        }
    }

    #[test]
    fn a_rebuilt_shard_has_another_primary_and_no_replica_of_the_old_one() {
        let place = Place::Shard("a".to_owned());
        let (next, dropped) = changed(&topology(), &place, "postgres://m@new/a").unwrap();
        assert_eq!(next.shards[0].primary, "postgres://m@new/a");
        assert_eq!((next.shards[0].replicas.len(), dropped), (0, vec!["postgres://m@replica/a".to_owned()]));
        assert_eq!((&next.shards[1], &next.placement), (&topology().shards[1], &topology().placement));
        assert_eq!(changed(&next, &place, "postgres://m@new/a").unwrap(), (next, vec![]));
        let error = changed(&topology(), &Place::Shard("c".to_owned()), "x").unwrap_err().to_string();
        assert!(error.contains("there are a, b"), "{error}");
    }

    #[test]
    fn a_rebuilt_partition_goes_to_the_shard_that_has_the_target() {
        let place = Place::Partitions(vec![PartitionId(2)]);
        let (next, _) = changed(&topology(), &place, "postgres://m@old/b").unwrap();
        assert_eq!((next.placement, next.shards), (vec![0, 1, 1], topology().shards));
        assert!(changed(&topology(), &place, "postgres://m@new/b").is_err());
    }

    #[test]
    fn what_has_changed_meanwhile_is_no_place_for_what_was_rebuilt_before() {
        let (read, mut current) = (topology(), topology());
        let (shard, partition) = (Place::Shard("a".to_owned()), Place::Partitions(vec![PartitionId(2)]));
        current.epoch += 1;
        current.shards[0].primary = "postgres://m@other/a".into();
        still_holds(&current, &read, &shard).unwrap();
        current.placement = vec![0, 0, 0];
        assert!(still_holds(&current, &read, &shard).is_err(), "partition 1 was not rebuilt");
        still_holds(&current, &read, &partition).unwrap();
        current.skips.push(Position {
            generation: Generation::FIRST,
            partition: PartitionId(2),
            offset: Offset(7),
        });
        assert!(still_holds(&current, &read, &partition).is_err(), "it was applied in what was rebuilt");
    }
}
