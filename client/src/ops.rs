//! The ops listener of a process: is it ready, how far behind is it, what could never apply; and operators' decisions.
//!
//! Not the api: nothing here reads or writes a key. Invariant: "not ready" is an answer, not an error.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    Error, Options, Position, Retry, RetryPolicy, answer, opaque,
    transport::{Call, Reply, Transport},
};

/// How long a process may look whether a decision helps.
const DECISION_WAIT: Duration = Duration::from_secs(30);

/// A connection to one ops listener. [`Options::server`] is its address.
pub struct Ops {
    transport: Transport,
    retry: RetryPolicy,
}

/// How a process is, as `/readyz?verbose` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it should get calls.
    pub ready: bool,
    /// Every part.
    pub checks: Vec<Check>,
}

/// One part of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Which, such as `log` or `partition 3`.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// Why, in words; may be empty.
    pub detail: String,
}

/// How a part of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It works.
    Ok,
    /// Something is wrong that does not keep the process from serving.
    Degraded,
    /// The process should not get calls.
    Failed,
}

/// How far a partition is behind its log. What could not be asked is `None`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Lag {
    /// Which.
    pub partition: u32,
    /// The shard that serves it.
    pub shard: Option<String>,
    /// Next offset to be issued.
    pub log_end: Option<i64>,
    /// Highest offset known to be applied; -1: none.
    pub applied: Option<i64>,
    /// Records between the two.
    pub lag_records: Option<i64>,
    /// Since when the first of these waits.
    pub lag_seconds: Option<f64>,
}

/// Records that could never apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetters {
    /// How many there are.
    pub total: u64,
    /// How many of each reason.
    pub reasons: BTreeMap<String, u64>,
    /// The newest first, as many as were asked for.
    pub newest: Vec<DeadLetter>,
    /// Whether every partition answered.
    pub complete: bool,
    /// Shards that did not.
    pub unreachable: Vec<String>,
}

/// A record that could never apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it lies on the log.
    pub position: Position,
    /// When it was appended, RFC 3339.
    pub time: String,
    /// Why, one stable word.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
    /// Whose key it is of; `None`: the record's key is not `tenant/key`.
    pub tenant: Option<String>,
    /// The key, or what stands in its place; `None`: the record has none.
    pub key: Option<Bytes>,
    /// Bytes of the record's value; `None`: it has none.
    pub value_bytes: Option<u64>,
}

/// The keys that are written most, by one writer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Hottest {
    /// The time that the counts are of: the last one to two minutes.
    pub window_seconds: f64,
    /// Mutations of all keys in it.
    pub mutations: u64,
    /// At most 64, most written first.
    pub keys: Vec<HotKey>,
}

/// One key, by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HotKey {
    /// XXH3-64 of `tenant/key`, 16 hex digits.
    pub hash: String,
    /// Whose it is.
    pub tenant: String,
    /// Where it belongs.
    pub partition: u32,
    /// Its mutations, about.
    pub count: u64,
    /// By how much the count may be too high.
    pub error: u64,
}

