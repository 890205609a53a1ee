//! A client that sends exactly the bytes that it is told to, for what no well-behaved client would send.
//!
//! Invariant: it adds nothing, and repairs nothing.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer or an end may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// One connection.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

/// One answer as it came.
#[derive(Clone, Debug)]
pub struct Raw {
    /// Its status.
    pub status: u16,
    /// Status line and header lines, in lower case.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl Raw {
    /// The problem's code; empty where it is none.
    pub fn code(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Wire {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: BufReader::new(TcpStream::connect(address).await?) })
    }

    /// Sends bytes. That the other side has closed already is no error.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _closed = self.stream.get_mut().write_all(bytes.as_ref()).await;
    }

    /// Sends bytes; whether the other side still takes them.
    pub async fn take(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).await.is_ok()
    }

    /// Says that nothing more comes.
    pub async fn finish(&mut self) {
        let _closed = self.stream.get_mut().shutdown().await;
    }

    /// The next answer. None: the connection is closed.
    pub async fn receive(&mut self) -> Result<Option<Raw>> {
        timeout(PATIENCE, self.answer()).await.context("no answer in a minute")?
    }

    /// Everything until the connection is closed.
    pub async fn rest(&mut self) -> Result<String> {
        let mut rest = Vec::new();
        let _reset = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.context("it stays open")?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }

    async fn answer(&mut self) -> Result<Option<Raw>> {
        let mut head = String::new();
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                if head.is_empty() {
                    return Ok(None);
                }
                bail!("the connection was closed inside {head}");
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.parse()?;
            }
            head.push_str(&line);
            head.push('\n');
        }
        let status = head.split(' ').nth(1).context("a status line")?.parse()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok(Some(Raw { status, head, body }))
    }
}

/// A request with its length.
pub fn request(line: &str, body: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: pond\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}
