//! A lane: sends its batches one after another, each until every line of it has its answer.
//!
//! Invariant: a line is given up only on an answer that would be the same again; until then its lane stands still, so
//! that no later line of its key overtakes it. (A line that fails for the moment inside a batch whose later lines were
//! accepted has been overtaken by the server itself.)

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::{
    frontier::Delivered,
    report::{Event, Failure, Observer},
    run::Note,
    window::Batch,
};
use crate::{BatchAnswer, BatchOptions, Client, Error, LineFailure, Retry, Wait, position};

/// The status of a batch that is larger than the server takes.
const TOO_LARGE: u16 = 413;

pub(super) struct Lane {
    /// Never gives up.
    pub(super) client: Client,
    pub(super) wait: Wait,
    pub(super) observer: Observer,
    pub(super) notes: mpsc::Sender<Note>,
}

impl Lane {
    /// Delivers what arrives until nothing more does, or the server takes no batch at all.
    pub(super) async fn run(self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.recv().await {
            let note = match self.deliver(&batch).await {
                Ok(delivered) => Note::Delivered(delivered),
                Err(error) => Note::Failed(error),
            };
            let failed = matches!(note, Note::Failed(_));
            if self.notes.send(note).await.is_err() || failed {
                return;
            }
        }
    }

    async fn deliver(&self, batch: &Batch) -> Result<Delivered, Error> {
        let mut delivered = Delivered { window: batch.window, ..Delivered::default() };
        // Indices of lines that are sent together; a second part is there after the server asked for less.
        let mut parts = VecDeque::from([(0..batch.lines.len()).collect::<Vec<_>>()]);
        let mut attempt = 0;
        while let Some(part) = parts.pop_front() {
            let again = match self.send(batch, &part).await {
                Ok(answer) => settle(batch, &part, answer, &mut delivered)?,
                Err(Error::Refused(problem)) if problem.status == TOO_LARGE => {
                    if let [line] = part.as_slice() {
                        let detail = problem.to_string();
                        delivered.failures.push(failure(batch, *line, TOO_LARGE, problem.code, detail));
                    } else {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.push_front(second.to_vec());
                        parts.push_front(first.to_vec());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            if again.lines.is_empty() {
                attempt = 0;
            } else {
                self.pause(attempt, &again.reason).await;
                attempt = attempt.saturating_add(1);
                parts.push_front(again.lines);
            }
        }
        Ok(delivered)
    }

    async fn send(&self, batch: &Batch, part: &[usize]) -> Result<BatchAnswer, Error> {
        let options = BatchOptions { keyed_lines: true, wait: self.wait, ..BatchOptions::default() };
        let notify = |retry: Retry<'_>| {
            (self.observer)(Event::Waiting { error: retry.error, delay: retry.delay });
        };
        self.client.batch_with(body(batch, part), &options, &notify).await
    }

    async fn pause(&self, attempt: u32, reason: &LineFailure) {
        let delay = self.client.pause(attempt);
        let problem = crate::Problem {
            status: reason.status,
            code: reason.code.clone(),
            detail: reason.detail.clone(),
            ..crate::Problem::default()
        };
        let error = Error::Unavailable { problem: Some(Box::new(problem)), retry_after: None, source: None };
        (self.observer)(Event::Waiting { error: &error, delay });
        tokio::time::sleep(delay).await;
    }
}

/// The lines to send again, and why the first of them has to be.
struct Again {
    lines: Vec<usize>,
    reason: LineFailure,
}

/// Sorts an answer's lines into done, failed, and to be sent again.
fn settle(
    batch: &Batch,
    part: &[usize],
    answer: BatchAnswer,
    delivered: &mut Delivered,
) -> Result<Again, Error> {
    let sent = u64::try_from(part.len()).expect("a length fits 64 bits");
    if answer.accepted + answer.failed != sent {
        return Err(Error::Protocol("a batch's answer about another number of lines".into()));
    }
    let mut again = Again { lines: Vec::new(), reason: LineFailure::default() };
    for error in answer.errors {
        let index = usize::try_from(error.line).ok().and_then(|line| line.checked_sub(1));
        let Some(line) = index.and_then(|index| part.get(index)) else {
            return Err(Error::Protocol("a batch's answer about a line that was not sent".into()));
        };
        if error.is_retryable() {
            again.lines.push(*line);
            again.reason = error;
        } else {
            delivered.failures.push(failure(batch, *line, error.status, error.code, error.detail));
        }
    }
    again.lines.sort_unstable();
    delivered.accepted += answer.accepted;
    position::merge(&mut delivered.positions, answer.positions);
    Ok(again)
}

fn failure(batch: &Batch, line: usize, status: u16, code: String, detail: String) -> Failure {
    let line = &batch.lines[line];
    let input = (!line.input.is_empty()).then(|| batch.inputs.slice(line.input.clone()));
    Failure { line: line.number, status, code, detail, input }
}

fn body(batch: &Batch, part: &[usize]) -> Bytes {
    if part.len() == batch.lines.len() {
        return batch.body.clone();
    }
    let mut body = BytesMut::new();
    for line in part {
        body.extend_from_slice(&batch.body[batch.lines[*line].body.clone()]);
    }
    body.freeze()
}
