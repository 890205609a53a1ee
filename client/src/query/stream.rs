//! A query's answer as a stream of items: the whole range in one call, in little memory.
//!
//! Invariant: a stream that was cut is an error, never a short answer.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Body, Page, item::ItemBody};
use crate::{Error, Item};

/// Longest line that is taken, bytes: far above the largest value in its worst form.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Items as they come.
pub struct Items {
    body: Incoming,
    /// What came and is not a whole line yet.
    buffer: BytesMut,
    /// Where in `buffer` no newline is known to be before.
    searched: usize,
    /// Longest wait for more.
    patience: Duration,
    /// Of the last line, once that came.
    end: Option<Page>,
}

impl Items {
    pub(crate) fn new(body: Incoming, patience: Duration) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, patience, end: None }
    }

    /// The next item; `None`: that was the last, and [`Items::end`] says whether it was all.
    ///
    /// # Errors
    /// [`Error::Unknown`]: the stream was cut. [`Error::Protocol`]: it is not the contract's.
    pub async fn next(&mut self) -> Result<Option<Item>, Error> {
        while self.end.is_none() {
            let line = self.line().await?;
            // Only the last line is no item.
            if let Ok(item) = serde_json::from_slice::<ItemBody>(&line) {
                return item.read().map(Some);
            }
            let end: Body = serde_json::from_slice(&line).map_err(|error| {
                Error::Protocol(format!("a line of a stream at column {}", error.column()))
            })?;
            self.end = Some(end.page()?);
        }
        Ok(None)
    }

    /// After the last item: a page without items, which says whether every shard answered.
    pub fn end(&self) -> Option<&Page> {
        self.end.as_ref()
    }

    async fn line(&mut self) -> Result<BytesMut, Error> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(length) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + length);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(Error::Protocol("a line of a stream that is too long".into()));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let cut = |source| Err(Error::Unknown { problem: None, source: Some(source) });
        match tokio::time::timeout(self.patience, self.body.frame()).await {
            Err(_late) => cut("no more of the stream within the timeout".into()),
            Ok(None) => cut("the stream was cut".into()),
            Ok(Some(Err(error))) => cut(error.into()),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    self.buffer.extend_from_slice(&data);
                }
                Ok(())
            }
        }
    }
}
