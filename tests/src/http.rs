//! A small HTTP client that changes nothing: no redirects, no retries, no headers of its own but Host.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// How long an answer may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// Calls one server; pools connections.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
}

/// An answer, read whole.
#[derive(Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A call in the making.
pub struct Call<'a> {
    http: &'a Http,
    request: http::request::Builder,
    body: Bytes,
}

impl Http {
    /// A client of the server at this address.
    pub fn new(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), address }
    }

    /// As [`Http::new`], in HTTP/2 by prior knowledge: all calls at once on one connection.
    pub fn http2(address: SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).http2_only(true).build(connector), address }
    }

    /// A call of `path` (with its query), sent as it is.
    pub fn call(&self, method: Method, path: &str) -> Call<'_> {
        let uri = format!("http://{}{path}", self.address);
        Call { http: self, request: Request::builder().method(method).uri(uri), body: Bytes::new() }
    }

    /// GET.
    pub fn get(&self, path: &str) -> Call<'_> {
        self.call(Method::GET, path)
    }

    /// PUT with a body.
    pub fn put(&self, path: &str, body: impl Into<Bytes>) -> Call<'_> {
        self.call(Method::PUT, path).body(body)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    /// PATCH with a body of a content type.
    pub fn patch(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Call<'_> {
        self.call(Method::PATCH, path).header("content-type", content_type).body(body)
    }

    /// POST with a body of a content type.
    pub fn post(&self, path: &str, content_type: &str, body: impl Into<Bytes>) -> Call<'_> {
        self.call(Method::POST, path).header("content-type", content_type).body(body)
    }
}

impl Call<'_> {
    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// The connection was refused or cut, or no answer came in a minute.
    pub async fn send(self) -> Result<Answer> {
        let request = self.request.version(Version::HTTP_11).body(Full::new(self.body))?;
        let exchange = async {
            let response = self.http.client.request(request).await?;
            let (parts, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("no answer in a minute")?
    }
}

impl Answer {
    /// A header's text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header that is a number.
    ///
    /// # Errors
    /// There is none, or it is no number.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.header(name).parse().with_context(|| format!("{name} is no number in {self:?}"))
    }

    /// The problem's code; empty where it is none.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, self.text())
    }
}
