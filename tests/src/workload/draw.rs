//! What a client does next, drawn from a seed.
//!
//! Invariant: the same seed and client draw the same, up to versions that were seen in between.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::Options;
use crate::history::{Change, Consistency, Expiry, Id, Intent};

/// Shared keys of each kind; the first ones are drawn most.
const KEYS: f64 = 400.0;
/// A session's own keys.
const OWN_KEYS: u32 = 20;
/// Operations of a batch.
const BATCH: std::ops::Range<usize> = 2..12;
const SHORT_TTL_MS: std::ops::Range<u64> = 1_000..4_000;

/// One operation.
#[derive(Debug)]
pub(super) enum Job {
    /// A single call.
    Write(Intent),
    /// The same, and then what became of it is asked for.
    Look(Intent),
    /// One call; whether it waits.
    Batch(Vec<Intent>, bool),
    /// Straight to Kafka; whether in the plain form.
    Native(Intent, bool),
    /// A read.
    Read(String, Consistency),
}

/// Draws one client's operations.
pub(super) struct Draw {
    random: StdRng,
    client: u64,
    number: u64,
    is_session: bool,
    options: Options,
}

impl Draw {
    pub(super) fn new(options: &Options, client: u64, is_session: bool) -> Self {
        let seed = options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(client);
        let random = StdRng::seed_from_u64(seed);
        Self { random, client, number: 0, is_session, options: options.clone() }
    }

    /// The next operation; `versions`: of keys that the client has seen.
    pub(super) fn job(&mut self, versions: &HashMap<String, String>) -> Job {
        self.number += 1;
        let native = self.options.native_per_cent;
        match self.below(100) {
            percent if percent < native => self.native(versions),
            _ => match self.below(20) {
                0 => Job::Batch(self.lines(versions), self.random.random()),
                1 => Job::Look(self.intent(versions)),
                2..8 => self.read(),
                _ => Job::Write(self.intent(versions)),
            },
        }
    }

    /// The same for a client of its own.
    pub(super) fn job_of(&mut self, client: u64, versions: &HashMap<String, String>) -> Job {
        (self.client, self.number) = (client, 0);
        self.job(versions)
    }

    fn below(&mut self, end: u32) -> u32 {
        self.random.random_range(0..end)
    }

    /// A key of a kind: of its own, or a shared one, about as often as Zipf would have it.
    fn key(&mut self, kind: char) -> String {
        if self.is_session && self.below(4) == 0 {
            let own = self.below(OWN_KEYS);
            return format!("{kind}-own-{}-{own}", self.client);
        }
        let rank = KEYS.powf(self.random.random::<f64>()).floor();
        format!("{kind}-{rank}")
    }

    fn read(&mut self) -> Job {
        let kind = ['k', 'n', 'a', 'j', 't'][self.below(5) as usize];
        let key = self.key(kind);
        let consistency = match (self.is_session, self.below(4)) {
            (true, _) => Consistency::Session,
            (false, 0) => Consistency::Strong,
            (false, _) => Consistency::Eventual,
        };
        Job::Read(key, consistency)
    }

    /// Some of a few keys, so that one batch has many of one key.
    fn lines(&mut self, versions: &HashMap<String, String>) -> Vec<Intent> {
        let (count, name) = (self.random.random_range(BATCH), self.unique());
        let mut lines: Vec<Intent> = (0..count)
            .map(|_| {
                self.number += 1;
                Intent { idempotency_key: None, ..self.intent(versions) }
            })
            .collect();
        if self.random.random() {
            for (number, line) in (1..).zip(&mut lines) {
                line.idempotency_key = Some(format!("{name}:{number}"));
            }
        }
        lines
    }

