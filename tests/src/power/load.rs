//! The load of a recorded run: a few clients that put, delete, count, repeat themselves and give keys a time to live.
//!
//! Invariant: every value and every Idempotency-Key is sent for one purpose only, so that a record names its call.

use anyhow::{Context, Result, bail, ensure};
use millpond_fold::model::Model;
use millpond_schemas::{Op, Outcome, Position, Record};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;

use crate::http::{Answer, Http};

/// Calls at once.
const CLIENTS: u64 = 4;
/// Calls of each client, in each part of a run.
const CALLS: u64 = 40;
/// Keys that they share.
const KEYS: u32 = 24;
const INCREMENT: (&str, &str) = ("application/vnd.millpond.op+json", "{\"op\":\"increment\",\"by\":1}");

/// A call that was answered with a position.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Its key, without the tenant.
    pub key: String,
    /// What it put; none: it was no put.
    pub value: Option<String>,
    /// The answer's status.
    pub status: u16,
    /// Where it lies.
    pub position: Position,
}

/// Runs one part: what was answered.
///
/// # Errors
/// The server does not answer.
pub async fn run(http: &Http, seed: u64, part: u64) -> Result<Vec<Sent>> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let random = StdRng::seed_from_u64(seed.wrapping_add(part * CLIENTS + client));
        let client =
            Client { http: http.clone(), name: format!("{part}-{client}"), random, sent: Vec::new() };
        clients.spawn(client.run());
    }
    let mut sent = Vec::new();
    while let Some(of_client) = clients.join_next().await {
        sent.extend(of_client.context("a client does not panic")??);
    }
    Ok(sent)
}

/// Waits until everything that was sent is applied: a strong read of every key.
///
/// # Errors
/// The server does not answer so.
pub async fn quiet(http: &Http) -> Result<()> {
    for key in 0..KEYS {
        let answer = http.get(&format!("/kv/k{key}?consistency=strong")).send().await?;
        ensure!([200, 404].contains(&answer.status.as_u16()), "{answer:?}");
    }
    Ok(())
}

struct Client {
    http: Http,
    name: String,
    random: StdRng,
    sent: Vec<Sent>,
}

impl Client {
    async fn run(mut self) -> Result<Vec<Sent>> {
        for call in 0..CALLS {
            let key = format!("k{}", self.random.random_range(0..KEYS));
            let path = format!("/kv/{key}");
            let (http, id) = (self.http.clone(), format!("{}-{call}", self.name));
            match self.random.random_range(0..10) {
                0..4 => {
                    let value = self.value(&id);
                    let answer = http.put(&path, value.clone()).send().await?;
                    self.answered(key, Some(value), &answer)?;
                }
                4 => {
                    let value = self.value(&id);
                    let answer = http.put(&path, value.clone()).header("if-none-match", "*").send().await?;
                    self.answered(key, Some(value), &answer)?;
                }
                5 | 6 => {
                    for _ in 0..self.random.random_range(1..3) {
                        let count = http.patch("/kv/count", INCREMENT.0, INCREMENT.1);
                        let answer = count.header("idempotency-key", &id).send().await?;
                        self.answered("count".to_owned(), None, &answer)?;
                    }
                }
                7 => {
                    let answer = http.delete(&path).send().await?;
                    self.answered(key, None, &answer)?;
                }
                8 => {
                    let value = self.value(&id);
                    let answer = http.put(&path, value.clone()).header("kv-ttl", "1s").send().await?;
                    self.answered(key, Some(value), &answer)?;
                }
                _ => {
                    let answer = http.get(&path).send().await?;
                    ensure!([200, 404].contains(&answer.status.as_u16()), "{answer:?}");
                }
            }
        }
        Ok(self.sent)
    }

    /// Short as a rule; some are larger than a disk's sectors, and a few fill segments.
    fn value(&mut self, id: &str) -> String {
        let length = [0, 5, 20, 100, 600, 2000, 5000, 60_000][self.random.random_range(0..8)];
        format!("{id}:{}", "v".repeat(length))
    }

    fn answered(&mut self, key: String, value: Option<String>, answer: &Answer) -> Result<()> {
        let status = answer.status.as_u16();
        ensure!([200, 201, 202, 204, 412].contains(&status), "{answer:?}");
        let position = answer.header("kv-position").parse().with_context(|| format!("{answer:?}"))?;
        self.sent.push(Sent { key, value, status, position });
        Ok(())
    }
}

impl Sent {
    /// As a line of a file.
    pub fn to_line(&self) -> String {
        let value = self.value.as_deref().unwrap_or_default();
        format!("{} {} {} {value}\n", self.status, self.position, self.key)
    }

    /// From its line.
    ///
    /// # Errors
    /// It is none.
    pub fn from_line(line: &str) -> Result<Self> {
        let parts: Vec<&str> = line.splitn(4, ' ').collect();
        let [status, position, key, value] = parts[..] else { bail!("no call: {line}") };
        let value = (!value.is_empty()).then(|| value.to_owned());
        Ok(Self { status: status.parse()?, position: position.parse()?, key: key.to_owned(), value })
    }
}

/// Whether an answer is what its record and the model of the log say.
///
/// # Errors
/// It is not: what is wrong.
pub fn agrees(sent: &Sent, record: &Record, model: &Model) -> Result<()> {
    let Record::Mutation(mutation) = record else { bail!("{sent:?} lies where {record:?} does") };
    ensure!(mutation.key.key_bytes() == sent.key.as_bytes(), "{sent:?} is {mutation:?}");
    if let Some(sent_value) = &sent.value {
        let Op::Put { value, .. } = &mutation.op else { bail!("{sent:?} is {mutation:?}") };
        ensure!(value == sent_value.as_bytes(), "{sent:?} is {mutation:?}");
    }
    let outcome = model.outcomes.get(&sent.position.offset).context("it has an outcome")?;
    let fits = match sent.status {
        202 => true,
        412 => matches!(outcome, Outcome::Rejected(_)),
        _ => matches!(outcome, Outcome::Applied(_)),
    };
    ensure!(fits, "{sent:?} became {outcome:?}");
    Ok(())
}
