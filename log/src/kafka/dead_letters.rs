//! Records that can never apply, on a topic for people and tools to read.
//!
//! The shards' `dead_letter` rows are the truth; this is filled from them, at least once. Invariant: a record comes out
//! as it went in, with Kafka Connect's headers, which say why, behind its own.

use bytes::Bytes;
use millpond_schemas::{ByteString, DeadLetter, PartitionId};

use super::Log;
use crate::{Acks, Append, Error};

/// What names of headers start with that Kafka Connect gives a record that it could not handle.
const CONNECT: &str = "__connect.errors.";
/// Where in Millpond records are refused.
const STAGE: &str = "TASK_PUT";
/// What refuses them.
const CLASS: &str = "millpond";

/// The topic of dead letters. A clone is the same one.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    log: Log,
    /// The topic that the records lie on.
    source: String,
}

impl DeadLetters {
    pub(super) fn open(log: Log, source: String) -> Self {
        Self { log, source }
    }

    /// Publishes records of one partition, and waits until they are durable.
    ///
    /// # Errors
    /// [`Error::Backpressure`], [`Error::Unavailable`], [`Error::Unknown`]: do it again.
    /// [`Error::TooLarge`]: the topic does not take one of them.
    pub async fn publish(&self, partition: PartitionId, letters: Vec<DeadLetter>) -> Result<(), Error> {
        let to = PartitionId(partition.0 % self.log.partitions());
        let append = |letter| Append { partition: to, raw: self.addressed(partition, letter) };
        let records: Vec<_> = letters.into_iter().map(append).collect();
        Acks(self.log.enqueue(&records)?).await.map(drop)
    }

    /// Sends what was taken, and takes no more.
    pub async fn close(&self) {
        self.log.close().await;
    }

    /// The record with the headers that say why it is here.
    fn addressed(&self, partition: PartitionId, letter: DeadLetter) -> millpond_schemas::Raw {
        let mut raw = letter.raw;
        let code = letter.refusal.reason.code();
        let connect = [
            ("topic", self.source.clone()),
            ("partition", partition.to_string()),
            ("offset", letter.offset.to_string()),
            ("connector.name", "millpond".to_owned()),
            ("task.id", partition.to_string()),
            ("stage", STAGE.to_owned()),
            ("class.name", CLASS.to_owned()),
            ("exception.class.name", code.to_owned()),
            ("exception.message", letter.refusal.detail),
        ];
        raw.headers
            .extend(connect.map(|(name, value)| (format!("{CONNECT}{name}").into(), Bytes::from(value))));
        raw.headers.push((ByteString::from_static("kv-error-code"), Bytes::from_static(code.as_bytes())));
        raw
    }
}
