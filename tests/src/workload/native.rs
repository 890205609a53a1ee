//! A native producer: records straight to the topic, as Millpond's contract has them.
//!
//! Invariant: what was enqueued and not acked is *unknown*.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use millpond_schemas::{ByteString, HEADER_FORMAT, Raw, partition_of};
use rdkafka::{
    ClientConfig, ClientContext, Message,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
};
use tokio::{sync::oneshot, time::timeout};

use crate::history::{Change, Expiry, Intent, Told, WriteResult};

/// How long librdkafka tries. The client waits a little longer.
const DELIVER_WITHIN: Duration = Duration::from_secs(15);

type Acked = Result<(i32, i64), KafkaError>;

struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Acked>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let acked = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.clone()),
        };
        // Who waited for it may have given up.
        let _ = tell.send(acked);
    }
}

/// A producer of the mutations topic.
pub(crate) struct Native {
    producer: ThreadedProducer<Deliveries>,
    topic: String,
    partitions: u32,
}

impl Native {
    pub(crate) fn connect((brokers, topic, partitions): &(String, String, u32)) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("acks", "all").set("enable.idempotence", "true");
        config.set("linger.ms", "2").set("message.timeout.ms", DELIVER_WITHIN.as_millis().to_string());
        let producer = config.create_with_context(Deliveries)?;
        Ok(Self { producer, topic: topic.clone(), partitions: *partitions })
    }

    /// Sends a record and waits for its ack.
    pub(crate) async fn send(&self, intent: &Intent, is_plain: bool) -> WriteResult {
        let failed = |code: String| WriteResult::Failed { status: 0, code };
        let unknown = |code: String| WriteResult::Unknown { status: 0, code };
        let Some((raw, partition)) = self.raw(intent, is_plain) else {
            return failed("nothing to be sent".to_owned());
        };
        let (tell, told) = oneshot::channel();
        let mut record = BaseRecord::with_opaque_to(&self.topic, Box::new(tell)).partition(partition);
        record.key = raw.key.as_deref();
        record.payload = raw.value.as_deref();
        record.headers = Some(headers(&raw.headers));
        if let Err((error, _)) = self.producer.send(record) {
            return failed(error.to_string());
        }
        match timeout(DELIVER_WITHIN * 2, told).await {
            Ok(Ok(Ok((partition, offset)))) if offset >= 0 => {
                WriteResult::Ok(Told::accepted(format!("1-{partition}-{offset}")))
            }
            Ok(Ok(Ok(_))) => WriteResult::Ok(Told { position: None, ..Told::accepted("") }),
            Ok(Ok(Err(error))) if is_too_large(&error) => failed(error.to_string()),
            Ok(Ok(Err(error))) => unknown(error.to_string()),
            Ok(Err(_)) | Err(_) => unknown("no ack came".to_owned()),
        }
    }

    fn raw(&self, intent: &Intent, is_plain: bool) -> Option<(Raw, i32)> {
        let partition = match &intent.change {
            Change::Poison { .. } => partition_of(&intent.key.0, self.partitions),
            _ => intent.record_key().ok()?.partition(self.partitions),
        };
        let partition = i32::try_from(partition.0).ok()?;
        let raw = match intent.poison() {
            Some(poison) => poison,
            None if is_plain => plain(intent)?,
            None => intent.mutation()?.encode(),
        };
        Some((raw, partition))
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge)
}

fn headers(headers: &[(ByteString, Bytes)]) -> OwnedHeaders {
    let all = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(all, |all, (key, value)| all.insert(Header { key, value: Some(&value[..]) }))
}

/// The plain form: a put or a delete, without Millpond's code.
fn plain(intent: &Intent) -> Option<Raw> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut header = |name: &str, value: &str| headers.push((name.to_owned(), value.to_owned()));
    let value = match &intent.change {
        Change::Put { value, content_type, expiry } => {
            header("content-type", content_type);
            match expiry {
                Some(Expiry::TtlMs(ms)) => header("kv-ttl-ms", &ms.to_string()),
                Some(Expiry::AtMs(ms)) => header("kv-expires-at-ms", &ms.to_string()),
                None => {}
            }
            Some(value.0.clone())
        }
        Change::Delete => None,
        _ => return None,
    };
    if let Some(version) = &intent.if_match {
        header("kv-if-match", version);
    }
    if intent.if_absent {
        header("kv-if-none-match", "*");
    }
    if let Some(id) = &intent.id {
        header("kv-id", &id.hex);
    }
    debug_assert!(headers.iter().all(|(name, _)| name != HEADER_FORMAT), "the plain form has no such header");
    let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Some(Raw { key: Some(intent.record_key().ok()?.bytes().clone()), headers, value })
}
