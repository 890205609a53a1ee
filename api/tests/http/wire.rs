//! A client that sends exactly what it is told, and reads answers one by one.
//!
//! Invariant: it adds nothing to a request but what is written here.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// Longest that any test waits for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header that has to be there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON in {self:?}"))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self { stream: BufReader::new(TcpStream::connect(address).await.unwrap()) }
    }

    /// Sends bytes as they are. The other side may have closed already.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.stream.get_mut().write_all(bytes.as_ref()).await;
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        self.stream.get_mut().shutdown().await.unwrap();
    }

    /// The next answer; none: the connection is closed.
    pub(crate) async fn receive(&mut self) -> Option<Answer> {
        timeout(SOON, self.answer(false)).await.expect("an answer comes soon")
    }

    /// The next answer to a HEAD.
    pub(crate) async fn receive_head(&mut self) -> Option<Answer> {
        timeout(SOON, self.answer(true)).await.expect("an answer comes soon")
    }

    /// Everything until the connection is closed.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _reset = timeout(SOON, self.stream.read_to_end(&mut rest)).await.expect("it is closed soon");
        String::from_utf8_lossy(&rest).into_owned()
    }

    async fn answer(&mut self, head_only: bool) -> Option<Answer> {
        let line = self.line().await?;
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(": ").unwrap();
            headers.insert(name.to_owned(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if head_only || status == 304 { 0 } else { length }];
        self.stream.read_exact(&mut body).await.unwrap();
        Some(Answer { status, headers, body })
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).await.unwrap_or(0);
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Sends a request with a length and reads its answer.
    pub(crate) async fn call(&mut self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(request(head, headers, body)).await;
        if head.starts_with("HEAD ") { self.receive_head().await } else { self.receive().await }
            .expect("the connection stays open")
    }
}

/// A request with a length.
pub(crate) fn request(head: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let lines: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let length = body.len();
    let head = format!("{head} HTTP/1.1\r\nhost: localhost\r\n{lines}content-length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
