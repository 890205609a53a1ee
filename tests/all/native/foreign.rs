//! The foreign clients as processes that do what they are told, one JSON object a line.
//!
//! Not here: what is told them. Invariant: a client ends with its value, and with this process.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use millpond_tests::deployment::{Deployment, PATIENCE};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// The Python that has the clients.
pub(super) fn python() -> PathBuf {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "the Python clients are not installed: run it with tests/run.sh or tests/stack");
    python
}

/// A record for a foreign client to send.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    key: Option<Bytes>,
    value: Option<Bytes>,
    /// A `millpond.v1.Record` in protobuf's text format, in place of a value.
    record: Option<String>,
    /// A put of value and content type in the record form, for a client without a library.
    put: Option<(Bytes, String)>,
    headers: Vec<(String, Bytes)>,
    partition: Option<u32>,
}

impl Sent {
    /// In the plain form.
    pub(super) fn plain(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// A Kafka tombstone.
    pub(super) fn null(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// In the record form.
    pub(super) fn record(key: impl Into<Bytes>, record: impl Into<String>) -> Self {
        let sent = Self { key: Some(key.into()), record: Some(record.into()), ..Self::default() };
        sent.header("kv-format", "record")
    }

    /// A put in the record form, for the client in Java.
    pub(super) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>, content_type: &str) -> Self {
        let put = Some((value.into(), content_type.to_owned()));
        Self { key: Some(key.into()), put, ..Self::default() }.header("kv-format", "record")
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn keyed(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub(super) fn valued(mut self, value: impl Into<Bytes>) -> Self {
        self.value = Some(value.into());
        self
    }

    pub(super) fn keyless(mut self) -> Self {
        self.key = None;
        self
    }

    /// Its client does not compute the partition.
    pub(super) fn to(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    fn line(&self) -> Value {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| json!([name, hex(value)])).collect();
        let mut line = json!({"headers": headers, "partition": self.partition});
        line["key"] = self.key.as_deref().map(hex).into();
        line["value"] = self.value.as_deref().map(hex).into();
        line["record"] = self.record.clone().into();
        if let Some((value, content_type)) = &self.put {
            line["put"] = json!({"value": hex(value), "content_type": content_type});
        }
        line
    }
}

/// A program that answers each line with one.
pub(super) struct Client {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Client {
    /// confluent-kafka, with librdkafka's partitioner set as the contract says.
    pub(super) fn confluent(deployment: &Deployment) -> Result<Self> {
        Self::python(deployment, "confluent", &["partitioner=murmur2_random"])
    }

    /// confluent-kafka with nothing set.
    pub(super) fn confluent_by_default(deployment: &Deployment) -> Result<Self> {
        Self::python(deployment, "confluent", &[])
    }

    /// kafka-python with nothing set.
    pub(super) fn kafka_python(deployment: &Deployment) -> Result<Self> {
        Self::python(deployment, "kafka-python", &[])
    }

    fn python(deployment: &Deployment, kind: &str, settings: &[&str]) -> Result<Self> {
        let mut command = Command::new(python());
        command.arg(root().join("tests/native/produce.py"));
        command.args([kind, deployment.kafka(), &deployment.topic()]).args(settings);
        Self::start(kind, command)
    }

    /// Kafka's own client, with these settings besides the brokers.
    pub(super) fn java(deployment: &Deployment, settings: &[&str]) -> Result<Self> {
        let mut command = java("tests/native/Producer.java");
        command.args([deployment.kafka(), &deployment.topic()]).args(settings);
        Self::start("java", command)
    }

    fn start(name: &str, mut command: Command) -> Result<Self> {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = piped.spawn().with_context(|| format!("start {name}"))?;
        let stdin = child.stdin.take().context("its input is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        Ok(Self { name: name.to_owned(), child, stdin, stdout })
    }

    /// Sends a record. Where it lies: its position.
    pub(super) async fn send(&mut self, sent: &Sent) -> Result<String> {
        let (partition, offset) = self.place(sent).await?;
        Ok(format!("1-{partition}-{offset}"))
    }

    /// As [`Client::send`]: partition and offset.
    pub(super) async fn place(&mut self, sent: &Sent) -> Result<(u32, i64)> {
        let answer = self.ask(&sent.line()).await?;
        let partition = answer["partition"].as_u64().and_then(|number| u32::try_from(number).ok());
        partition.zip(answer["offset"].as_i64()).with_context(|| format!("{} answers {answer}", self.name))
    }

    /// Begins, commits or aborts a transaction.
    pub(super) async fn transaction(&mut self, what: &str) -> Result<()> {
        self.ask(&json!({"transaction": what})).await.map(drop)
    }

    pub(super) async fn ask(&mut self, line: &Value) -> Result<Value> {
        let exchange = async {
            self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
            let answer =
                self.stdout.next_line().await?.with_context(|| format!("{} has ended", self.name))?;
            Ok(serde_json::from_str(&answer)?)
        };
        timeout(PATIENCE, exchange).await.with_context(|| format!("{} does not answer", self.name))?
    }
}

/// A single-file program for Java's source launcher, with the broker's own jars.
pub(super) fn java(file: impl AsRef<Path>) -> Command {
    let mut command = Command::new("java");
    command
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(root().join("target/kafka/*"))
        .arg(root().join(file));
    command
}

/// A record as a foreign consumer has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) partition: u32,
    pub(super) offset: i64,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Vec<(String, Bytes)>,
    /// The value, decoded by protobuf's own library.
    pub(super) message: Value,
}

impl Got {
    /// The last header of this name, as text.
    pub(super) fn header(&self, name: &str) -> Result<String> {
        let found = self.headers.iter().rev().find(|(found, _)| found == name);
        let (_, value) = found.with_context(|| format!("no header {name} in {self:?}"))?;
        Ok(String::from_utf8(value.to_vec())?)
    }

    fn of(line: &str) -> Result<Self> {
        let told: Value = serde_json::from_str(line)?;
        let headers = told["headers"].as_array().context("it tells headers")?;
        let header = |pair: &Value| Some((pair[0].as_str()?.to_owned(), unhex(&pair[1]).unwrap_or_default()));
        Ok(Self {
            partition: u32::try_from(told["partition"].as_u64().context("it tells a partition")?)?,
            offset: told["offset"].as_i64().context("it tells an offset")?,
            key: unhex(&told["key"]),
            value: unhex(&told["value"]),
            headers: headers.iter().filter_map(header).collect(),
            message: told["message"].clone(),
        })
    }
}

/// A foreign consumer that follows a topic from its start on.
pub(super) struct Topic {
    name: String,
    _child: Child,
    // Its end ends the program.
    _stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Topic {
    pub(super) fn follow(deployment: &Deployment, topic: &str, message: Option<&str>) -> Result<Self> {
        let mut command = Command::new(python());
        command.arg(root().join("tests/native/consume.py")).args([deployment.kafka(), topic]).args(message);
        let Client { child, stdin, stdout, .. } = Client::start("consume.py", command)?;
        Ok(Self { name: topic.to_owned(), _child: child, _stdin: stdin, stdout })
    }

    pub(super) async fn next(&mut self) -> Result<Got> {
        let line = timeout(PATIENCE, self.stdout.next_line()).await;
        let line = line.with_context(|| format!("nothing more comes on {}", self.name))??;
        Got::of(&line.context("the consumer has ended")?)
    }

    /// Reads on until `enough` is true of all that was read here.
    pub(super) async fn until(&mut self, enough: impl Fn(&[Got]) -> bool) -> Result<Vec<Got>> {
        let mut all = Vec::new();
        while !enough(&all) {
            all.push(self.next().await?);
        }
        Ok(all)
    }
}

/// Runs kcat with these arguments on a topic, and gives it its input.
pub(super) async fn kcat(deployment: &Deployment, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new("kcat");
    command.args(["-b", deployment.kafka()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("start kcat")?;
    let mut stdin = child.stdin.take().context("its input is piped")?;
    stdin.write_all(input.as_bytes()).await?;
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.context("kcat does not end")??;
    ensure!(output.status.success(), "kcat: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn unhex(text: &Value) -> Option<Bytes> {
    let text = text.as_str()?;
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
