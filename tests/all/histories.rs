//! A history of the embedded server, from its calls to its copies, passes the checker; one that was told a lie does not.

use anyhow::{Context, Result};
use millpond_tests::{
    checker::{Invariant, Source, check},
    history::{
        Change, Consistency, Door, Event, Expiry, Fault, Intent, Lag, Op, Read, Recorder, Run, Seen,
        WriteResult, collect,
    },
    http::Answer,
    server::Server,
};
use tempfile::TempDir;

const KEYS: u32 = 7;
const ROUNDS: u32 = 60;

/// One client with a session, which sends every kind of write.
struct Client<'a> {
    recorder: &'a Recorder,
    tokens: Vec<String>,
}

impl Client<'_> {
    async fn write(&self, server: &Server, number: u32) -> Result<()> {
        let key = format!("key-{}", number % KEYS);
        let path = format!("/kv/{key}");
        let (value, http) = (format!("value-{number}"), &server.http);
        let mut intent = Intent::put(key.as_str(), value.as_str());
        let call = match number % 6 {
            0 => {
                intent.if_absent = true;
                http.put(&path, value).header("if-none-match", "*")
            }
            1 => {
                let put = Change::Put {
                    value: value.as_str().into(),
                    content_type: "text/plain".into(),
                    expiry: Some(Expiry::TtlMs(90_000)),
                };
                intent.change = put;
                http.put(&path, value).header("content-type", "text/plain").header("kv-ttl", "90s")
            }
            2 => {
                intent.change = Change::Increment { by: 5, initial: 0 };
                http.patch(&path, "application/vnd.millpond.op+json", r#"{"op":"increment","by":5}"#)
            }
            3 => {
                intent.change = Change::Delete;
                intent.idempotency_key = Some(format!("delete-{}", number / 12));
                http.delete(&path).header("idempotency-key", &format!("delete-{}", number / 12))
            }
            4 => http.put(&path, value).header("prefer", "wait=30"),
            _ => http.put(&path, value),
        };
        let start_us = self.recorder.now_us();
        let answer = call.send().await;
        let result = WriteResult::of_answer(answer.as_ref());
        let (client, session, door, end_us) = (1, None, Door::Http, self.recorder.now_us());
        self.recorder.record(&Event::Op(Op { client, session, door, intent, start_us, end_us, result }));
        Ok(())
    }

    async fn read(&mut self, server: &Server, number: u32) -> Result<Answer> {
        let key = format!("key-{}", number % KEYS);
        let min_position = (!self.tokens.is_empty()).then(|| self.tokens.join(","));
        let consistency = if min_position.is_some() { Consistency::Session } else { Consistency::Strong };
        let path = if min_position.is_some() { "" } else { "?consistency=strong" };
        let call = server.http.get(&format!("/kv/{key}{path}"));
        let call = match &min_position {
            Some(tokens) => call.header("kv-min-position", tokens),
            None => call,
        };
        let start_us = self.recorder.now_us();
        let answer = call.send().await?;
        self.tokens.push(answer.header("kv-position").to_owned());
        self.recorder.record(&Event::Read(Read {
            client: 1,
            session: Some(1),
            tenant: "default".to_owned(),
            key: key.into(),
            consistency,
            min_position,
            start_us,
            end_us: self.recorder.now_us(),
            seen: Seen::of_answer(Ok(&answer)),
        }));
        Ok(answer)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_embedded_server_says_and_holds_is_what_its_log_says() -> Result<()> {
    let folder = TempDir::new()?;
    let (data, path) = (folder.path().join("data"), folder.path().join("history.jsonl"));
    let recorder = Recorder::create(&path)?;
    recorder.record(&Event::Run(Run { drill: "embedded".to_owned(), skew_ms: 100, ..Run::default() }));
    let mut client = Client { recorder: &recorder, tokens: Vec::new() };
    let mut server = Server::small(&data).await?;
    for number in 0..ROUNDS {
        client.write(&server, number).await?;
        client.read(&server, number / 2).await?;
        if number == ROUNDS / 2 {
            let at_us = recorder.now_us();
            let (name, target) = ("kill -9".to_owned(), "server".to_owned());
            recorder.record(&Event::Fault(Fault { name, target, at_us, until_us: None }));
            server.kill().await?;
            server = Server::small(&data).await?;
        }
    }
    for number in 0..KEYS {
        let answer = client.read(&server, number).await?;
        anyhow::ensure!(answer.status == 200 || answer.status == 404, "{answer:?}");
    }
    recorder.record(&Event::Lag(Lag { at_us: recorder.now_us(), records: vec![0; 8], acked: 1 }));
    server.terminate().await?;
    collect::embedded(&data, &recorder).await.context("collect")?;
    recorder.finish()?;
    let verdict = check(&Source::File(&path))?;
    assert!(verdict.is_pass(), "{verdict:#?}");
    assert!(verdict.counts.ok >= 50 && verdict.counts.copies >= 2, "{:?}", verdict.counts);
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replace("\"value\":\"value-4\"", "\"value\":\"value-x\""))?;
    let verdict = check(&Source::File(&path))?;
    assert!(verdict.violated.contains_key(&Invariant::I1), "{verdict:#?}");
    Ok(())
}
