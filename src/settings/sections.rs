//! Every setting, with its default and its help.
//!
//! Invariant: a field's doc is its help: what it is, its unit, its default, and what gets worse.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    ByteSize, DefaultWait, Field, OrOff, Properties, Raw, Section, Setting, ShardSeed,
    units::{RawKind, quote},
};

const MIB: u64 = 1 << 20;

macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $( $(#[doc = $help:literal])+ $field:ident: $type:ty = $default:expr, )*
            @sections
            $( $(#[doc = $section_doc:literal])+ $section:ident: $section_type:ty, )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $help])+ pub $field: $type, )*
            $( $(#[doc = $section_doc])+ pub $section: $section_type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $( $field: $default, )*
                    $( $section: <$section_type>::default(), )*
                }
            }
        }

        impl Section for $name {
            const FIELDS: &'static [Field] =
                &[ $( Field { name: stringify!($field), help: &[$($help),+] } ),* ];

            fn set(&mut self, field: &str, raw: &Raw) -> Result<(), String> {
                match field {
                    $( stringify!($field) => self.$field = Setting::read(raw)?, )*
                    _ => unreachable!("only fields of the table are set"),
                }
                Ok(())
            }

            fn get(&self, field: &str) -> String {
                match field {
                    $( stringify!($field) => self.$field.show(), )*
                    _ => unreachable!("only fields of the table are shown"),
                }
            }
        }
    };
}

section! {
    /// Everything that `millpond` can be told when it serves.
    Settings {
        /// Where clients connect. Default 127.0.0.1:7420. Any other than loopback needs `tokens_file` and
        /// `behind_proxy`, or `insecure`.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7420)),
        /// Where probes and metrics are served. Default 127.0.0.1:7421.
        ops_listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7421)),
        /// The directory of the log and the shards. Default ./millpond-data.
        data_dir: PathBuf = PathBuf::from("./millpond-data"),
        /// The file with the key that signs control records and cursors, 32 bytes. Default "": mac.key in `data_dir`.
        /// Every process of a deployment on Kafka needs the same one; `millpond init` makes it.
        mac_key_file: String = String::new(),
        /// The file with the hashes of the tokens that may call; `millpond token new` makes one. Default "": everybody
        /// who can connect may call, as any tenant. It is followed while the server runs.
        tokens_file: String = String::new(),
        /// A proxy in front ends TLS, so that tokens travel in clear only from it to here. Default false. Not true
        /// while saying so: whoever is between reads the tokens.
        behind_proxy: bool = false,
        /// Listen beyond loopback although anyone who can connect may read and write everything. Default false.
        insecure: bool = false,
        @sections
        /// The log.
        log: Log,
        /// Kafka, for the roles.
        kafka: Kafka,
        /// The shards.
        shards: Shards,
        /// The writers, one per shard.
        writer: Writer,
        /// The sweeper.
        sweeper: Sweeper,
        /// The HTTP api.
        api: Api,
        /// What is told to the outside.
        telemetry: Telemetry,
        /// Tables `[[shard]]`: what `millpond init` makes the first topology of. Afterwards the topology says it.
        seeds: Vec<ShardSeed>,
    }
}

section! {
    /// The log.
    Log {
        /// Partitions, 1 to 4096. Default 8. Counts only at the first start or `millpond init`: the log keeps it. More:
        /// more writing in parallel, more transactions for the same rows.
        partitions: u32 = 8,
        /// Bytes of a segment file. Default 128MiB. Larger ones are trimmed in larger steps, smaller ones are more files.
        segment_bytes: ByteSize = ByteSize(128 * MIB),
        /// Bytes of records that may wait for the log; beyond it writes get 503. Default 64MiB. Less: 503 sooner; more:
        /// memory.
        queue_bytes_max: ByteSize = ByteSize(64 * MIB),
        /// How old a record is before it may be trimmed: off, or at least 24h. Default off: the log keeps everything. Trimmed
        /// is what no copy needs any more; shorter: what `millpond verify` and `rebuild` can replay reaches less far back.
        trim_after: OrOff<Duration> = OrOff(None),
        /// How long a replica may be late, or silent, before the log is no longer kept for it. Default 1h. Longer: a broken
        /// one keeps the log longer; shorter: a late one can no longer be promoted.
        replica_late_max: Duration = Duration::from_hours(1),
        /// Bytes of records that shards may have yet to apply: at 80% of it writes get 503 `backlog-full` until shards have
        /// caught up. Default off; or a size. On Kafka it is estimated from the sizes of some records. Less: writes stop
        /// sooner while a database is down; more: disk.
        backlog_bytes_max: OrOff<ByteSize> = OrOff(None),
        /// Bytes that stay free on the disk of a local log, though no more than a twentieth of it: below, writes get 503
        /// `backlog-full`. Default 64MiB. Less: the disk is full sooner, and then nothing can be applied either.
        free_bytes_min: ByteSize = ByteSize(64 * MIB),
        @sections
    }
}

