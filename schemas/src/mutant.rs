//! Seeded bugs, each of which some test or drill must catch: `tests/mutants`.
//!
//! Without the feature `mutants` nothing of them is compiled in. With it, the variable `MUTANT` picks at most one, once,
//! at its first use. Invariant: a build that serves anybody has none.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The watermark moves whatever it was before.
    NoCompareAndSet,
    /// The watermark is committed before the rows.
    WatermarkFirst,
    /// Records are acked before they are synced.
    AckBeforeSync,
    /// A writer whose records are gone goes on with what there is.
    ResetToStart,
    /// Ids that are not durable are not remembered.
    NoWindow,
    /// The owner is a counter in the shard.
    OwnerCounter,
    /// A read takes value and watermark from two statements.
    TwoStatements,
    /// An ack without an offset is taken for offset 0.
    OffsetCoerced,
    /// A COMMIT without an answer is taken for committed when a second one is answered.
    CommitResent,
    /// A record that met a shard that is down becomes a dead letter.
    TransientDeadLetter,
    /// A sweep expires by the writer's clock.
    SweepByOwnClock,
    /// Outcomes are published before the commit.
    PublishBeforeCommit,
    /// The record behind the watermark is not compared with the log.
    DigestUnchecked,
    /// No bug: the fold's version is that of a next build, for the drill `versions`.
    NewerFold,
}

impl Mutant {
    /// All, with the names that the variable takes.
    pub const ALL: [(&'static str, Self); 14] = [
        ("no-compare-and-set", Self::NoCompareAndSet),
        ("watermark-first", Self::WatermarkFirst),
        ("ack-before-sync", Self::AckBeforeSync),
        ("reset-to-start", Self::ResetToStart),
        ("no-window", Self::NoWindow),
        ("owner-counter", Self::OwnerCounter),
        ("two-statements", Self::TwoStatements),
        ("offset-coerced", Self::OffsetCoerced),
        ("commit-resent", Self::CommitResent),
        ("transient-dead-letter", Self::TransientDeadLetter),
        ("sweep-by-own-clock", Self::SweepByOwnClock),
        ("publish-before-commit", Self::PublishBeforeCommit),
        ("digest-unchecked", Self::DigestUnchecked),
        ("newer-fold", Self::NewerFold),
    ];

    /// Whether this bug is picked.
    #[cfg(feature = "mutants")]
    pub fn is_picked(self) -> bool {
        static PICKED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
        let picked = PICKED.get_or_init(|| {
            let name = std::env::var("MUTANT").ok().filter(|name| !name.is_empty())?;
            let known = Self::ALL.iter().find(|(known, _)| *known == name);
            Some(known.expect("MUTANT names a mutant").1)
        });
        *picked == Some(self)
    }

    /// Never: there are no bugs in this build.
    #[cfg(not(feature = "mutants"))]
    pub const fn is_picked(self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Mutant;

    /// One that no test has to catch shows nothing.
    #[test]
    fn every_bug_has_a_row_in_the_command() {
        let command = include_str!("../../tests/mutants");
        let has_row = |name: &str| command.lines().any(|line| line.starts_with(&format!("{name} | ")));
        let bugs = Mutant::ALL.iter().filter(|(_, mutant)| *mutant != Mutant::NewerFold);
        let missing: Vec<_> = bugs.map(|(name, _)| *name).filter(|name| !has_row(name)).collect();
        assert!(missing.is_empty(), "tests/mutants has no row for {missing:?}");
    }
}
