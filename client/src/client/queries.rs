//! Queries, by pages and as a stream.
//!
//! Invariant: a page is asked for again until it has an answer, and none is passed over.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

use super::Client;
use crate::{
    Error, Item, Items, PAGE_ROWS_MAX, Page, Query, ReadOptions,
    transport::{Call, Reply},
};

const PATH: &str = "/kv/query";

/// Rows of a first page, before anybody knows how large they are: with the largest values it stays below what an
/// answer may have.
const ROWS_FIRST: u32 = 50;
/// Bytes of keys and values that a page should have.
const PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// The pages of one query. Where the query names no limit, pages are made as large as suits what was found.
pub struct Pages {
    client: Client,
    query: Query,
    cursor: Option<String>,
    ended: bool,
    /// Rows of the next page.
    rows: u32,
}

impl Client {
    /// The first page of what `query` finds.
    ///
    /// # Errors
    /// [`Error::Refused`]: the query is wrong. A shard that does not answer is no error; [`Page::complete`] says so.
    pub async fn query(&self, query: &Query) -> Result<Page, Error> {
        self.query_from(query, None).await
    }

    /// The page that begins where another one ended. `limit` may differ from that one's, nothing else.
    ///
    /// # Errors
    /// [`Error::Refused`] with `cursor-invalid`: the cursor is of another query.
    pub async fn query_from(&self, query: &Query, cursor: Option<&str>) -> Result<Page, Error> {
        let reply: Reply = self.send(&call(query, cursor, "application/json")?).await?;
        Page::read(&reply)
    }

    /// All pages of what `query` finds, one after the other.
    pub fn pages(&self, query: Query) -> Pages {
        let rows = query.limit.unwrap_or(ROWS_FIRST);
        Pages { client: self.clone(), query, cursor: None, ended: false, rows }
    }

    /// What `query` finds as a stream of items: without `limit` the whole range in one call.
    ///
    /// # Errors
    /// As [`Client::query`]; what goes wrong later is told by [`Items::next`].
    pub async fn query_stream(&self, query: &Query) -> Result<Items, Error> {
        let call = call(query, None, "application/x-ndjson")?;
        let (body, patience) = self.transport.stream(&call, self.retry).await?;
        Ok(Items::new(body, patience))
    }
}

impl Pages {
    /// Goes on after a page whose cursor was kept.
    #[must_use]
    pub fn resume(self, cursor: String) -> Self {
        Self { cursor: Some(cursor), ..self }
    }

    /// The next page; `None` after the last. After one that is not complete the same page is asked for again, once the
    /// caller does so.
    ///
    /// # Errors
    /// As [`Client::query`]. The same page can then be asked for again.
    pub async fn next(&mut self) -> Result<Option<Page>, Error> {
        if self.ended {
            return Ok(None);
        }
        let page = loop {
            let query = Query { limit: Some(self.rows), ..self.query.clone() };
            match self.client.query_from(&query, self.cursor.as_deref()).await {
                Err(error) if error.is_answer_too_large() && self.rows > 1 => {
                    self.rows = (self.rows / 8).max(1);
                }
                answered => break answered?,
            }
        };
        self.cursor.clone_from(&page.next_cursor);
        self.ended = page.next_cursor.is_none();
        if self.query.limit.is_none() {
            self.rows = rows_after(&page, self.rows);
        }
        Ok(Some(page))
    }
}

/// How many rows make a good page, going by the last one; grows slowly.
fn rows_after(page: &Page, rows: u32) -> u32 {
    let size = |item: &Item| item.key.len() + item.value.as_ref().map_or(0, bytes::Bytes::len);
    let bytes: usize = page.items.iter().map(size).sum();
    let mean = (bytes / page.items.len().max(1)).max(1) as u64;
    let good = u32::try_from(PAGE_BYTES / mean).unwrap_or(PAGE_ROWS_MAX);
    good.clamp(1, PAGE_ROWS_MAX).min(rows.saturating_mul(4))
}

fn call(query: &Query, cursor: Option<&str>, accept: &'static str) -> Result<Call, Error> {
    let read = ReadOptions {
        consistency: query.consistency,
        min_position: query.min_position.clone(),
        if_none_match: None,
    };
    let mut headers = read.headers()?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Call {
        method: Method::POST,
        path: format!("{PATH}{}", read.query()),
        headers,
        body: query.body(cursor),
        wait: Duration::ZERO,
        repeatable: true,
        answers: |status| status == StatusCode::OK,
    })
}
