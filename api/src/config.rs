//! What an api can be told, with its defaults.
//!
//! Not here: reading files, flags and the environment. Invariant: every default works on a small machine.

use std::time::Duration;

use millpond_schemas::limits::VALUE_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// How an api behaves. Durations are written `5s`, `1500ms`, `2m`, or as a number of seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest value, bytes; default 524288. Only as much is taken as the partition's Claim allows. Larger: more
    /// memory a call, slower flushes.
    pub value_bytes_max: usize,
    /// Wait of a write that waits by default; default 5 s. Shorter: more 202 in place of an outcome; longer: more
    /// calls open while a writer is down.
    #[serde(with = "crate::duration::text")]
    pub write_wait: Duration,
    /// Wait of a write that does not wait by default, as if it had asked with `Prefer: wait`; default 0: not at all.
    /// Longer: slower answers, more calls open while a writer is down.
    #[serde(with = "crate::duration::text")]
    pub default_wait: Duration,
    /// Wait of a read for the position that it wants; default 2 s. Shorter: more 504 behind a busy writer; longer:
    /// more calls open while a writer is down.
    #[serde(with = "crate::duration::text")]
    pub read_wait: Duration,
    /// Longest that a shard is waited for; default 2 s. Shorter: 503 under load; longer: calls pile up on a dead shard.
    #[serde(with = "crate::duration::text")]
    pub shard_deadline: Duration,
    /// Most connections at once; default 10000. More: more memory and open files; the next ones wait to be accepted.
    pub connections_max: usize,
    /// Longest time for a request's head; default 5 s. Longer: slow clients hold more connections.
    #[serde(with = "crate::duration::text")]
    pub head_timeout: Duration,
    /// How long a connection may be idle between requests; default 60 s. Shorter: more reconnects; longer: more
    /// connections held.
    #[serde(with = "crate::duration::text")]
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer; default 20 s. Longer: answers that nobody reads stay in memory.
    #[serde(with = "crate::duration::text")]
    pub send_timeout: Duration,
    /// Longest that open calls are waited for at shutdown; default 20 s. Shorter: clients lose answers.
    #[serde(with = "crate::duration::text")]
    pub drain_timeout: Duration,
    /// Memory for all bodies that are being read, bytes; default 268435456. Values that are being sent may hold as much
    /// besides, and what queries answer half as much. Smaller: 503 sooner; larger: more memory.
    pub bodies_bytes_max: usize,
    /// Memory for outcomes kept for calls that ask late, bytes; default 67108864. Smaller: more of them ask a shard.
    pub outcomes_bytes_max: usize,
    /// Bytes of records that shards may have yet to apply; at 80 % of it nothing more is accepted. None: any number; the
    /// default. Smaller: 503 sooner while a database is down; larger: disk.
    pub backlog_bytes_max: Option<u64>,
    /// Bytes that stay free on the disk of a local log, though no more than a twentieth of it; default 67108864. Below,
    /// nothing more is accepted.
    pub free_bytes_min: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            value_bytes_max: VALUE_BYTES_MAX,
            write_wait: Duration::from_secs(5),
            default_wait: Duration::ZERO,
            read_wait: Duration::from_secs(2),
            shard_deadline: Duration::from_secs(2),
            connections_max: 10_000,
            head_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(1),
            send_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(20),
            bodies_bytes_max: 256 * 1024 * 1024,
            outcomes_bytes_max: 64 * 1024 * 1024,
            backlog_bytes_max: None,
            free_bytes_min: 64 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let config = Config { write_wait: Duration::from_millis(1500), ..Config::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn durations_are_text_or_seconds_and_unknown_fields_are_errors() {
        let config: Config = serde_json::from_str(r#"{"write_wait":"15m","read_wait":3}"#).unwrap();
        assert_eq!((config.write_wait.as_secs(), config.read_wait.as_secs()), (900, 3));
        assert!(serde_json::from_str::<Config>(r#"{"write_wait":-1}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"write_waits":1}"#).is_err());
    }
}
