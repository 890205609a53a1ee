//! The topic of outcomes, as a native producer reads it: by position and by id.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    deployment,
    foreign::{Client, Got, Sent, Topic},
};

/// An integer of protobuf's JSON: a string where it has 64 bits, absent where it is 0.
fn number(message: &Value, name: &str) -> i64 {
    let text = message[name].as_str().and_then(|text| text.parse().ok());
    text.or_else(|| message[name].as_i64()).unwrap_or(0)
}

/// The range of a record's value that holds an offset of a partition.
fn holds(got: &Got, partition: u32, offset: i64) -> bool {
    let range = &got.message;
    number(range, "partition") == i64::from(partition)
        && (number(range, "from")..=number(range, "to")).contains(&offset)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_record_is_told_by_partition_position_and_id() -> Result<()> {
    let deployment = deployment(4).await?;
    let mut client = Client::confluent(&deployment)?;
    let id = |number: u8| vec![number; 16];
    let sent = [
        ("applied", Sent::plain("default/a", "1").header("kv-if-none-match", "*").header("kv-id", id(1))),
        ("rejected", Sent::plain("default/a", "2").header("kv-if-none-match", "*").header("kv-id", id(2))),
        ("duplicate", Sent::plain("default/a", "1").header("kv-id", id(1))),
        ("plain", Sent::plain("default/b", "1").header("kv-id", id(3))),
        ("deadLettered", Sent::plain("default/c", "1").header("kv-ttl-ms", "soon").header("kv-id", id(4))),
        ("result", Sent::record("default/n", "id: \"fffffffffffffff5\" increment { by: 5 }")),
    ];
    let mut places = BTreeMap::new();
    for (name, sent) in sent {
        places.insert(name, client.place(&sent).await?);
    }
    let mut topic =
        Topic::follow(&deployment, &format!("{}.outcomes", deployment.prefix()), Some("OutcomeRange"))?;
    let all = topic
        .until(|all| {
            places.values().all(|(partition, offset)| all.iter().any(|got| holds(got, *partition, *offset)))
        })
        .await?;
    let exception = |name: &str| -> Result<Option<&Value>> {
        let (partition, offset) = places[name];
        let found = all.iter().find(|got| holds(got, partition, offset)).context("its range came")?;
        assert_eq!(found.key.as_deref(), Some(partition.to_string().as_bytes()), "keyed by partition");
        assert_eq!(number(&found.message, "generation"), 1);
        assert_ne!(number(&found.message, "timeMs"), 0);
        let from = number(&found.message, "from");
        let exceptions = found.message["exceptions"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(exceptions.iter().find(|exception| from + number(exception, "offsetDelta") == offset))
    };
    for plain in ["applied", "plain"] {
        assert_eq!(exception(plain)?, None, "{plain}: plain success is no exception");
    }
    let rejected = exception("rejected")?.context("rejected")?;
    assert_eq!(rejected["outcome"]["rejected"]["code"], "condition-failed", "{rejected}");
    assert_eq!(rejected["id"], "AgICAgICAgICAgICAgICAg==", "its id, in base64");
    let version = number(&rejected["outcome"]["rejected"], "version");
    assert_eq!(version, 1 << 48 | places["applied"].1, "the version that the key has");
    let duplicate = exception("duplicate")?.context("duplicate")?;
    assert_eq!(number(&duplicate["outcome"]["duplicate"], "offset"), places["applied"].1, "{duplicate}");
    assert_eq!(duplicate["id"], "AQEBAQEBAQEBAQEBAQEBAQ==");
    let dead = exception("deadLettered")?.context("dead letter")?;
    assert_eq!(dead["outcome"]["deadLettered"]["code"], "ttl-invalid", "{dead}");
    let result = exception("result")?.context("an operation tells its result")?;
    let effect = &result["outcome"]["applied"]["effect"];
    assert_eq!((&effect["value"], &effect["changed"]), (&"NQ==".into(), &true.into()), "{result}");
    Ok(())
}
