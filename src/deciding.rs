//! Decisions in the process with everything: its own writer says how a partition stands.
//!
//! Invariant: what the ops listener is asked for is what the command line would do.

use std::sync::Arc;

use millpond_api::{Decide, Undecided};
use millpond_writer::Statuses;

use crate::{
    decisions::{self, Asked, Decision, Ground},
    embedded::Embedded,
    supervise::standing,
};

/// For the ops listener.
pub(crate) fn decide(embedded: &Embedded, statuses: &Statuses) -> Decide {
    let ground = Arc::new(Ground {
        log: embedded.log.clone(),
        control: embedded.control.clone(),
        shards: embedded.shards.clone(),
        keyring: embedded.keyring.clone(),
        clock: embedded.clock.clone(),
    });
    let statuses = statuses.clone();
    Arc::new(move |asked: millpond_api::Asked| {
        let (ground, statuses) = (Arc::clone(&ground), statuses.clone());
        Box::pin(async move {
            let decision = Decision::read(&asked.decision).map_err(Undecided::Invalid)?;
            let millpond_api::Asked { who, why, dry_run, .. } = asked;
            let standing = standing(&statuses, decision.partition());
            let asked = Asked { decision, who, why, dry_run };
            let decided = decisions::decide(&ground, &asked, standing.as_ref()).await;
            decided.map_err(|undecided| match undecided {
                decisions::Undecided::Refused(why) => Undecided::Refused(why),
                decisions::Undecided::Unavailable(error) => Undecided::Unavailable(format!("{error:#}")),
            })
        })
    })
}
