//! One client: what it was told decides what it does with an operation, never what it believes.
//!
//! Invariant: a call that may be on the log is sent again only where an id makes the repeat harmless.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::Context;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Counters, batch, draw::Job, native::Native, send, token::Token};
use crate::{
    history::{Consistency, Door, Event, Intent, Look, Op, Read, Recorder, Seen, Told, WriteResult},
    http::{Answer, Call, Http},
};

/// How long a client waits for an answer; longer than the api makes it wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// How often what nobody knows is sent again.
const REPEATS_MAX: u32 = 20;
/// How often what was not accepted is.
const TRIES_MAX: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Versions that a client remembers.
const VERSIONS_MAX: usize = 1000;

/// What all clients share.
pub(super) struct Shared {
    pub(super) recorder: Recorder,
    pub(super) counters: Arc<Counters>,
    pub(super) apis: Vec<SocketAddr>,
    pub(super) native: Option<Native>,
    pub(super) stop: CancellationToken,
}

/// One client.
pub(super) struct Client {
    shared: Arc<Shared>,
    number: u64,
    session: Option<u64>,
    /// Which api it uses.
    api: usize,
    https: Vec<Http>,
    token: Token,
    versions: HashMap<String, String>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, number: u64, has_session: bool) -> Self {
        let https = shared.apis.iter().map(|address| Http::new(*address)).collect::<Vec<_>>();
        let api = usize::try_from(number).unwrap_or_default() % https.len();
        let session = has_session.then_some(number);
        Self { shared, number, session, api, https, token: Token::default(), versions: HashMap::new() }
    }

    pub(super) fn stop(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// By key: what it has seen.
    pub(super) fn versions(&self) -> &HashMap<String, String> {
        &self.versions
    }

    pub(super) async fn run(&mut self, job: Job) {
        let counters = Arc::clone(&self.shared.counters);
        let counter = match job {
            Job::Read(key, consistency) => match self.read(key, consistency).await {
                Seen::Failed { .. } => &counters.failed,
                Seen::Found(_) | Seen::Absent { .. } => &counters.ok,
            },
            Job::Write(intent) => counters.of(&self.write(&intent).await),
            Job::Look(intent) => {
                let written = self.write(&intent).await;
                self.look(&written).await;
                counters.of(&written)
            }
            Job::Batch(lines, waits) => counters.of(&self.batch(&lines, waits).await),
            Job::Native(intent, is_plain) => counters.of(&self.native(&intent, is_plain).await),
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    async fn read(&mut self, key: String, consistency: Consistency) -> Seen {
        let http = &self.https[self.api];
        let min_position = self.token.text().filter(|_| self.session.is_some());
        let (path, consistency) = match (consistency, &min_position) {
            (Consistency::Strong, _) => (format!("/kv/{key}?consistency=strong"), Consistency::Strong),
            (Consistency::Session, Some(_)) => (format!("/kv/{key}"), Consistency::Session),
            _ => (format!("/kv/{key}"), Consistency::Eventual),
        };
        let mut call = http.get(&path);
        if let Some(token) = &min_position {
            call = call.header("kv-min-position", token);
        }
        let start_us = self.shared.recorder.now_us();
        let answer = answer(call).await;
        let end_us = self.shared.recorder.now_us();
        let seen = Seen::of_answer(answer.as_ref());
        match &seen {
            Seen::Found(found) => {
                self.remember(key.clone(), found.version.clone());
                self.token.see(&found.position);
            }
            Seen::Absent { position } => self.token.see(position),
            Seen::Failed { .. } => self.fail_over(),
        }
        let event = Read {
            client: self.number,
            session: self.session,
            tenant: "default".to_owned(),
            key: key.into(),
            consistency,
            min_position,
            start_us,
            end_us,
            seen: seen.clone(),
        };
        self.shared.recorder.record(&Event::Read(event));
        seen
    }

    async fn write(&mut self, intent: &Intent) -> WriteResult {
        let mut tries = 0;
        loop {
            tries += 1;
            let start_us = self.shared.recorder.now_us();
            let answer = answer(send::call(&self.https[self.api], intent)).await;
            let result = WriteResult::of_answer(answer.as_ref());
            self.told(intent, Door::Http, start_us, &result);
            if !self.again(&result, intent.idempotency_key.is_some(), tries).await {
                return result;
            }
        }
    }

    /// Asks what became of a write that has a position.
    async fn look(&mut self, written: &WriteResult) {
        let WriteResult::Ok(Told { position: Some(position), .. }) = written else { return };
        let call = self.https[self.api].get(&format!("/mutations/{position}?wait=2s"));
        let Ok(answer) = answer(call).await else { return };
        let Some(told) = batch::looked(&answer) else { return };
        let end_us = self.shared.recorder.now_us();
        self.shared.recorder.record(&Event::Look(Look { client: self.number, end_us, told }));
    }

    /// The result of the last try: of the line of which least is known.
    async fn batch(&mut self, lines: &[Intent], waits: bool) -> WriteResult {
        let body: Vec<String> = lines.iter().map(send::line).collect();
        let key = lines[0].idempotency_key.as_deref().and_then(|key| key.strip_suffix(":1"));
        let mut tries = 0;
        loop {
            tries += 1;
            let start_us = self.shared.recorder.now_us();
            let mut call = self.https[self.api].post("/batch", "application/x-ndjson", body.join("\n"));
            if waits {
                call = call.header("prefer", "wait=5");
            }
            if let Some(key) = key {
                call = call.header("idempotency-key", key);
            }
            let answer = answer(call).await;
            if let Ok(answer) = &answer {
                self.token.see(answer.header("kv-position"));
            }
            let results = batch::results(answer.as_ref(), lines.len());
            for (intent, result) in lines.iter().zip(&results) {
                self.told(intent, Door::Batch, start_us, result);
            }
            let of_kind = |is: fn(&WriteResult) -> bool| results.iter().find(|result| is(result)).cloned();
            let worst = of_kind(|result| matches!(result, WriteResult::Unknown { .. }))
                .or_else(|| of_kind(|result| matches!(result, WriteResult::Failed { .. })))
                .unwrap_or_else(|| results[0].clone());
            // Lines that are on the log already are sent again only with ids.
            let again =
                key.is_some() || results.iter().all(|result| matches!(result, WriteResult::Failed { .. }));
            if !again || !self.again(&worst, key.is_some(), tries).await {
                return worst;
            }
        }
    }

    async fn native(&mut self, intent: &Intent, is_plain: bool) -> WriteResult {
        let shared = Arc::clone(&self.shared);
        let Some(native) = &shared.native else { return self.write(intent).await };
        let mut tries = 0;
        loop {
            tries += 1;
            let start_us = self.shared.recorder.now_us();
            let result = native.send(intent, is_plain).await;
            self.told(intent, Door::Kafka, start_us, &result);
            if !self.again(&result, intent.id.is_some(), tries).await {
                return result;
            }
        }
    }

    fn told(&mut self, intent: &Intent, door: Door, start_us: i64, result: &WriteResult) {
        if let WriteResult::Ok(told) = result {
            let key = send::text(&intent.key.0);
            if let Some(position) = told.position.as_deref().filter(|_| !told.duplicate) {
                self.token.see(position);
            }
            if let Some(version) = &told.version {
                self.remember(key, version.clone());
            }
        }
        self.shared.recorder.record(&Event::Op(Op {
            client: self.number,
            session: self.session,
            door,
            intent: intent.clone(),
            start_us,
            end_us: self.shared.recorder.now_us(),
            result: result.clone(),
        }));
    }

    /// Whether to send it once more, and the pause before.
    async fn again(&mut self, result: &WriteResult, is_repeatable: bool, tries: u32) -> bool {
        let again = match result {
            WriteResult::Ok(_) => false,
            WriteResult::Failed { status, .. } => matches!(status, 0 | 429 | 503) && tries < TRIES_MAX,
            WriteResult::Unknown { .. } => is_repeatable && tries < REPEATS_MAX,
        };
        if again {
            self.fail_over();
            sleep((PAUSE * tries).min(PAUSE_MAX)).await;
        }
        again
    }

    fn fail_over(&mut self) {
        self.api = (self.api + 1) % self.https.len();
    }

    fn remember(&mut self, key: String, version: String) {
        if self.versions.len() >= VERSIONS_MAX {
            self.versions.clear();
        }
        self.versions.insert(key, version);
    }
}

impl Counters {
    fn of(&self, result: &WriteResult) -> &std::sync::atomic::AtomicU64 {
        match result {
            WriteResult::Ok(_) => &self.ok,
            WriteResult::Failed { .. } => &self.failed,
            WriteResult::Unknown { .. } => &self.unknown,
        }
    }
}

async fn answer(call: Call<'_>) -> anyhow::Result<Answer> {
    timeout(ANSWER_WITHIN, call.send()).await.context("no answer came")?
}
