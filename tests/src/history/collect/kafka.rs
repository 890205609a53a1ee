//! Topics, read whole by a consumer that Millpond has no part in.
//!
//! Invariant: what it gives is what any consumer with `read_committed` gets.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millpond_schemas::{Offset, PartitionId, Raw, Received, UnixMillis};
use rdkafka::{
    ClientConfig, Message, Offset as From, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::Headers,
    metadata::MetadataPartition,
};

use super::{hole, record_of};
use crate::{
    deployment::PATIENCE,
    history::{Event, LogBounds, Published, Recorder},
};

const POLL: Duration = Duration::from_millis(200);

/// The mutations topic: every record and what the partitions span.
pub(super) fn mutations(brokers: &str, topic: &str, recorder: &Recorder) -> Result<()> {
    for (partition, bounds) in bounds(brokers, topic)? {
        let (mut expected, mut holes) = (Offset(bounds.0), Vec::new());
        each(brokers, topic, partition, bounds, |record| {
            hole(&mut holes, expected, record.offset);
            expected = record.offset.next();
            recorder.record(&Event::Log(record_of(partition, record)));
            Ok(())
        })?;
        hole(&mut holes, expected, Offset(bounds.1));
        let (start, end) = bounds;
        recorder.record(&Event::Bounds(LogBounds { partition: partition.0, start, end, holes }));
    }
    Ok(())
}

/// The dead-letter topic: which record each is, and why.
pub(super) fn dead_letters(brokers: &str, topic: &str, recorder: &Recorder) -> Result<()> {
    for (partition, bounds) in bounds(brokers, topic)? {
        each(brokers, topic, partition, bounds, |record| {
            let text = |name: &str| {
                let value =
                    record.raw.header(name).with_context(|| format!("a dead letter without {name}"))?;
                anyhow::Ok(String::from_utf8_lossy(value).into_owned())
            };
            recorder.record(&Event::Published(Published {
                partition: text("__connect.errors.partition")?.parse()?,
                offset: text("__connect.errors.offset")?.parse()?,
                reason: text("kv-error-code")?,
            }));
            Ok(())
        })?;
    }
    Ok(())
}

fn consumer(brokers: &str) -> Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("group.id", "history"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "error"),
    ] {
        config.set(name, value);
    }
    Ok(config.create()?)
}

/// What every partition spans.
fn bounds(brokers: &str, topic: &str) -> Result<Vec<(PartitionId, (i64, i64))>> {
    let consumer = consumer(brokers)?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    let found = metadata.topics().first().with_context(|| format!("there is no topic {topic}"))?;
    let mut partitions: Vec<i32> = found.partitions().iter().map(MetadataPartition::id).collect();
    partitions.sort_unstable();
    let spanned = partitions.into_iter().map(|partition| {
        let bounds = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
        Ok((PartitionId(u32::try_from(partition)?), bounds))
    });
    spanned.collect()
}

/// Calls `take` with every record of a partition within its bounds.
fn each(
    brokers: &str,
    topic: &str,
    partition: PartitionId,
    (start, end): (i64, i64),
    mut take: impl FnMut(Received) -> Result<()>,
) -> Result<()> {
    if start >= end {
        return Ok(());
    }
    let consumer = consumer(brokers)?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(topic, i32::try_from(partition.0)?, From::Offset(start))?;
    consumer.assign(&assigned)?;
    let mut last = Instant::now();
    loop {
        match consumer.poll(POLL) {
            None => ensure!(last.elapsed() < PATIENCE, "{topic} {partition} cannot be read up to {end}"),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) => return Err(error).with_context(|| format!("read {topic} {partition}")),
            Some(Ok(message)) => {
                last = Instant::now();
                if message.offset() >= end {
                    return Ok(());
                }
                take(received(&message))?;
                if message.offset() == end - 1 {
                    return Ok(());
                }
            }
        }
    }
}

fn received(message: &impl Message) -> Received {
    let copied = |bytes: &[u8]| bytes.to_vec().into();
    let headers = message.headers().into_iter().flat_map(|headers| {
        headers.iter().map(move |header| (header.key.into(), copied(header.value.unwrap_or_default())))
    });
    Received {
        offset: Offset(message.offset()),
        time: UnixMillis(message.timestamp().to_millis().unwrap_or(0)),
        raw: Raw {
            headers: headers.collect(),
            key: message.key().map(copied),
            value: message.payload().map(copied),
        },
    }
}
