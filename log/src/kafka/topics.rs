//! The topics: their names, and how they must be set.
//!
//! Invariant: `init` makes topics that the start check passes.

use std::{fmt::Display, time::Duration};

use millpond_schemas::{Generation, limits};

use super::config::Config;

/// How long outcomes are kept: far longer than anyone waits. Shards keep what must last.
const OUTCOMES_RETENTION: Duration = Duration::from_hours(1);
/// How long dead letters are kept. The shards' rows are the truth.
const DEAD_LETTERS_RETENTION: Duration = Duration::from_hours(24 * 90);
/// At most so many partitions of outcomes.
const OUTCOME_PARTITIONS_MAX: u32 = 16;
/// A record's envelope, key, headers and batch, besides its value.
const ENVELOPE_BYTES: usize = 128 << 10;
/// What a dead letter's headers may add to its record.
const DEAD_LETTER_BYTES: usize = 1 << 20;

/// What `millpond init` makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Which life of the log.
    pub generation: Generation,
    /// P of it.
    pub partitions: u32,
    /// The longest value.
    pub value_bytes_max: usize,
}

/// What a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Mutations,
    Outcomes,
    DeadLetters,
    Control,
}

impl Purpose {
    pub(super) const ALL: [Self; 4] = [Self::Mutations, Self::Outcomes, Self::DeadLetters, Self::Control];

    pub(super) fn topic(self, prefix: &str, generation: Generation) -> String {
        match self {
            Self::Mutations => format!("{prefix}.mutations.{}", generation.0),
            Self::Outcomes => format!("{prefix}.outcomes"),
            Self::DeadLetters => format!("{prefix}.deadletters"),
            Self::Control => format!("{prefix}.control"),
        }
    }

    pub(super) fn partitions(self, topics: &Topics) -> u32 {
        match self {
            Self::Mutations => topics.partitions,
            Self::Outcomes | Self::DeadLetters => topics.partitions.min(OUTCOME_PARTITIONS_MAX),
            Self::Control => 1,
        }
    }

    /// Whether another number of partitions than `init` makes is an error.
    pub(super) fn pins_partitions(self) -> bool {
        matches!(self, Self::Mutations | Self::Control)
    }

    /// Every setting that the start check looks at, as `init` sets it.
    pub(super) fn settings(self, config: &Config, topics: &Topics) -> Vec<Setting> {
        let mutation_bytes = topics.value_bytes_max + ENVELOPE_BYTES;
        let (retention, message_bytes) = match self {
            Self::Mutations => (None, mutation_bytes),
            Self::Control => (None, 1 << 20),
            Self::Outcomes => (Some(OUTCOMES_RETENTION), limits::OUTCOME_BYTES_MAX + ENVELOPE_BYTES),
            Self::DeadLetters => (Some(DEAD_LETTERS_RETENTION), mutation_bytes + DEAD_LETTER_BYTES),
        };
        let retention_ms = retention.map_or(-1, |long| i64::try_from(long.as_millis()).unwrap_or(-1));
        let kept = if retention.is_some() { Judged::Free } else { Judged::Equal };
        let insync = if config.dev { Judged::Free } else { Judged::AtLeast };
        vec![
            Setting::new("cleanup.policy", "delete", Judged::Equal),
            Setting::new("retention.ms", retention_ms, kept),
            Setting::new("retention.bytes", -1, kept),
            Setting::new("message.timestamp.type", "LogAppendTime", Judged::Equal),
            Setting::new("max.message.bytes", message_bytes, Judged::AtLeast),
            Setting::new("min.insync.replicas", if config.dev { 1 } else { 2 }, insync),
            Setting::new("unclean.leader.election.enable", false, Judged::Equal),
        ]
    }
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) judged: Judged,
}

/// What the start check wants of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Equal,
    AtLeast,
    /// The operator's to choose.
    Free,
}

impl Setting {
    fn new(name: &'static str, value: impl Display, judged: Judged) -> Self {
        Self { name, value: value.to_string(), judged }
    }

    /// Whether a topic with this value will do.
    pub(super) fn passes(&self, value: &str) -> bool {
        match self.judged {
            Judged::Free => true,
            Judged::Equal => value == self.value,
            Judged::AtLeast => {
                let number = |text: &str| text.parse::<i64>().ok();
                number(value).zip(number(&self.value)).is_some_and(|(value, wanted)| value >= wanted)
            }
        }
    }
}

/// Replicas of every topic.
pub(super) fn replication(config: &Config) -> i32 {
    if config.dev { 1 } else { 3 }
}
