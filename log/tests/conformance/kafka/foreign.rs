//! What foreign clients may put on the topic, byte by byte: no client library would send it.

use bytes::{BufMut, Bytes};
use millpond_schemas::{ByteString, Generation, Offset, PartitionId};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{brokers, cluster, read_to};
use crate::{raw, to};

fn varint(into: &mut Vec<u8>, number: usize) {
    let mut zigzag = number << 1;
    while zigzag > 0x7f {
        into.put_u8(u8::try_from(zigzag & 0x7f).unwrap() | 0x80);
        zigzag >>= 7;
    }
    into.put_u8(u8::try_from(zigzag).unwrap());
}

fn part(into: &mut Vec<u8>, bytes: &[u8]) {
    varint(into, bytes.len());
    into.put_slice(bytes);
}

/// A batch of one record with these headers, in Kafka's format 2.
fn batch(key: &[u8], value: &[u8], headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut record = vec![0, 0, 0];
    part(&mut record, key);
    part(&mut record, value);
    varint(&mut record, headers.len());
    for (name, value) in headers {
        part(&mut record, name);
        part(&mut record, value);
    }
    let mut covered = Vec::new();
    covered.put_i16(0);
    covered.put_i32(0);
    covered.put_i64(0);
    covered.put_i64(0);
    covered.put_i64(-1);
    covered.put_i16(-1);
    covered.put_i32(-1);
    covered.put_i32(1);
    part(&mut covered, &record);
    let mut batch = Vec::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(covered.len() + 9).unwrap());
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&covered));
    batch.extend(covered);
    batch
}

/// Sends a batch to partition 0 with a Produce request of version 3. Its offset.
async fn produce(topic: &str, batch: &[u8]) -> i64 {
    let mut request = Vec::new();
    request.put_i16(0);
    request.put_i16(3);
    request.put_i32(7);
    request.put_i16(-1);
    request.put_i16(-1);
    request.put_i16(-1);
    request.put_i32(30_000);
    request.put_i32(1);
    request.put_i16(i16::try_from(topic.len()).unwrap());
    request.put_slice(topic.as_bytes());
    request.put_i32(1);
    request.put_i32(0);
    request.put_i32(i32::try_from(batch.len()).unwrap());
    request.put_slice(batch);
    let mut broker = TcpStream::connect(brokers()).await.unwrap();
    broker.write_u32(u32::try_from(request.len()).unwrap()).await.unwrap();
    broker.write_all(&request).await.unwrap();
    let mut answer = vec![0; usize::try_from(broker.read_u32().await.unwrap()).unwrap()];
    broker.read_exact(&mut answer).await.unwrap();
    // Behind correlation, one topic's name, and one partition's number: an error code and the offset.
    let answer = &answer[4 + 4 + 2 + topic.len() + 4 + 4..];
    assert_eq!(answer[..2], [0, 0], "the broker takes it");
    i64::from_be_bytes(answer[2..10].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_whose_name_is_no_text_stops_nobody() {
    let cluster = cluster().await;
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    let topic = format!("{}.mutations.1", cluster.config().prefix);
    let headers: [(&[u8], &[u8]); 3] = [(b"fine", b"1"), (b"\xff\xfe", b"2"), (b"", b"\0")];
    assert_eq!(produce(&topic, &batch(b"k", b"poison", &headers)).await, 0);
    log.append(vec![to(0, raw("k", "neighbour"))]).await.unwrap();
    let read = read_to(&log, 0, 0, 2).await;
    assert_eq!(read[1].raw, raw("k", "neighbour"));
    let poison = &read[0].raw;
    assert_eq!((poison.key.as_deref(), poison.value.as_deref()), (Some(&b"k"[..]), Some(&b"poison"[..])));
    let headers: [(ByteString, Bytes); 3] = [
        ("fine".into(), Bytes::from_static(b"1")),
        ("\u{fffd}".into(), Bytes::new()),
        (ByteString::new(), Bytes::from_static(b"\0")),
    ];
    assert_eq!(poison.headers, headers);
    // Both readers see the same bytes, or their digests would differ.
    assert_eq!(log.record(PartitionId(0), Offset(0)).await.unwrap().unwrap().raw, *poison);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn very_many_headers_are_read_whole() {
    let cluster = cluster().await;
    let log = cluster.mutations(Generation::FIRST).await.unwrap();
    let topic = format!("{}.mutations.1", cluster.config().prefix);
    let headers: Vec<(&[u8], &[u8])> = vec![(b"name", b"value"); 10_000];
    produce(&topic, &batch(b"k", b"v", &headers)).await;
    assert_eq!(read_to(&log, 0, 0, 1).await[0].raw.headers.len(), 10_000);
}
