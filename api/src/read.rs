//! GET and HEAD of a key, and the way of every read: what is wanted, wait for it, read, check what was read.
//!
//! Invariant: freshness is judged by the watermark in the very statement that gave the row, never by memory alone.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State as Shared},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millpond_schemas::{Offset, PartitionId, Position, Row, UnixMillis};
use millpond_shard::Freshness;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    answer::content_type_header,
    call::Called,
    conditions,
    consistency::Consistency,
    headers::{self, KV_EXPIRES_AT, KV_POSITION, KV_STALENESS_MS},
    problem::{Code, Problem},
    query::Query,
    state::{App, State},
    submit::key_hash,
    time,
};

/// Longest that an eventual read waits to show what was written through this api.
pub(crate) const OWN_WRITE_WAIT: Duration = Duration::from_millis(100);
/// How often a waiting read looks into the shard, should nobody tell that its position is applied.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// First pause before nodes that all lag are read again; each next is twice as long.
pub(crate) const LAGGING_PAUSE: Duration = Duration::from_millis(5);
/// Longest such pause.
pub(crate) const LAGGING_PAUSE_MAX: Duration = Duration::from_millis(100);

/// Headers that an answer has, and those that are put around it: so many are made room for at once.
const HEADERS: usize = 12;

/// `GET` and `HEAD /kv/{key}`.
pub(crate) async fn get(Shared(app): Shared<App>, request: Request) -> Response {
    get_key(&app, request).await
}

/// The same, without a router.
pub(crate) fn get_key(app: &App, request: Request) -> impl Future<Output = Response> + Send + use<> {
    let app = Arc::clone(app);
    async move { row_or_why_not(&app, request).await.into_response() }
}

async fn row_or_why_not(app: &State, request: Request) -> Result<Response, Problem> {
    let (head, _body) = request.into_parts();
    let found = find(app, &head, "/kv/").await?;
    let (row, mut response) = match found.existing(&head.headers)? {
        Existing::Same(response) => return Ok(response),
        Existing::Row(row, response) => (row, response),
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type_header(&row.content_type));
    // The bytes are a user's: a browser must not guess that they are a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.body_mut() = Body::from(app.answers.hold(row.value.unwrap_or_default())?);
    Ok(response)
}

/// A key as it was read.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it belongs.
    pub(crate) partition: PartitionId,
    /// None: absent or expired.
    pub(crate) row: Option<Row>,
    /// The state that it was read from.
    pub(crate) freshness: Freshness,
    staleness_ms: u64,
}

/// A key that exists, beside what the client has.
#[derive(Debug)]
pub(crate) enum Existing {
    /// The client has this very version: 304.
    Same(Response),
    /// The row, and an answer that wants only its body.
    Row(Row, Response),
}

/// Reads the key behind `root` with the consistency that the call asks for.
pub(crate) async fn find(app: &State, head: &http::request::Parts, root: &str) -> Result<Found, Problem> {
    let called = Called::of(app, head, root)?;
    let query = Query::of(&head.uri, &["consistency"])?;
    let consistency = Consistency::of(&head.headers, query.get("consistency"))?;
    app.read(&called, &consistency).await
}

impl State {
    /// Reads one key with the consistency that is asked for.
    pub(crate) async fn read(&self, called: &Called, consistency: &Consistency) -> Result<Found, Problem> {
        let partition = called.partition;
        let (wanted, wait) = match consistency {
            Consistency::Eventual => {
                let wanted = self.partitions.of(partition).wanted(key_hash(called.key.bytes()));
                (wanted, OWN_WRITE_WAIT)
            }
            Consistency::Session(_) | Consistency::Strong(_) => {
                (self.wanted(consistency, partition).await?, self.config.read_wait)
            }
        };
        let deadline = Instant::now() + wait;
        let mut pause = LAGGING_PAUSE;
        loop {
            self.reached(partition, wanted, deadline.min(Instant::now() + LOOK_EVERY)).await;
            let at_least = match consistency {
                // What is not applied anywhere yet sends nobody to the primary.
                Consistency::Eventual => wanted.min(self.partitions.of(partition).committed()),
                Consistency::Session(_) | Consistency::Strong(_) => wanted,
            };
            let mut snapshot = self.read_key(partition, &called.key, at_least).await?;
            let freshness = snapshot.freshness;
            let reached = freshness.applied.offset >= wanted;
            if reached || Instant::now() >= deadline {
                if !reached && *consistency != Consistency::Eventual {
                    return Err(not_reached(wanted, freshness.applied));
                }
                let staleness_ms = self.staleness_ms(&freshness);
                let row = snapshot.rows.pop().flatten();
                return Ok(Found { partition, row, freshness, staleness_ms });
            }
            // Nodes that are all behind what is known to be applied are not asked in a hot loop.
            sleep_until(deadline.min(Instant::now() + pause)).await;
            pause = LAGGING_PAUSE_MAX.min(pause * 2);
        }
    }

    /// Waits until a watermark is known to have reached `wanted`, or `until`.
    pub(crate) async fn reached(&self, partition: PartitionId, wanted: Offset, until: Instant) {
        if let Some(mut waiter) = self.partitions.await_applied(partition, wanted) {
            let _late = timeout_at(until, waiter.told()).await;
        }
    }

    /// By how much, in ms, a state is behind the known end of the log.
    pub(crate) fn staleness_ms(&self, freshness: &Freshness) -> u64 {
        let partition = self.partitions.of(freshness.applied.partition);
        partition.staleness_ms(freshness.applied.offset, freshness.time, self.now())
    }
}

/// A state that is older than what the call wants.
pub(crate) fn not_reached(wanted: Offset, applied: Position) -> Problem {
    Problem::new(Code::PositionNotReached, "the shard is behind").of(applied).lag(wanted.0 - applied.offset.0)
}

impl Found {
    /// The row and an answer with its headers, or 304.
    ///
    /// # Errors
    /// 404 with the position that was read, `condition-invalid`.
    pub(crate) fn existing(self, request: &HeaderMap) -> Result<Existing, Problem> {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = HeaderMap::with_capacity(HEADERS);
        let Some(row) = self.row else {
            return Err(Problem::new(Code::NotFound, "")
                .of(self.freshness.applied)
                .header(KV_STALENESS_MS.clone(), headers::of_display(self.staleness_ms))
                .header(header::CACHE_CONTROL, HeaderValue::from_static("no-cache")));
        };
        let version = row.version.position(self.partition).to_string();
        let same = conditions::none_match_hits(request, &version)?;
        let headers = response.headers_mut();
        headers.insert(KV_POSITION.clone(), headers::of_display(self.freshness.applied));
        headers.insert(KV_STALENESS_MS.clone(), headers::of_display(self.staleness_ms));
        headers.insert(header::ETAG, headers::etag(&version));
        headers.insert(header::LAST_MODIFIED, time::http_date(row.updated_at));
        // With a Last-Modified alone, caches would guess how long they may answer by themselves.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(at) = row.expires_at {
            headers.insert(KV_EXPIRES_AT.clone(), headers::of_display(time::rfc3339(at)));
        }
        if same {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return Ok(Existing::Same(response));
        }
        Ok(Existing::Row(row, response))
    }

    /// The shard's clock when it was read.
    pub(crate) fn read_at(&self) -> UnixMillis {
        self.freshness.now
    }
}