impl Ops {
    /// Checks the options; connects with the first call.
    ///
    /// # Errors
    /// [`Error::Invalid`]: the address cannot be used.
    pub fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self { transport: Transport::new(options)?, retry: options.retry })
    }

    /// Whether the process is ready, and why not.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let reply = self.get("/readyz?verbose", |status| matches!(status.as_u16(), 200 | 503)).await?;
        let text = std::str::from_utf8(&reply.body).unwrap_or_default();
        let ready = reply.status == StatusCode::OK;
        let text = text.trim_end();
        let (checks, last) = text.rsplit_once('\n').unwrap_or(("", text));
        // The last line says what the status says.
        if last != if ready { "ok" } else { "not ready" } {
            return Err(Error::Protocol("no probe of a Millpond process".into()));
        }
        Ok(Readiness { ready, checks: checks.lines().filter_map(check).collect() })
    }

    /// Every partition's lag; `None`: the process has no api, and does not know.
    pub async fn lag(&self) -> Result<Option<Vec<Lag>>, Error> {
        #[derive(Deserialize)]
        struct Body {
            partitions: Vec<Lag>,
        }
        Ok(self.admin::<Body>("/admin/lag").await?.map(|body| body.partitions))
    }

    /// How many records could never apply, and the `limit` newest (1..=1000) of all partitions, or of one.
    /// `None`: the process has no api, and does not know.
    pub async fn dead_letters(
        &self,
        partition: Option<u32>,
        limit: u32,
    ) -> Result<Option<DeadLetters>, Error> {
        let of = partition.map(|partition| format!("&partition={partition}")).unwrap_or_default();
        let body: Option<LettersBody> = self.admin(&format!("/admin/dead-letters?limit={limit}{of}")).await?;
        body.map(LettersBody::read).transpose()
    }

    /// The keys that are written most; `None`: the process does not write.
    pub async fn hottest(&self) -> Result<Option<Hottest>, Error> {
        self.admin("/admin/hot").await
    }

    /// Has the process judge what an operator decides, such as `skip 1-3-42`, and unless it is a dry run make it.
    /// `by`: who, and why. Answers what it tells; `None`: the process does not hold the control topic.
    ///
    /// # Errors
    /// [`Error::Refused`]: says where the partition stands and why.
    pub async fn decide(
        &self,
        decision: &str,
        by: (&str, &str),
        dry_run: bool,
    ) -> Result<Option<Value>, Error> {
        let body = json!({"decision": decision, "who": by.0, "why": by.1, "dry_run": dry_run});
        self.post("/admin/decisions", &body).await
    }

    /// Has the mutation of a dead letter appended anew, unless it is a dry run. `by`: who, and why.
    /// Answers what the process tells; `None`: it has no api.
    ///
    /// # Errors
    /// [`Error::Refused`]: there is no such letter, or it would be one again.
    pub async fn retry_dead_letter(
        &self,
        position: &Position,
        by: (&str, &str),
        dry_run: bool,
    ) -> Result<Option<Value>, Error> {
        let body = json!({"position": position, "who": by.0, "why": by.1, "dry_run": dry_run});
        self.post("/admin/dead-letters/retry", &body).await
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Option<Value>, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = Call {
            method: Method::POST,
            path: path.to_owned(),
            headers,
            body: body.to_string().into(),
            wait: DECISION_WAIT,
            repeatable: false,
            answers: |status| status == StatusCode::OK,
        };
        match self.transport.send(&call, self.retry, &|_: Retry<'_>| {}).await {
            Ok(reply) => answer::json(&reply).map(Some),
            Err(error) if error.problem().is_some_and(|problem| problem.code == "route-unknown") => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn admin<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let reply = self.get(path, |status| matches!(status.as_u16(), 200 | 404)).await?;
        if reply.status == StatusCode::NOT_FOUND { Ok(None) } else { answer::json(&reply).map(Some) }
    }

    async fn get(&self, path: &str, answers: fn(StatusCode) -> bool) -> Result<Reply, Error> {
        let call = Call {
            method: Method::GET,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            wait: Duration::ZERO,
            repeatable: true,
            answers,
        };
        self.transport.send(&call, self.retry, &|_: Retry<'_>| {}).await
    }
}

/// `[+]log ok`, `[~]partition 3 degraded: halted, log-gap: …`.
fn check(line: &str) -> Option<Check> {
    let rest = line.strip_prefix('[')?;
    let (sign, rest) = rest.split_at_checked(1)?;
    let (health, word) = match sign {
        "+" => (Health::Ok, " ok"),
        "~" => (Health::Degraded, " degraded"),
        "-" => (Health::Failed, " failed"),
        _ => return None,
    };
    let rest = rest.strip_prefix(']')?;
    let (name, detail) = rest.split_once(word)?;
    let detail = detail.strip_prefix(": ").unwrap_or_default();
    Some(Check { name: name.to_owned(), health, detail: detail.to_owned() })
}

#[derive(Deserialize)]
struct LettersBody {
    total: u64,
    reasons: BTreeMap<String, u64>,
    dead_letters: Vec<LetterBody>,
    complete: bool,
    unreachable: Vec<String>,
}

#[derive(Deserialize)]
struct LetterBody {
    position: Position,
    time: String,
    reason: String,
    detail: String,
    tenant: Option<String>,
    key: Option<String>,
    key_b64: Option<String>,
    record_key: Option<String>,
    record_key_b64: Option<String>,
    value_bytes: Option<u64>,
}

impl LettersBody {
    fn read(self) -> Result<DeadLetters, Error> {
        Ok(DeadLetters {
            total: self.total,
            reasons: self.reasons,
            newest: self.dead_letters.into_iter().map(LetterBody::read).collect::<Result<_, _>>()?,
            complete: self.complete,
            unreachable: self.unreachable,
        })
    }
}

impl LetterBody {
    fn read(self) -> Result<DeadLetter, Error> {
        let key = opaque::either(self.key, self.key_b64.as_deref())?;
        let raw = opaque::either(self.record_key, self.record_key_b64.as_deref())?;
        Ok(DeadLetter {
            position: self.position,
            time: self.time,
            reason: self.reason,
            detail: self.detail,
            tenant: self.tenant,
            key: key.or(raw),
            value_bytes: self.value_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_server::{TestServer, problem, respond};

    const NOT_READY: &str = "[+]serving ok\n[-]log failed: log-diverged: another\n\
        [~]partition 3 degraded: halted, log-gap: the log goes on at offset 7\nnot ready\n";

    #[tokio::test]
    async fn not_ready_is_an_answer_with_its_reasons() {
        let server = TestServer::start(|_| respond(503, &[], NOT_READY)).await;
        let readiness = Ops::new(&server.options()).unwrap().readiness().await.unwrap();
        assert!(!readiness.ready);
        assert_eq!(server.seen().len(), 1, "it is not asked again");
        let check =
            |name: &str, health, detail: &str| Check { name: name.into(), health, detail: detail.into() };
        let expected = [
            check("serving", Health::Ok, ""),
            check("log", Health::Failed, "log-diverged: another"),
            check("partition 3", Health::Degraded, "halted, log-gap: the log goes on at offset 7"),
        ];
        assert_eq!(readiness.checks, expected);
    }

    #[tokio::test]
    async fn what_is_no_probe_is_not_understood() {
        for body in ["<html>", "", "[+]log ok\n"] {
            let server = TestServer::start(move |_| respond(200, &[], body)).await;
            let answer = Ops::new(&server.options()).unwrap().readiness().await;
            assert!(matches!(answer, Err(Error::Protocol(_))), "{body}");
        }
    }

    #[tokio::test]
    async fn a_process_without_an_api_does_not_know_lag_and_dead_letters() {
        let server = TestServer::start(|_| problem(404, "route-unknown", "none")).await;
        let ops = Ops::new(&server.options()).unwrap();
        assert_eq!(ops.lag().await.unwrap(), None);
        assert_eq!(ops.dead_letters(Some(2), 5).await.unwrap(), None);
        assert_eq!(server.seen()[1].path, "/admin/dead-letters?limit=5&partition=2");
    }

    #[tokio::test]
    async fn dead_letters_keep_their_keys_whatever_those_are() {
        let body = r#"{"total":3,"reasons":{"undecodable":3},"complete":false,"unreachable":["shard-1"],"dead_letters":[
            {"position":"1-0-7","time":"t","reason":"undecodable","detail":"d","tenant":"acme","key":"k","value_bytes":3},
            {"position":"1-0-6","time":"t","reason":"key-invalid","detail":"d","record_key_b64":"/w==","value_bytes":null},
            {"position":"1-0-5","time":"t","reason":"missing-key","detail":"d","value_bytes":0}]}"#;
        let server = TestServer::start(move |_| respond(200, &[], body)).await;
        let letters = Ops::new(&server.options()).unwrap().dead_letters(None, 20).await.unwrap().unwrap();
        let keys: Vec<_> = letters.newest.iter().map(|letter| letter.key.as_deref()).collect();
        assert_eq!(keys, [Some(&b"k"[..]), Some(&b"\xff"[..]), None]);
        assert_eq!((letters.total, letters.complete, letters.unreachable.len()), (3, false, 1));
    }
}