section! {
    /// Kafka: what `millpond init`, `api`, `writer` and `sweeper` run on. A table `[kafka.properties]` goes to librdkafka.
    Kafka {
        /// Brokers to start from, such as kafka-1:9092,kafka-2:9092. Default "": none, and no role can run.
        brokers: String = String::new(),
        /// Names the topics and consumer groups: <prefix>.mutations.1 and so on. Default millpond.
        prefix: String = "millpond".to_owned(),
        /// One broker will do: replication and min.insync.replicas of 1. Default false. What is acked can be lost with
        /// its broker.
        dev: bool = false,
        /// Topic or broker settings that the start check waives, by name, where a managed service hides them. Default [].
        accept: Vec<String> = Vec::new(),
        /// Memory for records that were fetched ahead. Default 64MiB. Less: slower catching up.
        read_ahead_bytes_max: ByteSize = ByteSize(64 * MIB),
        @sections
        /// Further settings of librdkafka, for every client.
        properties: Properties,
    }
}

section! {
    /// The shards. Those of a deployment on Kafka are tables `[[shard]]` with name, primary and replicas.
    Shards {
        /// How many SQLite files, 1 to the number of partitions. Default 2. Counts only at the first start: the data
        /// directory keeps it.
        count: u32 = 2,
        /// Connections that read, per shard, each with a thread. Default 4. Fewer: reads wait for one another; more:
        /// memory.
        read_connections: u32 = 4,
        /// A file with the password of every shard's user, and nothing else. Default "": PGPASSFILE, `~/.pgpass` or
        /// PGPASSWORD say it.
        password_file: String = String::new(),
        @sections
    }
}

section! {
    /// The writers.
    Writer {
        /// Most records of one partition in a flush. Default 5000. More: fewer transactions, longer waits behind each.
        flush_records_max: u32 = 5_000,
        /// Most bytes of records of one partition in a flush. Default 8MiB. More: fewer transactions, more memory.
        flush_bytes_max: ByteSize = ByteSize(8 * MIB),
        /// Least time from one flush of a shard to the next while fewer than 64 records wait. Default 2ms. Shorter: more
        /// transactions and CPU time for the same records; longer: longer waits for outcomes.
        flush_interval: Duration = Duration::from_millis(2),
        /// How long a transaction should take at most; a slower shard gets fewer records per flush. Default 100ms.
        flush_time_max: Duration = Duration::from_millis(100),
        @sections
    }
}

section! {
    /// The sweeper.
    Sweeper {
        /// How often each partition is asked for what is due. Default 1s. Longer: tombstones come later; what has
        /// expired is never read anyway.
        interval: Duration = Duration::from_secs(1),
        /// The same while there is more to do. Default 100ms. Longer: a backlog takes longer.
        interval_busy: Duration = Duration::from_millis(100),
        /// Most rows per Sweep or Purge, up to 900. Default 900. More: longer flushes.
        rows_max: u32 = millpond_schemas::limits::SWEEP_ROWS_MAX,
        /// How long a tombstone stays. Default 7d. Shorter: consumers that sync by version must come more often.
        purge_grace: Duration = Duration::from_hours(7 * 24),
        /// How often the log is trimmed. Default 30s. Longer: it is trimmed in larger steps.
        trim_interval: Duration = Duration::from_secs(30),
        @sections
    }
}

