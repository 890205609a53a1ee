//! A drill's own writes, beside the workload's: in the history like those.

use std::net::SocketAddr;

use crate::{
    history::{Door, Event, Intent, Op, Recorder, WriteResult},
    http::Http,
    workload::{call, line, results},
};

/// Writes through one api.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) recorder: Recorder,
    pub(super) address: SocketAddr,
    /// Its number among clients: one that the workload does not use.
    pub(super) client: u64,
}

impl Caller {
    /// Sends it once.
    pub(super) async fn send(&self, intent: &Intent) -> WriteResult {
        let start_us = self.recorder.now_us();
        let http = Http::new(self.address);
        let answer = call(&http, intent).send().await;
        let result = WriteResult::of_answer(answer.as_ref());
        let (client, end_us, intent) = (self.client, self.recorder.now_us(), intent.clone());
        let op =
            Op { client, session: None, door: Door::Http, intent, start_us, end_us, result: result.clone() };
        self.recorder.record(&Event::Op(op));
        result
    }

    /// Sends a batch once; what each line was told.
    pub(super) async fn batch(&self, intents: &[Intent]) -> Vec<WriteResult> {
        let start_us = self.recorder.now_us();
        let body: Vec<String> = intents.iter().map(line).collect();
        let http = Http::new(self.address);
        let answer = http.post("/batch", "application/x-ndjson", body.join("\n")).send().await;
        let told = results(answer.as_ref(), intents.len());
        let end_us = self.recorder.now_us();
        for (intent, result) in intents.iter().zip(&told) {
            let (client, intent, result) = (self.client, intent.clone(), result.clone());
            let door = Door::Batch;
            let op = Op { client, session: None, door, intent, start_us, end_us, result };
            self.recorder.record(&Event::Op(op));
        }
        told
    }
}

/// Whether the log has it.
pub(super) fn is_known(result: &WriteResult) -> bool {
    matches!(result, WriteResult::Ok(_))
}

/// The problem's code; `ok` where there is none.
pub(super) fn code(result: &WriteResult) -> &str {
    match result {
        WriteResult::Ok(_) => "ok",
        WriteResult::Failed { code, .. } | WriteResult::Unknown { code, .. } => code,
    }
}
