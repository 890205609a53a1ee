//! What each role gets of the settings, and what no role could run with.
//!
//! Invariant: every setting reaches a role, and the defaults here are the roles' own.

use std::time::Duration;

use millpond_schemas::{
    Generation,
    floor::TRIM_AGE_MIN,
    limits::{PARTITIONS_MAX, SWEEP_ROWS_MAX},
};

use super::{ByteSize, Settings, SettingsError};
use crate::embedded;

/// Less would be full before a shard has ever been late.
const BACKLOG_BYTES_MIN: u64 = 1 << 20;
/// What a client can ask for, too.
const DEFAULT_WAIT_MAX: Duration = Duration::from_secs(30);

impl Settings {
    /// How the data directory is opened.
    pub fn embedded(&self) -> embedded::Options {
        embedded::Options {
            partitions: self.log.partitions,
            shards: self.shards.count,
            mac_key_file: self.mac_key_file(),
            segment_bytes: self.log.segment_bytes.0,
            queue_bytes_max: self.log.queue_bytes_max.to_usize(),
            read_connections: self.shards.read_connections,
            ..embedded::Options::new(&self.data_dir)
        }
    }

    /// How writers flush and what they claim.
    pub fn writer_config(&self) -> millpond_writer::Config {
        millpond_writer::Config {
            flush_records_max: usize::try_from(self.writer.flush_records_max).unwrap_or(usize::MAX),
            flush_bytes_max: self.writer.flush_bytes_max.to_usize(),
            flush_interval: self.writer.flush_interval,
            flush_time_max: self.writer.flush_time_max,
            claim: millpond_writer::ClaimConfig {
                generation: Generation::FIRST,
                value_bytes_max: self.api.value_bytes_max.0,
                purge_grace: self.sweeper.purge_grace,
            },
        }
    }

    /// How the sweeper paces itself, and what it trims.
    pub fn sweeper_config(&self) -> millpond_sweeper::Config {
        millpond_sweeper::Config {
            interval: self.sweeper.interval,
            interval_busy: self.sweeper.interval_busy,
            rows_max: self.sweeper.rows_max,
            purge_grace: self.sweeper.purge_grace,
            trim_after: self.log.trim_after.0,
            trim_interval: self.sweeper.trim_interval,
            replica_late_max: self.log.replica_late_max,
        }
    }

    /// How the api behaves.
    pub fn api_config(&self) -> millpond_api::Config {
        let api = &self.api;
        millpond_api::Config {
            value_bytes_max: api.value_bytes_max.to_usize(),
            write_wait: api.write_wait,
            default_wait: api.default_wait.0.unwrap_or_default(),
            read_wait: api.read_wait,
            shard_deadline: api.shard_deadline,
            connections_max: usize::try_from(api.connections_max).unwrap_or(usize::MAX),
            head_timeout: api.head_timeout,
            idle_timeout: api.idle_timeout,
            send_timeout: api.send_timeout,
            drain_timeout: api.drain_timeout,
            bodies_bytes_max: api.bodies_bytes_max.to_usize(),
            outcomes_bytes_max: api.outcomes_bytes_max.to_usize(),
            backlog_bytes_max: self.log.backlog_bytes_max.0.map(|bytes| bytes.0),
            free_bytes_min: self.log.free_bytes_min.0,
        }
    }

    /// Keys whose values no role could run with, and what each should be.
    pub(super) fn check(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut within = |key: &'static str, value: u32, min: u32, max: u32| {
            if !(min..=max).contains(&value) {
                problems.push((key, format!("is {min} to {max}, not {value}")));
            }
        };
        within("log.partitions", self.log.partitions, 1, PARTITIONS_MAX);
        within("shards.count", self.shards.count, 1, self.log.partitions.max(1));
        within("shards.read_connections", self.shards.read_connections, 1, 256);
        within("writer.flush_records_max", self.writer.flush_records_max, 1, 1_000_000);
        within("sweeper.rows_max", self.sweeper.rows_max, 1, SWEEP_ROWS_MAX);
        within("api.connections_max", self.api.connections_max, 1, 1_000_000);
        let mut sized = |key: &'static str, value: ByteSize, min: u64, max: u64| {
            if !(min..=max).contains(&value.0) {
                problems.push((key, format!("is {} to {}, not {value}", ByteSize(min), ByteSize(max))));
            }
        };
        sized("log.segment_bytes", self.log.segment_bytes, 1 << 20, 1 << 36);
        sized("log.queue_bytes_max", self.log.queue_bytes_max, 1 << 20, 1 << 30);
        sized("writer.flush_bytes_max", self.writer.flush_bytes_max, 1 << 16, 1 << 30);
        sized("api.value_bytes_max", self.api.value_bytes_max, 1, 8 << 20);
        sized("api.bodies_bytes_max", self.api.bodies_bytes_max, 1 << 20, 1 << 40);
        for (key, time) in [
            ("writer.flush_time_max", self.writer.flush_time_max),
            ("sweeper.interval", self.sweeper.interval),
            ("sweeper.interval_busy", self.sweeper.interval_busy),
            ("sweeper.trim_interval", self.sweeper.trim_interval),
            ("api.shard_deadline", self.api.shard_deadline),
            ("api.head_timeout", self.api.head_timeout),
            ("api.idle_timeout", self.api.idle_timeout),
            ("api.send_timeout", self.api.send_timeout),
        ] {
            if time < Duration::from_millis(1) {
                problems.push((key, "is longer than nothing".to_owned()));
            }
        }
        if self.log.trim_after.0.is_some_and(|age| age < TRIM_AGE_MIN) {
            let what = "is \"off\" or at least 24h: what is younger is always kept, for repeats and outcomes";
            problems.push(("log.trim_after", what.to_owned()));
        }
        if self.log.backlog_bytes_max.0.is_some_and(|bytes| bytes.0 < BACKLOG_BYTES_MIN) {
            problems.push(("log.backlog_bytes_max", format!("is at least {}", ByteSize(BACKLOG_BYTES_MIN))));
        }
        if self.api.default_wait.0.is_some_and(|wait| wait > DEFAULT_WAIT_MAX) {
            problems.push(("api.default_wait", "is at most 30s".to_owned()));
        }
        problems
    }

    /// Refuses to open the store to everyone unasked.
    pub(super) fn check_exposure(&self) -> Result<(), SettingsError> {
        let (auth, proxy) = (self.tokens_file().is_some(), self.behind_proxy);
        if self.listen.ip().is_loopback() || self.insecure || (auth && proxy) {
            return Ok(());
        }
        let (missing, flags) = if auth {
            (
                "there is no TLS, so anyone between could read the tokens",
                "say with --behind-proxy that a proxy in front ends TLS",
            )
        } else {
            (
                "there is no auth and no TLS, so anyone who reaches it could read and write everything",
                "ask for tokens with --tokens-file FILE (see `millpond token new`) and say with --behind-proxy that \
                 a proxy in front ends TLS",
            )
        };
        let listen = self.listen;
        let port = listen.port();
        Err(SettingsError::Unsafe(format!(
            "refusing to listen on {listen}: {missing}.\nListen on 127.0.0.1:{port}, or {flags}, or say with \
             --insecure that you mean it."
        )))
    }
}
