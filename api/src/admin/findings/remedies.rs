//! What to do about each thing that can be wrong, for the one who has to do it.
//!
//! Invariant: nothing here loses anything when it is typed as it stands: what could says first what it would do.

use millpond_schemas::Position;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// In words.
    pub words: &'static str,
    /// What to type next, where that helps: with `PARTITION` and `POSITION` where these belong.
    pub command: Option<&'static str>,
}

impl Remedy {
    /// What to type next about a check of this name that says this.
    pub fn command_for(&self, name: &str, detail: &str) -> Option<String> {
        let partition = name.strip_prefix("partition ").unwrap_or("PARTITION");
        let position = detail.split([' ', ':', ',']).find(|word| word.parse::<Position>().is_ok());
        let command = self.command?.replace("PARTITION", partition);
        Some(command.replace("POSITION", position.unwrap_or("POSITION")))
    }
}

const fn words(words: &'static str) -> Remedy {
    Remedy { words, command: None }
}

const fn typed(words: &'static str, command: &'static str) -> Remedy {
    Remedy { words, command: Some(command) }
}

pub(super) const NOT_READY: Remedy =
    words("A process that starts or stops is ready again by itself; else its log says why.");
pub(super) const HALTED: Remedy = words("The writer's own log says more. Nothing is lost: it waits for you.");
pub(super) const WAITS: Remedy =
    words("It is tried again until it works. See that the shard answers and has room.");
pub(super) const PRIMARY: Remedy = words(
    "Start the database again; everything goes on by itself. Or promote a replica, then name it as the primary.",
);
pub(super) const REPLICA: Remedy = words("Start it again; it is asked as soon as it answers.");
pub(super) const LOG: Remedy = typed(
    "See that the brokers answer from this machine. Until then writes are refused as not accepted.",
    "millpond lag --config FILE",
);
pub(super) const BEHIND: Remedy = typed(
    "See that a writer runs: on its own ops listener it tells whether a partition waits or has halted, and why.",
    "millpond lag --config FILE",
);
pub(super) const CHECK: Remedy = words("The process's own log says more.");

/// What to do about a stable code. `docs/recovery.md` has a section of that name for each halt.
pub fn of_code(code: &str) -> Option<Remedy> {
    let remedy = match code {
        "log-gap" => typed(
            "Records are gone from the log before they were applied: somebody else trimmed the topic, retention is set, \
             or the database was put back to an earlier state. Bring back the topic, or a database that is further on. \
             Where there is neither, export what is left and import it into a new deployment.",
            "millpond export --out FILE",
        ),
        "log-diverged" => typed(
            "The log is not the one that was written before: it was made anew, restored or cut. Bring back the log or \
             the database that belongs to the other. Where that is lost, export what must not go with it, and discard the \
             copy: it is made anew from this log.",
            "millpond discard-copy PARTITION --dry-run",
        ),
        "log-corrupt" => typed(
            "The log's bytes are damaged. Keep a copy of the files as they are, check the disk, and put them back from a \
             backup. Where there is none, export what was applied and import it into a new data directory.",
            "millpond export --out FILE",
        ),
        "backlog-full" => typed(
            "Bring back the database that is behind; writes are accepted again by themselves. Or give the log more room: \
             log.backlog_bytes_max, or the disk.",
            "millpond lag --config FILE",
        ),
        "log-stalled" => words(
            "A producer left a transaction open. It ends by the producer's own timeout; end the producer to have it \
             sooner.",
        ),
        "row-ahead" => typed(
            "A row is newer than the log knows: another program wrote to the shard, or it was restored from a later \
             state. Find out who; then discard the copy: it is made anew from the log.",
            "millpond discard-copy PARTITION --dry-run",
        ),
        "record-refused" => typed(
            "The shard refuses this one record and says why. Mend that in the database and start the writer again; or \
             give the record up.",
            "millpond skip POSITION --dry-run",
        ),
        "shard-refused" => typed(
            "The database refuses to work and says why: rights, missing tables, a full disk. It is tried again every \
             second. Missing tables are made by:",
            "millpond init --config FILE",
        ),
        "time-jump" => typed(
            "Clocks differ by more than ten minutes. Set the broker's or this machine's; it is tried again every second. \
             Where the record's own time is wrong, let it take the time before it.",
            "millpond skip --time POSITION..POSITION --dry-run",
        ),
        "version-unknown" => typed(
            "The log speaks a version newer than this build. Start the writer from a build as new; or give the record up, \
             if no build of yours has written it.",
            "millpond skip POSITION --dry-run",
        ),
        "key-missing" => typed(
            "A MAC key that the log names is not held here. Put its file beside the one that mac_key_file names, with the \
             key's number at its end (mac.key.2), and start the writer again.",
            "millpond config show --config FILE",
        ),
        _ => return None,
    };
    Some(remedy)
}
