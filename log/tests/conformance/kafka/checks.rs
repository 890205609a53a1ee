//! The start check names everything that Millpond cannot rely on, and what puts it right.

use millpond_log::{
    Error,
    kafka::{Cluster, Config, Topics},
};
use millpond_schemas::Generation;
use rdkafka::admin::{NewTopic, TopicReplication};

use super::{admin, config, topics};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_topics_say_what_to_run() {
    let cluster = Cluster::connect(config()).unwrap();
    let report = cluster.check(&topics()).await.unwrap();
    assert_eq!(report.mismatches.len(), 4);
    for (mismatch, name) in
        report.mismatches.iter().zip(["mutations.1", "outcomes", "deadletters", "control"])
    {
        assert_eq!(mismatch.topic, format!("{}.{name}", cluster.config().prefix));
        assert!(mismatch.to_string().contains("millpond init"), "{mismatch}");
    }
    let missing = cluster.mutations(Generation::FIRST).await;
    assert!(matches!(missing, Err(Error::Unavailable { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_wrong_setting_is_named_with_its_value_and_the_wanted_one() {
    let config = config();
    let topic = format!("{}.mutations.1", config.prefix);
    let (admin, options) = admin();
    let wrong = NewTopic::new(&topic, 3, TopicReplication::Fixed(1))
        .set("cleanup.policy", "compact")
        .set("retention.ms", "604800000")
        .set("retention.bytes", "1000000")
        .set("message.timestamp.type", "CreateTime")
        .set("max.message.bytes", "1000")
        .set("unclean.leader.election.enable", "true");
    admin.create_topics([&wrong], &options).await.unwrap()[0].as_ref().unwrap();
    let cluster = Cluster::connect(config.clone()).unwrap();
    // What is there is left as it is.
    let report = cluster.init(&topics()).await.unwrap();
    let named = |setting: &str| {
        let found = report.mismatches.iter().find(|mismatch| mismatch.setting == setting);
        let found = found.unwrap_or_else(|| panic!("{setting} is not named"));
        assert_eq!(found.topic, topic);
        (found.value.clone(), found.wanted.clone(), found.run.clone())
    };
    for (setting, value, wanted) in [
        ("cleanup.policy", "compact", "delete"),
        ("retention.ms", "604800000", "-1"),
        ("retention.bytes", "1000000", "-1"),
        ("message.timestamp.type", "CreateTime", "LogAppendTime"),
        ("max.message.bytes", "1000", "2228224"),
        ("unclean.leader.election.enable", "true", "false"),
    ] {
        let (is, must, run) = named(setting);
        assert_eq!((is.as_str(), must.as_str()), (value, wanted), "{setting}");
        let command =
            format!("--alter --entity-type topics --entity-name {topic} --add-config {setting}={wanted}");
        assert!(run.contains("kafka-configs.sh --bootstrap-server") && run.contains(&command), "{run}");
    }
    assert_eq!((named("partitions").0.as_str(), named("partitions").1.as_str()), ("3", "4"));
    assert_eq!(report.mismatches.len(), 7);

    let accept = |names: &[&str]| {
        let accept = names.iter().map(|name| (*name).to_owned()).collect();
        Cluster::connect(Config { accept, ..config.clone() }).unwrap()
    };
    let report = accept(&["retention.ms", "partitions"]).check(&topics()).await.unwrap();
    assert_eq!(report.mismatches.len(), 5);
    assert_eq!(accept(&[&topic]).check(&topics()).await.unwrap().mismatches, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_is_enough_for_development_alone() {
    let config = config();
    let made = Cluster::connect(config.clone()).unwrap().init(&topics()).await.unwrap();
    assert_eq!(made.mismatches, []);
    let strict = Cluster::connect(Config { dev: false, ..config }).unwrap();
    let report = strict.check(&topics()).await.unwrap();
    let of = |setting: &str| report.mismatches.iter().filter(|mismatch| mismatch.setting == setting).count();
    assert_eq!((of("replication factor"), of("min.insync.replicas"), report.mismatches.len()), (4, 4, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_number_of_partitions_is_a_mismatch() {
    let cluster = Cluster::connect(config()).unwrap();
    cluster.init(&topics()).await.unwrap();
    let report = cluster.init(&Topics { partitions: 8, ..topics() }).await.unwrap();
    let named: Vec<_> = report.mismatches.iter().map(|mismatch| mismatch.setting.as_str()).collect();
    assert_eq!(named, ["partitions"]);
}
