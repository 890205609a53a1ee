//! What to do next, for everything that can be wrong.
//!
//! What helps against a halt stands in one table for this and for the page: `api/src/admin/findings/remedies.rs`.
//! Invariant: every name of a halt has its own advice, and no advice destroys anything.

/// A partition whose writer tries again and again.
pub(super) const WAITS: &str = "it tries again by itself; check that Kafka and the shard's database run: \
    `millpond doctor --config FILE`";
/// A shard that does not answer.
pub(super) const SHARD: &str = "writes go on and wait on the log; check its database, whose address \
    `millpond topology show --config FILE` prints (one process with everything: look at its log)";
/// A partition that nobody applies fast enough, or at all.
pub(super) const BEHIND: &str = "ask its writer why: `millpond doctor --ops URL` with a writer's ops listener; on Kafka \
    check that one runs (`millpond writer --config FILE`), or start one more";
/// Too much waits to be applied.
pub(super) const BACKLOG: &str = "bring back the database that is behind (`millpond lag --config FILE` says which): \
    writes are accepted again by themselves; or give the log more room: log.backlog_bytes_max, or the disk";
/// A producer's transaction that does not end.
pub(super) const STALLED: &str = "a producer's transaction is open: end that producer, or abort it with \
    `kafka-transactions.sh --bootstrap-server HOST:PORT find-hanging --broker-id ID` and then `abort`";

/// Where more is told.
pub(super) fn look(source: &str) -> String {
    if source.starts_with("http") {
        format!("`curl '{source}/readyz?verbose'` and the process's own log say more")
    } else {
        format!("`millpond lag --config {source}` says more")
    }
}

/// What helps against a halt of a check of this name, which says why.
pub(super) fn of_halt(halt: &str, name: &str, why: &str) -> String {
    let Some(remedy) = millpond_api::remedy_of(halt) else {
        return "the process's own log says more: `curl 'URL/readyz?verbose'`".to_owned();
    };
    let command = remedy.command_for(name, why).map(|command| format!(" `{command}`")).unwrap_or_default();
    format!("{}{command} (docs/recovery.md#{halt})", remedy.words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_halt_has_advice_of_its_own() {
        let other = of_halt("", "", "");
        for name in millpond_writer::Halt::NAMES {
            assert_ne!(of_halt(name, "partition 3", ""), other, "{name}");
        }
        let told = of_halt("record-refused", "partition 3", "the shard refuses the record 1-3-42: no");
        assert!(told.contains("`millpond skip 1-3-42 --dry-run`"), "{told}");
        assert!(of_halt("row-ahead", "partition 3", "x").contains("discard-copy 3 "));
    }
}
