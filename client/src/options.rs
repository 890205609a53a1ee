//! What a client and each of its calls can be told.
//!
//! Invariant: the defaults are safe: every write carries an Idempotency-Key of its own.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{Error, Position, RetryPolicy, Token, position};

/// How a [`crate::Client`] reaches its server.
#[derive(Clone)]
pub struct Options {
    /// `http://host:port`, optionally with a path in front of the contract's. No TLS in this build.
    pub server: String,
    /// Whose keys; `None`: the token's first tenant, or the server's default.
    pub tenant: Option<String>,
    /// What lets this client in, where the server asks for it. It travels in clear: only to a trusted address.
    pub token: Option<Token>,
    /// How long to wait for a connection. Default 5 s; longer delays the word that a server is gone.
    pub connect_timeout: Duration,
    /// How long to wait for an answer, above what the call itself asks the server to wait. Default 30 s; shorter
    /// turns slow answers into unknown ones.
    pub answer_timeout: Duration,
    /// When and how often to try again.
    pub retry: RetryPolicy,
}

impl Options {
    /// The defaults for one server.
    pub fn at(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            tenant: None,
            token: None,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            retry: RetryPolicy::default(),
        }
    }
}

/// Tells whether there is a token, and nothing of it.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("server", &self.server)
            .field("tenant", &self.tenant)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("connect_timeout", &self.connect_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("retry", &self.retry)
            .finish()
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Any replica; the answer says how fresh it is.
    Eventual,
    /// Not older than [`ReadOptions::min_position`].
    Session,
    /// Not older than the log's end at the time of the call.
    Strong,
}

impl Consistency {
    fn as_str(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Session => "session",
            Self::Strong => "strong",
        }
    }
}

/// What one read asks for.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// `None`: session when `min_position` says something, else the server's default.
    pub consistency: Option<Consistency>,
    /// Positions that the answer must cover; only the key's own partition matters.
    pub min_position: Vec<Position>,
    /// An `ETag`: answer [`crate::Fetched::NotModified`] while it still holds.
    pub if_none_match: Option<String>,
}

impl ReadOptions {
    pub(crate) fn query(&self) -> String {
        self.consistency.map(|c| format!("?consistency={}", c.as_str())).unwrap_or_default()
    }

    pub(crate) fn headers(&self) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if !self.min_position.is_empty() {
            insert(&mut headers, KV_MIN_POSITION, &position::token(&self.min_position))?;
        }
        if let Some(etag) = &self.if_none_match {
            insert(&mut headers, header::IF_NONE_MATCH, etag)?;
        }
        Ok(headers)
    }
}

/// Whether a write waits for its outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// As the contract says: conditions and results wait, plain puts and deletes do not.
    #[default]
    Contract,
    /// Answered as soon as the log has it.
    Accepted,
    /// Waits for the writer, at most so long (whole seconds, the server clamps to 30).
    Applied(Duration),
}

/// What makes a write that is sent twice take effect once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IdempotencyKey {
    /// One that this call makes up, so that its own retries are safe.
    #[default]
    Random,
    /// The caller's, 1..=255 printable ASCII: also safe across calls and processes, for 24 h.
    Given(String),
    /// None: an unknown outcome is reported and never retried.
    None,
}

/// What one write asks for.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// An `ETag`, or `*`: only if the key is at it.
    pub if_match: Option<String>,
    /// Only if the key does not exist (`If-None-Match: *`).
    pub if_absent: bool,
    /// How long the key lives, in the contract's spelling: `90`, `90s`, `15m`, `1500ms`. Only on puts.
    pub ttl: Option<String>,
    /// When the key expires, RFC 3339. Only on puts.
    pub expires_at: Option<String>,
    /// Whether to wait for the outcome.
    pub wait: Wait,
    /// What makes retries safe.
    pub idempotency_key: IdempotencyKey,
}

