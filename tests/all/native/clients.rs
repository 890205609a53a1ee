//! Both forms of value, from every client, read back over HTTP.
//!
//! Invariant: the client computes the partition; the position that its ack tells is the row's `ETag`.

use anyhow::{Context, Result};
use bytes::Bytes;
use millpond_tests::deployment::Deployment;

use super::{
    deployment,
    foreign::{Client, Sent, Topic, kcat},
    get, outcome,
};

const PARTITIONS: u32 = 8;

/// Every byte there is, and a length that protobuf spells in two bytes.
fn all_bytes() -> Bytes {
    (0..=255).collect()
}

/// The same in protobuf's text format.
fn all_bytes_as_text() -> String {
    (0..=255).fold(String::new(), |text, byte| text + &format!("\\{byte:03o}"))
}

/// Keys over many partitions; some are no text.
fn keys(client: &str) -> Vec<Vec<u8>> {
    let text = (0..24).map(|n| format!("t-{n}/{client}/{n}").into_bytes());
    let bytes = [&b"\xff\x00\x80"[..], b"a/b//c", "ключ".as_bytes()];
    let bytes = bytes.map(|key| [format!("default/{client}-").as_bytes(), key].concat());
    text.chain(bytes).collect()
}

/// Sends `sent` of every key and reads all back.
async fn come_back(
    deployment: &Deployment,
    client: &mut Client,
    (keys, content_type): (&[Vec<u8>], &str),
    sent: impl Fn(&[u8]) -> Sent,
) -> Result<()> {
    let mut positions = Vec::new();
    for key in keys {
        positions.push(client.send(&sent(key)).await?);
    }
    let mut partitions = std::collections::BTreeSet::new();
    for (key, position) in keys.iter().zip(&positions) {
        let answer = get(deployment.api(0), key).await?;
        assert_eq!(answer.status, 200, "{key:?} at {position}: {answer:?}");
        assert_eq!(answer.body, all_bytes(), "{key:?}");
        assert_eq!(answer.header("etag"), format!("\"{position}\""));
        assert_eq!(answer.header("content-type"), content_type);
        partitions.insert(position.split('-').nth(1).context("a position")?.to_owned());
    }
    assert!(partitions.len() > 4, "the keys lie on {partitions:?} only");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_forms_from_every_client_come_back_byte_for_byte() -> Result<()> {
    let deployment = deployment(PARTITIONS).await?;
    let text = |key: &[u8]| {
        let put = format!("put {{ value: \"{}\" content_type: \"a/record\" }}", all_bytes_as_text());
        Sent::record(Bytes::copy_from_slice(key), put)
    };
    let plain = |key: &[u8]| Sent::plain(Bytes::copy_from_slice(key), all_bytes());
    for (name, mut client) in
        [("confluent", Client::confluent(&deployment)?), ("kafka-python", Client::kafka_python(&deployment)?)]
    {
        let record = keys(&format!("{name}-record"));
        come_back(&deployment, &mut client, (&record, "a/record"), text).await?;
        let keys = keys(name);
        come_back(&deployment, &mut client, (&keys, "application/octet-stream"), plain).await?;
    }
    let mut java = Client::java(&deployment, &[])?;
    let put = |key: &[u8]| Sent::put(Bytes::copy_from_slice(key), all_bytes(), "a/record");
    come_back(&deployment, &mut java, (&keys("java-record"), "a/record"), put).await?;
    come_back(&deployment, &mut java, (&keys("java"), "application/octet-stream"), plain).await?;
    for partition in 0..PARTITIONS {
        let dead = super::count(&deployment, partition, "SELECT count(*) FROM dead_letter")?;
        assert_eq!(dead, 0, "nothing is refused");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_of_the_record_form_is_applied() -> Result<()> {
    let deployment = deployment(2).await?;
    let (api, mut client) = (deployment.api(0), Client::kafka_python(&deployment)?);
    let key = "default/operations";
    let json = "put { value: \"{\\\"a\\\":1}\" content_type: \"application/json\" }";
    for (record, value) in [
        ("increment { by: 5 initial: 10 }", Some("15")),
        // sint64: an unset field is 0, and a record without a key of its own is as good as one with it.
        ("key: \"operations\" increment { by: -20 }", Some("-5")),
        ("append { value: \"0\" }", Some("-50")),
        (json, Some("{\"a\":1}")),
        ("merge_patch { patch: \"{\\\"b\\\":2}\" }", Some("{\"a\":1,\"b\":2}")),
        (
            "json_patch { patch: \"[{\\\"op\\\":\\\"remove\\\",\\\"path\\\":\\\"/a\\\"}]\" }",
            Some("{\"b\":2}"),
        ),
        ("ttl { expiry { ttl_ms: 3600000 } }", Some("{\"b\":2}")),
        ("delete {}", None),
        ("format: 100 put { value: \"again\" }", Some("again")),
        // A newer minor version only adds what may be left out.
        ("format: 177 put { value: \"minor\" }", Some("minor")),
    ] {
        let position = client.send(&Sent::record(key, record)).await?;
        let told = outcome(api, &position).await?;
        assert_eq!(told["status"], "applied", "{record}: {told}");
        let answer = get(api, key.as_bytes()).await?;
        match value {
            Some(value) => {
                assert_eq!((answer.text().as_str(), answer.status.as_u16()), (value, 200), "{record}");
            }
            None => assert_eq!(answer.status, 404, "{record}"),
        }
        assert_eq!(!answer.header("kv-expires-at").is_empty(), record.contains("ttl"), "{record}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_puts_deletes_and_sends_headers() -> Result<()> {
    const MURMUR2: [&str; 2] = ["-X", "topic.partitioner=murmur2_random"];
    let deployment = deployment(PARTITIONS).await?;
    let (api, topic) = (deployment.api(0), deployment.topic());
    let produce = async |arguments: &[&str], input: &str| {
        let all = [&["-P", "-t", topic.as_str()], &MURMUR2[..], arguments].concat();
        kcat(&deployment, &all, input).await.map(drop)
    };
    produce(&["-k", "default/hello"], "world\n").await?;
    let mut records = Topic::follow(&deployment, &topic, None)?;
    let wanted = |got: &super::foreign::Got| got.key.as_deref() == Some(b"default/hello");
    let sent = records.until(|all| all.last().is_some_and(wanted)).await?;
    let sent = sent.last().context("it was read")?;
    let answer = get(api, b"default/hello").await?;
    assert_eq!((answer.text().as_str(), answer.status.as_u16()), ("world", 200));
    assert_eq!(answer.header("etag"), format!("\"1-{}-{}\"", sent.partition, sent.offset));
    assert_eq!(sent.partition, deployment.partition("hello"));

    let headers = ["-k", "default/hello", "-H", "content-type=text/plain", "-H", "kv-ttl-ms=3600000"];
    produce(&headers, "with headers\n").await?;
    let answer = get(api, b"default/hello").await?;
    assert_eq!((answer.text().as_str(), answer.header("content-type")), ("with headers", "text/plain"));
    assert_ne!(answer.header("kv-expires-at"), "");

    // Without -Z an empty value is an empty value.
    produce(&["-K", ":"], "default/hello:\n").await?;
    let answer = get(api, b"default/hello").await?;
    assert_eq!((answer.text().as_str(), answer.status.as_u16()), ("", 200));
    produce(&["-Z", "-K", ":"], "default/hello:\n").await?;
    assert_eq!(get(api, b"default/hello").await?.status, 404);
    Ok(())
}