section! {
    /// The HTTP api.
    Api {
        /// Longest value. Default 512KiB. Never falls in a data directory that was started with more. More: memory a
        /// call, slower flushes.
        value_bytes_max: ByteSize = ByteSize(512 * 1024),
        /// How long a write that waits by default waits. Default 5s. Shorter: more 202 in place of an outcome; longer:
        /// more calls open while a writer is down.
        write_wait: Duration = Duration::from_secs(5),
        /// How long a put or delete waits for its outcome that has neither a condition nor an Idempotency-Key: off, or
        /// up to 30s. Default off: it is answered once the log has it. A call's own `Prefer` goes over it, and a batch
        /// waits only when told. Longer: slower answers, more calls open while a writer is down.
        default_wait: DefaultWait = DefaultWait(None),
        /// How long a read waits for the position it wants. Default 2s. Shorter: more 504 behind a busy writer.
        read_wait: Duration = Duration::from_secs(2),
        /// Longest that a shard is waited for. Default 2s. Shorter: 503 under load; longer: calls pile up on a dead
        /// shard.
        shard_deadline: Duration = Duration::from_secs(2),
        /// Most connections at once. Default 10000. More: memory and open files; the next ones wait to be accepted.
        connections_max: u32 = 10_000,
        /// Longest time for a request's head. Default 5s. Longer: slow clients hold more connections.
        head_timeout: Duration = Duration::from_secs(5),
        /// How long a connection may be idle between requests. Default 1m. Shorter: more reconnects.
        idle_timeout: Duration = Duration::from_mins(1),
        /// How long a client may take nothing of an answer. Default 20s. Longer: unread answers stay in memory.
        send_timeout: Duration = Duration::from_secs(20),
        /// Longest that open calls are waited for at shutdown. Default 20s. Shorter: clients lose answers.
        drain_timeout: Duration = Duration::from_secs(20),
        /// Memory for all bodies that are being read. Default 256MiB. Values that are being sent may hold as much besides,
        /// and what queries answer half as much. Less: 503 sooner.
        bodies_bytes_max: ByteSize = ByteSize(256 * MIB),
        /// Memory for outcomes kept for calls that ask late. Default 64MiB. Less: more of them ask a shard.
        outcomes_bytes_max: ByteSize = ByteSize(64 * MIB),
        @sections
    }
}

section! {
    /// What is told to the outside.
    Telemetry {
        /// Log lines on standard error: pretty or json. Default pretty. Which lines: the variable `RUST_LOG`,
        /// default info.
        log_format: LogFormat = LogFormat::Pretty,
        @sections
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Setting for LogFormat {
    fn read(raw: &Raw) -> Result<Self, String> {
        match (raw.kind, raw.text.as_str()) {
            (RawKind::Plain | RawKind::Text, "pretty") => Ok(Self::Pretty),
            (RawKind::Plain | RawKind::Text, "json") => Ok(Self::Json),
            _ => Err("\"pretty\" or \"json\"".to_owned()),
        }
    }

    fn show(&self) -> String {
        quote(match self {
            Self::Pretty => "pretty",
            Self::Json => "json",
        })
    }
}

/// One section of a file.
pub(super) struct About {
    /// Empty: the fields stand at the top.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

impl About {
    /// A field's dotted key.
    pub(super) fn key(&self, field: &str) -> String {
        if self.name.is_empty() { field.to_owned() } else { format!("{}.{field}", self.name) }
    }
}

/// Every section, in the order of a file.
pub(super) const SECTIONS: [About; 8] = [
    About { name: "", fields: Settings::FIELDS },
    About { name: "log", fields: Log::FIELDS },
    About { name: "kafka", fields: Kafka::FIELDS },
    About { name: "shards", fields: Shards::FIELDS },
    About { name: "writer", fields: Writer::FIELDS },
    About { name: "sweeper", fields: Sweeper::FIELDS },
    About { name: "api", fields: Api::FIELDS },
    About { name: "telemetry", fields: Telemetry::FIELDS },
];

/// [`Section`] without its table, so that any section can be held.
pub(super) trait SectionAccess {
    fn set_field(&mut self, field: &str, raw: &Raw) -> Result<(), String>;
    fn get_field(&self, field: &str) -> String;
}

impl<T: Section> SectionAccess for T {
    fn set_field(&mut self, field: &str, raw: &Raw) -> Result<(), String> {
        self.set(field, raw)
    }

    fn get_field(&self, field: &str) -> String {
        self.get(field)
    }
}

impl Settings {
    /// A section of [`SECTIONS`].
    pub(super) fn section_mut(&mut self, name: &str) -> &mut dyn SectionAccess {
        match name {
            "log" => &mut self.log,
            "kafka" => &mut self.kafka,
            "shards" => &mut self.shards,
            "writer" => &mut self.writer,
            "sweeper" => &mut self.sweeper,
            "api" => &mut self.api,
            "telemetry" => &mut self.telemetry,
            _ => self,
        }
    }
}
