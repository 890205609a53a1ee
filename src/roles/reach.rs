//! Whether a writer reaches any shard, and what it does when it does not: it leaves its partitions to another.
//!
//! Not safety, which is the Claim's, nor a shard that is down for all: the last member stays and waits for it, and one of
//! several shards that does not answer is waited for by who has its partitions. Invariant: a writer that reaches a shard
//! is a member of its group, once it holds nothing any more from before it left.

use std::{sync::Arc, time::Duration};

use millpond_api::{Check, Checks, Health};
use millpond_log::kafka::Membership;
use millpond_schemas::Topology;
use millpond_shard::Router;
use millpond_writer::Statuses;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

/// How often shards are asked, and their answers looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long no shard may have answered. Longer: partitions wait longer behind a link that is dead; shorter: a shard that
/// only starts again has them change hands for nothing.
const SILENT_MAX: Duration = Duration::from_secs(5);
/// How long one question may take. Its connection is closed then.
const ASK_MAX: Duration = Duration::from_secs(5);

/// What it goes by.
pub(super) struct Reach {
    pub(super) shards: Vec<Router>,
    pub(super) statuses: Statuses,
    pub(super) topology: watch::Receiver<Arc<Topology>>,
}

/// How things stand.
#[derive(Clone, Copy, Debug)]
struct Standing {
    /// Is a member of the group.
    attends: bool,
    /// For how long no shard has answered.
    silent: Duration,
    /// Partitions that the group gives it.
    assigned: usize,
    /// Partitions that its copies still hold.
    held: usize,
    /// P.
    partitions: usize,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Stay,
    StandAside,
    ComeBack,
}

impl Standing {
    fn step(self) -> Step {
        let silent = self.silent >= SILENT_MAX;
        // Who has all of them has nobody to leave them to.
        if self.attends && silent && (1..self.partitions).contains(&self.assigned) {
            Step::StandAside
        } else if !self.attends && !silent && self.held == 0 {
            Step::ComeBack
        } else {
            Step::Stay
        }
    }
}

/// Has `membership` follow what is reached, for ever.
pub(super) async fn follow(membership: &Membership, reach: Reach) {
    let (heard, mut hears) = watch::channel(Instant::now());
    let mut asking = JoinSet::new();
    for shard in reach.shards {
        asking.spawn(ask(shard, heard.clone()));
    }
    let (attends, assigned) = (membership.attends(), membership.assigned());
    let mut flushes = 0;
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let committed = reach.statuses.totals().flushes;
        if committed != flushes {
            flushes = committed;
            heard.send_replace(Instant::now());
        }
        let standing = Standing {
            attends: *attends.borrow(),
            silent: hears.borrow_and_update().elapsed(),
            assigned: assigned.borrow().len(),
            held: reach.statuses.partitions().len(),
            partitions: reach.topology.borrow().partitions() as usize,
        };
        match standing.step() {
            Step::Stay => {}
            Step::StandAside => {
                tracing::warn!(silent = ?standing.silent, "no shard answers: partitions are left to other writers");
                membership.stand_aside();
            }
            Step::ComeBack => {
                tracing::info!("a shard answers again: back in the group of writers");
                membership.come_back();
            }
        }
    }
}

/// For `/readyz?verbose`: it stands aside. Its partitions have lines of their own where they are now.
pub(super) fn checks(membership: &Membership) -> Checks {
    let attends = membership.attends();
    Arc::new(move || {
        let aside = (!*attends.borrow()).then(|| Check {
            name: "shards".to_owned(),
            health: Health::Degraded,
            detail: "no answer: every shard; partitions are left to other writers".to_owned(),
        });
        aside.into_iter().collect()
    })
}

/// Asks one shard's primary again and again, and tells when it answers.
async fn ask(shard: Router, heard: watch::Sender<Instant>) {
    loop {
        if let Ok(Ok(_)) = timeout(ASK_MAX, shard.primary().node_state()).await {
            heard.send_replace(Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Standing = Standing { attends: true, silent: SILENT_MAX, assigned: 2, held: 2, partitions: 4 };

    #[test]
    fn who_reaches_no_shard_leaves_its_partitions_to_others_if_there_are_any() {
        assert_eq!(CUT.step(), Step::StandAside);
        let short = SILENT_MAX / 2;
        assert_eq!(Standing { silent: short, ..CUT }.step(), Step::Stay, "a shard may start again");
        assert_eq!(Standing { assigned: 4, held: 4, ..CUT }.step(), Step::Stay, "it is the last one");
        assert_eq!(Standing { assigned: 0, ..CUT }.step(), Step::Stay, "it is only joining");
    }

    #[test]
    fn who_stands_aside_comes_back_when_it_reaches_a_shard_and_holds_nothing_from_before() {
        let aside = Standing { attends: false, assigned: 0, held: 0, ..CUT };
        assert_eq!(aside.step(), Step::Stay);
        let answered = Standing { silent: Duration::ZERO, ..aside };
        assert_eq!(answered.step(), Step::ComeBack);
        assert_eq!(Standing { held: 2, ..answered }.step(), Step::Stay, "a call of its has no answer yet");
    }
}
