//! Where keys go: the golden vectors, put to the clients' own partitioners.

use anyhow::Result;
use serde_json::{Value, json};

use super::{deployment, foreign::Client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_golden_partitions_are_those_of_every_clients_own_partitioner() -> Result<()> {
    let golden: Value = serde_json::from_str(include_str!("../../../schemas/golden/partition-vectors.json"))?;
    let vectors = golden["vectors"].as_array().expect("there are vectors");
    assert!(vectors.len() >= 1000, "{} vectors", vectors.len());
    let (keys, partitions): (Vec<_>, Vec<_>) =
        vectors.iter().map(|vector| (vector[0].clone(), vector[1].clone())).unzip();
    let question = json!({"partitions_of": keys, "counts": golden["partitions"]});
    let deployment = deployment(2).await?;
    for (name, mut client) in [
        ("librdkafka", Client::confluent(&deployment)?),
        ("kafka-python", Client::kafka_python(&deployment)?),
        ("java", Client::java(&deployment, &[])?),
    ] {
        let answer = client.ask(&question).await?;
        let found = answer["partitions"].as_array().expect("an answer for every key");
        assert_eq!(found.len(), partitions.len());
        for ((key, wanted), found) in keys.iter().zip(&partitions).zip(found) {
            assert_eq!(found, wanted, "{name}: {key}");
        }
    }
    Ok(())
}