    fn native(&mut self, versions: &HashMap<String, String>) -> Job {
        if self.below(100) < self.options.poison_per_cent {
            let (key, name) = (self.key('k'), self.unique());
            let headers = vec![("kv-format".to_owned(), "record".into())];
            let poison = Change::Poison { headers, value: Some(format!("no record: {name}").into()) };
            return Job::Native(Intent::new(format!("default/{key}"), poison), false);
        }
        let mut intent = Intent { idempotency_key: None, ..self.intent(versions) };
        let is_plain = matches!(intent.change, Change::Put { .. } | Change::Delete) && self.random.random();
        if self.below(3) > 0 {
            let hex = format!("{:032x}", (u128::from(self.client) + 1) << 64 | u128::from(self.number));
            intent.id = Some(Id { hex, durable: false });
        }
        Job::Native(intent, is_plain)
    }

    /// Names its client and its number.
    fn unique(&self) -> String {
        format!("c{}-{}", self.client, self.number)
    }

    fn intent(&mut self, versions: &HashMap<String, String>) -> Intent {
        let name = self.unique();
        let mut intent = match self.below(if self.options.ttl { 100 } else { 88 }) {
            0..35 => self.put(versions, &name),
            35..43 => Intent::new(self.key('k'), Change::Delete),
            43..62 => {
                let (key, by, initial) =
                    (self.key('n'), i64::from(self.below(9)) + 1, i64::from(self.below(3)));
                Intent::new(key, Change::Increment { by, initial })
            }
            62..73 => Intent::new(self.key('a'), Change::Append { value: format!("{name},").into() }),
            // Now and then what grows begins anew.
            73..75 => Intent::put(self.key('a'), format!("{name},")),
            75..88 => {
                let member = self.client % 16;
                let patch = format!("{{\"c{member}\":\"{name}\"}}").into();
                Intent::new(self.key('j'), Change::MergePatch { patch })
            }
            88..96 => {
                let (key, ttl) = (self.key('t'), self.random.random_range(SHORT_TTL_MS));
                let (value, content_type) = (name.clone().into(), "text/plain".to_owned());
                Intent::new(key, Change::Put { value, content_type, expiry: Some(Expiry::TtlMs(ttl)) })
            }
            _ => {
                let modes = ["set", "extend", "only_longer", "only_shorter", "if_none"];
                let mode = modes[self.below(5) as usize].to_owned();
                let expiry = Some(Expiry::TtlMs(self.random.random_range(SHORT_TTL_MS)));
                Intent::new(self.key('t'), Change::Ttl { mode, expiry })
            }
        };
        if self.below(10) < 4 {
            intent.idempotency_key = Some(name);
        }
        intent
    }

    /// A put, with a condition sometimes.
    fn put(&mut self, versions: &HashMap<String, String>, name: &str) -> Intent {
        let key = self.key('k');
        let length = self.random.random_range(0..80);
        let mut intent = Intent::put(key.clone(), format!("{name}-{:.<length$}", ""));
        match self.below(6) {
            0 => intent.if_absent = true,
            1 => intent.if_match = versions.get(&key).cloned(),
            _ => {}
        }
        intent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u64, client: u64) -> Vec<String> {
        let options = Options { seed, poison_per_cent: 20, ..Options::default() };
        let (mut draw, none) = (Draw::new(&options, client, true), HashMap::new());
        (0..500).map(|_| format!("{:?}", draw.job(&none))).collect()
    }

    #[test]
    fn a_seed_draws_the_same_again_and_every_client_its_own() {
        assert_eq!(drawn(7, 1), drawn(7, 1));
        assert_ne!(drawn(7, 1), drawn(7, 2));
        assert_ne!(drawn(7, 1), drawn(8, 1));
    }

    #[test]
    fn every_operation_and_every_door_is_drawn() {
        let all = drawn(7, 1).concat();
        let names = [
            "Put",
            "Delete",
            "Ttl",
            "Increment",
            "Append",
            "MergePatch",
            "Poison",
            "TtlMs",
            "if_absent: true",
        ];
        let jobs =
            ["Write(", "Look(", "Batch(", "Native(", "Read(", "Session", "idempotency_key: Some", "id: Some"];
        let missing: Vec<_> = names.iter().chain(&jobs).filter(|name| !all.contains(**name)).collect();
        assert!(missing.is_empty(), "never drawn: {missing:?}");
    }
}
