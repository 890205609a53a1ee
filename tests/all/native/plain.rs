//! The plain form: what a value, an empty one and none mean, and every header.

use anyhow::Result;
use millpond_tests::deployment::Deployment;

use super::{
    deployment,
    foreign::{Client, Sent},
    get, outcome,
};

const KEY: &str = "default/plain";

/// A column of the key's row, as SQL has it.
fn column(deployment: &Deployment, column: &str) -> Result<String> {
    let partition = deployment.partition("plain");
    deployment.psql(
        deployment.shard_of(partition),
        0,
        &format!("SELECT {column} FROM kv WHERE key = 'plain'"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_a_put_an_empty_one_too_and_none_is_a_delete() -> Result<()> {
    let deployment = deployment(2).await?;
    for mut client in [Client::kafka_python(&deployment)?, Client::java(&deployment, &[])?] {
        for (sent, status, body) in [
            (Sent::plain(KEY, "value"), 200, "value"),
            (Sent::null(KEY), 404, ""),
            (Sent::plain(KEY, ""), 200, ""),
            (Sent::null(KEY), 404, ""),
            // What is no header of ours is nobody's business, and travels.
            (
                Sent::plain(KEY, "traced").header("traceparent", "00-1-2-01").header("mine", "\u{0}"),
                200,
                "traced",
            ),
        ] {
            client.send(&sent).await?;
            let answer = get(deployment.api(0), KEY.as_bytes()).await?;
            assert_eq!(answer.status, status, "{sent:?}");
            if status == 200 {
                assert_eq!(answer.text(), body, "{sent:?}");
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_type_and_expiry_are_those_of_the_headers() -> Result<()> {
    let deployment = deployment(2).await?;
    let mut client = Client::confluent(&deployment)?;
    let content_type = "application/vnd.mine+json; charset=utf-8";
    client.send(&Sent::plain(KEY, "1").header("content-type", content_type)).await?;
    let answer = get(deployment.api(0), KEY.as_bytes()).await?;
    assert_eq!((answer.header("content-type"), answer.header("kv-expires-at")), (content_type, ""));

    // From the record's append time, which the row has as its time of change.
    client.send(&Sent::plain(KEY, "2").header("kv-ttl-ms", "3600000")).await?;
    let answer = get(deployment.api(0), KEY.as_bytes()).await?;
    assert_ne!(answer.header("kv-expires-at"), "");
    assert_eq!(answer.header("content-type"), "application/octet-stream", "a put replaces everything");
    assert_eq!(column(&deployment, "expires_at - updated_at")?, "3600000");

    client.send(&Sent::plain(KEY, "3").header("kv-expires-at-ms", "4102444800123")).await?;
    let answer = get(deployment.api(0), KEY.as_bytes()).await?;
    assert_eq!(answer.header("kv-expires-at"), "2100-01-01T00:00:00.123Z");
    assert_eq!(column(&deployment, "expires_at")?, "4102444800123");

    // One that lies in the past is no error: the key has expired.
    client.send(&Sent::plain(KEY, "4").header("kv-expires-at-ms", "1")).await?;
    assert_eq!(get(deployment.api(0), KEY.as_bytes()).await?.status, 404);
    client.send(&Sent::plain(KEY, "5")).await?;
    let answer = get(deployment.api(0), KEY.as_bytes()).await?;
    assert_eq!((answer.text().as_str(), answer.header("kv-expires-at")), ("5", ""));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_are_judged_in_the_order_of_the_log() -> Result<()> {
    let deployment = deployment(2).await?;
    let (api, mut client) = (deployment.api(0), Client::kafka_python(&deployment)?);
    let mut send = async |sent: Sent| {
        let position = client.send(&sent).await?;
        let told = outcome(api, &position).await?;
        anyhow::Ok((position, told["status"].as_str().unwrap_or_default().to_owned(), told))
    };
    let (_, status, told) = send(Sent::plain(KEY, "0").header("kv-if-match", "*")).await?;
    assert_eq!(
        (status.as_str(), &told["problem"]["code"]),
        ("rejected", &"condition-failed".into()),
        "absent"
    );
    let (first, status, _) = send(Sent::plain(KEY, "1").header("kv-if-none-match", "*")).await?;
    assert_eq!(status, "applied");
    let (_, status, told) = send(Sent::plain(KEY, "2").header("kv-if-none-match", "*")).await?;
    assert_eq!(status, "rejected");
    assert_eq!(told["problem"]["current"], first.as_str(), "{told}");
    let (second, status, _) = send(Sent::plain(KEY, "3").header("kv-if-match", first.clone())).await?;
    assert_eq!(status, "applied", "a bare position");
    let (third, status, _) =
        send(Sent::plain(KEY, "4").header("kv-if-match", format!("\"{second}\""))).await?;
    assert_eq!(status, "applied", "an ETag as HTTP spells it");
    let (_, status, _) = send(Sent::plain(KEY, "5").header("kv-if-match", first)).await?;
    assert_eq!(status, "rejected", "an old version");
    let (_, status, _) = send(Sent::null(KEY).header("kv-if-match", second)).await?;
    assert_eq!(status, "rejected", "a delete has conditions too");
    let answer = get(api, KEY.as_bytes()).await?;
    assert_eq!((answer.text().as_str(), answer.header("etag")), ("4", format!("\"{third}\"").as_str()));
    let (_, status, _) = send(Sent::null(KEY).header("kv-if-match", third)).await?;
    assert_eq!(status, "applied");
    assert_eq!(get(api, KEY.as_bytes()).await?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_counts_once_in_either_spelling_and_a_durable_one_stands_for_one_request() -> Result<()> {
    const HEX: &str = "00FF1032547698badcfe0123456789ab";
    const BYTES: [u8; 16] = 0x00ff_1032_5476_98ba_dcfe_0123_4567_89ab_u128.to_be_bytes();
    let deployment = deployment(2).await?;
    let (api, mut client) = (deployment.api(0), Client::confluent(&deployment)?);
    let mut send = async |sent: Sent| {
        let position = client.send(&sent).await?;
        anyhow::Ok((position.clone(), outcome(api, &position).await?))
    };
    let (first, told) = send(Sent::plain(KEY, "once").header("kv-id", HEX)).await?;
    assert_eq!(told["status"], "applied");
    let (_, told) = send(Sent::plain(KEY, "twice").header("kv-id", BYTES.to_vec())).await?;
    assert_eq!((&told["status"], &told["of"]), (&"duplicate".into(), &first.as_str().into()), "{told}");
    // An id is one of its key; and no id is none.
    for other in [
        Sent::plain("default/other", "x").header("kv-id", HEX),
        Sent::plain(KEY, "once").header("kv-id", [0; 16].to_vec()),
        Sent::plain(KEY, "once").header("kv-id", [0; 16].to_vec()),
    ] {
        assert_eq!(send(other.clone()).await?.1["status"], "applied", "{other:?}");
    }
    let durable = |value: &'static str| {
        Sent::plain(KEY, value).header("kv-id", vec![7; 16]).header("kv-durable", "true")
    };
    let (first, told) = send(durable("durable")).await?;
    assert_eq!(told["status"], "applied");
    let (_, told) = send(durable("durable")).await?;
    assert_eq!((&told["status"], &told["of"]), (&"duplicate".into(), &first.as_str().into()), "{told}");
    let (_, told) = send(durable("another request")).await?;
    assert_eq!(told["problem"]["code"], "idempotency-conflict", "{told}");
    assert_eq!(get(api, KEY.as_bytes()).await?.text(), "durable");
    // The record form has the same.
    let record = "id: \"0123456789abcdef\" durable: true increment { by: 1 }";
    let (first, told) = send(Sent::record("default/n", record)).await?;
    assert_eq!(told["status"], "applied", "{told}");
    let (_, told) = send(Sent::record("default/n", record)).await?;
    assert_eq!((&told["status"], &told["of"]), (&"duplicate".into(), &first.as_str().into()), "{told}");
    assert_eq!(get(api, b"default/n").await?.text(), "1");
    let (_, told) = send(Sent::record("default/n", record.replace("by: 1", "by: 2"))).await?;
    assert_eq!(told["problem"]["code"], "idempotency-conflict", "{told}");
    Ok(())
}