pub(crate) const KV_MIN_POSITION: HeaderName = HeaderName::from_static("kv-min-position");
pub(crate) const KV_POSITION: HeaderName = HeaderName::from_static("kv-position");
pub(crate) const KV_TENANT: HeaderName = HeaderName::from_static("kv-tenant");
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KV_TTL: HeaderName = HeaderName::from_static("kv-ttl");
pub(crate) const KV_EXPIRES_AT: HeaderName = HeaderName::from_static("kv-expires-at");
const PREFER: HeaderName = HeaderName::from_static("prefer");

impl WriteOptions {
    /// `waits`: whether the contract lets this operation wait even without condition and key.
    pub(crate) fn headers(&self, waits: bool) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        if let Some(etag) = &self.if_match {
            insert(&mut headers, header::IF_MATCH, etag)?;
        }
        if self.if_absent {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        if let Some(ttl) = &self.ttl {
            insert(&mut headers, KV_TTL, ttl)?;
        }
        if let Some(at) = &self.expires_at {
            insert(&mut headers, KV_EXPIRES_AT, at)?;
        }
        match &self.idempotency_key {
            IdempotencyKey::Random => {
                insert(&mut headers, IDEMPOTENCY_KEY, &format!("{:032x}", rand::random::<u128>()))?;
            }
            IdempotencyKey::Given(key) => insert(&mut headers, IDEMPOTENCY_KEY, key)?,
            IdempotencyKey::None => {}
        }
        prefer(&mut headers, self.effective_wait(waits))?;
        Ok(headers)
    }

    /// A key of the call's own making must not change how the contract answers the call without it.
    fn effective_wait(&self, waits: bool) -> Wait {
        let plain = !waits && self.if_match.is_none() && !self.if_absent;
        match (self.wait, &self.idempotency_key) {
            (Wait::Contract, IdempotencyKey::Random) if plain => Wait::Accepted,
            (wait, _) => wait,
        }
    }

    /// How long the server was asked to wait.
    pub(crate) fn wait_time(&self, waits: bool) -> Duration {
        wait_time(self.effective_wait(waits))
    }
}

/// How long a [`Wait`] may hold the answer back at the server: a default wait is 5 s there.
pub(crate) fn wait_time(wait: Wait) -> Duration {
    match wait {
        Wait::Contract => Duration::from_secs(5),
        Wait::Accepted => Duration::ZERO,
        Wait::Applied(time) => time,
    }
}

pub(crate) fn prefer(headers: &mut HeaderMap, wait: Wait) -> Result<(), Error> {
    match wait {
        Wait::Contract => Ok(()),
        Wait::Accepted => insert(headers, PREFER, "respond-async"),
        Wait::Applied(time) => insert(headers, PREFER, &format!("wait={}", time.as_secs().max(1))),
    }
}

pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), Error> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| Error::invalid(format!("{name}: a header holds printable ASCII only")))?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(options: &WriteOptions, name: HeaderName) -> Option<String> {
        options.headers(false).unwrap().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_key_of_our_own_making_does_not_make_a_plain_put_wait() {
        let plain = WriteOptions::default();
        assert_eq!(header(&plain, IDEMPOTENCY_KEY).map(|key| key.len()), Some(32));
        assert_eq!(header(&plain, PREFER).as_deref(), Some("respond-async"));
        let conditional = WriteOptions { if_absent: true, ..WriteOptions::default() };
        assert_eq!(header(&conditional, PREFER), None);
        assert_eq!(plain.headers(true).unwrap().get(PREFER), None);
    }

    #[test]
    fn a_wait_is_whole_seconds() {
        let options = WriteOptions { wait: Wait::Applied(Duration::from_millis(300)), ..Default::default() };
        assert_eq!(header(&options, PREFER).as_deref(), Some("wait=1"));
    }

    #[test]
    fn a_header_that_would_split_is_refused() {
        let options = WriteOptions { if_match: Some("\"1\"\r\nX: y".into()), ..WriteOptions::default() };
        assert!(matches!(options.headers(false), Err(Error::Invalid(_))));
    }
}
