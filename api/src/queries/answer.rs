//! The two forms of an answer: one JSON object, and a stream of lines.
//!
//! The stream reads page after page as the client takes it; between two pages nothing of a database is held. Invariant:
//! what is told before a cursor is whole up to there: whoever goes on from it gets everything once.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use millpond_schemas::{PartitionId, Position, Row, limits::PAGE_ROWS_MAX};

use super::{
    Call,
    cursor::Cursor,
    memory::Share,
    page::{PAGE_BYTES_MAX, Page, Step},
    told::{Summary, item},
};
use crate::{
    consistency::Consistency,
    problem::Problem,
    state::{App, State},
};

/// A line is sent when so many bytes are together, or the page is over.
const CHUNK_BYTES: usize = 64 * 1024;
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Call {
    /// Reads a page of at most `limit` keys, and holds the memory for it.
    async fn page(&self, app: &State, limit: usize) -> Result<(Page, Share), Problem> {
        let step = Step {
            tenant: &self.tenant,
            ask: &self.ask,
            consistency: &self.consistency,
            after: self.after.as_ref(),
            seen: self.seen.as_deref(),
            limit,
        };
        let wait = app.config.shard_deadline;
        let share = app.pages.share(limit, app.value_bytes_max_of_all(), wait).await?;
        Ok((step.read(app).await?, share))
    }

    /// Goes on behind a page that was whole.
    fn pass(&mut self, app: &State, page: &Page) {
        self.after.clone_from(&page.cut);
        let mut summary = Summary::default();
        summary.seen(self.seen.take().unwrap_or_default().into_iter());
        summary.seen(page.states.iter().map(|state| state.applied));
        self.seen =
            Some(summary.positions.into_values().filter(|position| app.some_lag(*position)).collect());
        // What it asked for holds for the pages that follow by what they have seen.
        self.consistency = Consistency::Eventual;
    }

    fn cursor(&self, app: &State) -> String {
        let seen = self.seen.clone().unwrap_or_default();
        let cursor = Cursor { ask: self.ask.clone(), word: self.word, after: self.after.clone(), seen };
        cursor.seal(&app.cursor_key, &self.tenant)
    }
}

impl State {
    /// Whether some node is not known to have reached a position.
    fn some_lag(&self, position: Position) -> bool {
        let shard = self.shard_of(position.partition);
        shard.is_ok_and(|shard| shard.everywhere(position.partition) < position.offset)
    }
}

/// One page as one JSON object.
pub(super) async fn json(app: &State, mut call: Call) -> Result<Response, Problem> {
    let limit = call.limit();
    let (mut page, share) = call.page(app, limit).await?;
    let mut out = b"{\"items\":[".to_vec();
    let mut told = 0;
    for (partition, row) in &page.rows {
        if told > 0 {
            out.push(b',');
        }
        item(&mut out, app, call.ask.include, (*partition, row))?;
        told += 1;
        if out.len() > PAGE_BYTES_MAX {
            break;
        }
    }
    page.end_after(told, call.ask.reverse);
    let mut summary = Summary { limit: Some(limit), ..Summary::default() };
    summary.add(&page);
    let is_complete = page.is_complete();
    if is_complete {
        call.pass(app, &page);
    }
    summary.next_cursor = (!is_complete || page.cut.is_some()).then(|| call.cursor(app));
    drop(page);
    out.extend(b"],");
    out.extend(summary.told()?.get(1..).unwrap_or_default());
    Ok(response(JSON, Body::from(share.of(out))))
}

impl Page {
    /// Leaves out what is behind so many rows.
    fn end_after(&mut self, rows: usize, reverse: bool) {
        if rows >= self.rows.len() {
            return;
        }
        self.rows.truncate(rows);
        self.cut = self.rows.last().map(|(_, row)| row.key.key());
        if let Some(cut) = &self.cut {
            self.missing.retain(|key| if reverse { key > cut } else { key < cut });
        }
    }
}

