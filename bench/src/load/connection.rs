//! A connection to the server, in either version of HTTP, and requests encoded for it ahead of time.
//!
//! Invariant: sending allocates nothing that grows with the number of calls made before.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use clap::ValueEnum;
use http::{HeaderValue, header::IF_MATCH, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::http1::Http1;

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// HTTP/1.1, one call at a time on a connection.
    Http1,
    /// HTTP/2 by prior knowledge, many calls at a time on a connection.
    H2,
}

/// How much of answers may come before it is read, bytes.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// What of an answer is wanted besides its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    /// Nothing.
    Nothing,
    /// Its version.
    Etag,
    /// Its body.
    Body,
}

impl Take {
    /// A problem is always wanted, to be told; a miss is none.
    pub(super) fn wants_body(self, status: u16) -> bool {
        self == Self::Body || (status >= 400 && status != 404)
    }
}

/// What the server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Bytes,
}

/// A request, encoded.
#[derive(Clone, Debug)]
pub(super) struct Request {
    head: Head,
    body: Bytes,
}

#[derive(Clone, Debug)]
enum Head {
    Http1(Bytes),
    H2(Box<Parts>),
}

/// Encodes requests for a server.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    pub(super) protocol: Protocol,
    pub(super) host: String,
}

impl Encoder {
    /// A request, ready to send as often as wanted.
    pub(super) fn request(
        &self,
        (method, path): (&str, &str),
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Request> {
        let head = match self.protocol {
            Protocol::Http1 => Head::Http1(self.head(method, path, headers, body.len())),
            Protocol::H2 => {
                let mut request =
                    http::Request::builder().method(method).uri(format!("http://{}{path}", self.host));
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                Head::H2(Box::new(request.body(())?.into_parts().0))
            }
        };
        Ok(Request { head, body })
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], body_bytes: usize) -> Bytes {
        let mut head = BytesMut::with_capacity(128 + path.len());
        let mut put = |text: &str| head.put_slice(text.as_bytes());
        [method, " ", path, " HTTP/1.1\r\nhost: ", &self.host, "\r\n"].into_iter().for_each(&mut put);
        for (name, value) in headers {
            [name, ": ", value, "\r\n"].into_iter().for_each(&mut put);
        }
        if method != "GET" {
            put(&format!("content-length: {body_bytes}\r\n"));
        }
        put("\r\n");
        head.freeze()
    }
}

impl Request {
    /// The same, if the key still has this version.
    pub(super) fn if_match(&self, etag: &str) -> Result<Self> {
        let mut request = self.clone();
        match &mut request.head {
            Head::Http1(head) => {
                let mut longer = BytesMut::with_capacity(head.len() + etag.len() + 16);
                longer.put_slice(&head[..head.len() - 2]);
                for part in [b"if-match: ", etag.as_bytes(), b"\r\n\r\n"] {
                    longer.put_slice(part);
                }
                *head = longer.freeze();
            }
            Head::H2(parts) => {
                parts.headers.insert(IF_MATCH, HeaderValue::from_str(etag)?);
            }
        }
        Ok(request)
    }
}

/// Where one call at a time is made.
pub(super) enum Connection {
    /// All of a connection.
    Http1(Http1),
    /// One of the streams of a connection.
    H2(SendRequest<Full<Bytes>>),
}

impl Connection {
    /// A new connection, with so many places for a call each.
    pub(super) async fn open(protocol: Protocol, address: SocketAddr, streams: usize) -> Result<Vec<Self>> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        Self::over(stream, protocol, streams).await
    }

    /// The same over a socket that is connected.
    pub(super) async fn over(stream: TcpStream, protocol: Protocol, streams: usize) -> Result<Vec<Self>> {
        stream.set_nodelay(true)?;
        match protocol {
            Protocol::Http1 => Ok(vec![Self::Http1(Http1::new(stream))]),
            Protocol::H2 => {
                let (sender, connection) = Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(STREAM_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                    .handshake(TokioIo::new(stream))
                    .await
                    .context("begin HTTP/2")?;
                tokio::spawn(connection);
                Ok((0..streams).map(|_| Self::H2(sender.clone())).collect())
            }
        }
    }

    /// One call.
    pub(super) async fn send(&mut self, request: &Request, take: Take) -> Result<Answer> {
        match (self, &request.head) {
            (Self::Http1(connection), Head::Http1(head)) => connection.send(head, &request.body, take).await,
            (Self::H2(sender), Head::H2(parts)) => {
                let body = Full::new(request.body.clone());
                sender.ready().await.context("wait for the connection")?;
                let call = http::Request::from_parts(Parts::clone(parts), body);
                let response = sender.send_request(call).await.context("call")?;
                answer(response, take).await
            }
            (Self::Http1(_), Head::H2(_)) | (Self::H2(_), Head::Http1(_)) => {
                unreachable!("requests are encoded for the protocol of the connections")
            }
        }
    }
}

async fn answer(response: http::Response<hyper::body::Incoming>, take: Take) -> Result<Answer> {
    let status = response.status().as_u16();
    let etag = response.headers().get("etag").filter(|_| take == Take::Etag);
    let etag = etag.map(|etag| etag.to_str().map(str::to_owned)).transpose()?;
    let mut body = response.into_body();
    if take.wants_body(status) {
        let body = body.collect().await.context("read an answer")?.to_bytes();
        return Ok(Answer { status, etag, body });
    }
    while let Some(frame) = body.frame().await {
        frame.context("read an answer")?;
    }
    Ok(Answer { status, etag, body: Bytes::new() })
}