/// Pages as lines.
struct Lines {
    app: App,
    call: Call,
    /// Keys that may still be told; none: all.
    left: Option<usize>,
    /// What is to be told next.
    rows: std::vec::IntoIter<(PartitionId, Row)>,
    /// The memory of the rows.
    share: Option<Share>,
    /// What is told in the end; none: it was.
    summary: Option<Summary>,
    is_over: bool,
}

/// All pages, an item a line, and a last line that says what is true of all.
///
/// # Errors
/// Those of the first page: later ones are told in the last line.
pub(super) async fn lines(app: App, call: Call) -> Result<Response, Problem> {
    let left = call.limit;
    let summary = Some(Summary { limit: left, ..Summary::default() });
    let (rows, share) = (Vec::new().into_iter(), None);
    let mut lines = Lines { app, call, left, rows, share, summary, is_over: false };
    lines.turn().await?;
    let chunks = stream::unfold(lines, |mut lines| async move {
        let chunk = lines.next().await?;
        Some((chunk, lines))
    });
    Ok(response(NDJSON, Body::from_stream(chunks)))
}

impl Lines {
    /// The next bytes. None: everything was told.
    async fn next(&mut self) -> Option<Result<Bytes, Stopped>> {
        let mut out = Vec::new();
        loop {
            for (partition, row) in self.rows.by_ref() {
                let told = item(&mut out, &self.app, self.call.ask.include, (partition, &row));
                if told.is_err() {
                    return Some(Err(Stopped));
                }
                out.push(b'\n');
                if out.len() >= CHUNK_BYTES {
                    return Some(Ok(out.into()));
                }
            }
            self.share = None;
            if !out.is_empty() {
                return Some(Ok(out.into()));
            }
            if self.is_over {
                let summary = self.summary.take()?;
                return Some(summary.told().map_err(|_| Stopped).map(|mut line| {
                    line.push(b'\n');
                    line.into()
                }));
            }
            if let Err(problem) = self.turn().await {
                self.end(Some(problem));
            }
        }
    }

    /// Reads the next page.
    async fn turn(&mut self) -> Result<(), Problem> {
        if self.app.draining.is_cancelled() {
            self.end(None);
            return Ok(());
        }
        let limit = self.left.unwrap_or(PAGE_ROWS_MAX).min(PAGE_ROWS_MAX);
        let (page, mut share) = self.call.page(&self.app, limit).await?;
        let Some(summary) = &mut self.summary else { return Ok(()) };
        if !page.is_complete() {
            summary.shards.clone_from(&page.shards);
            self.end(None);
            return Ok(());
        }
        summary.add(&page);
        self.call.pass(&self.app, &page);
        let told = page.rows.len() + page.missing.len();
        self.left = self.left.map(|left| left.saturating_sub(told));
        if page.cut.is_none() {
            self.is_over = true;
        } else if self.left == Some(0) {
            self.end(None);
        }
        // As long as the client takes its time, others are held up by no more than there is.
        share.keep(CHUNK_BYTES + page.rows.iter().map(|(_, row)| memory_of(row)).sum::<usize>());
        (self.rows, self.share) = (page.rows.into_iter(), Some(share));
        Ok(())
    }

    /// Ends where it is, although there may be more.
    fn end(&mut self, problem: Option<Problem>) {
        self.is_over = true;
        if let Some(summary) = &mut self.summary {
            summary.next_cursor = Some(self.call.cursor(&self.app));
            summary.problem = problem.map(|problem| problem.code());
        }
    }
}

/// About what a row takes in memory, bytes.
fn memory_of(row: &Row) -> usize {
    size_of::<Row>()
        + row.key.bytes().len()
        + row.content_type.len()
        + row.value.as_ref().map_or(0, Bytes::len)
}

/// A row cannot be told: the stream is cut off, which its client sees.
#[derive(Debug, thiserror::Error)]
#[error("a row cannot be told")]
struct Stopped;

fn response(content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
