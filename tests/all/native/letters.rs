//! Dead letters: every reason that a producer can give, each among neighbours that are applied.

use std::{collections::BTreeMap, process::Stdio};

use anyhow::{Context, Result};
use bytes::Bytes;
use millpond_schemas::DeadReason as Reason;
use millpond_tests::{deployment::Deployment, roles::Kind};
use tokio::io::AsyncWriteExt;

use super::{
    count, deployment,
    foreign::{Client, Got, Sent, Topic},
    get, outcome,
};

const PARTITIONS: u32 = 4;
/// Where records go that need no other place.
const HERE: u32 = 2;

/// A record that can never apply.
struct Poison {
    reason: Reason,
    sent: Sent,
}

fn poison(reason: Reason, sent: Sent) -> Poison {
    Poison { reason, sent: sent.to(HERE) }
}

/// Records of a key that lies in the partition [`HERE`].
fn poisons(key: &str) -> Vec<Poison> {
    let plain = |name: &str, value: &str| Sent::plain(key.to_owned(), "v").header(name, value.to_owned());
    let record = |text: &str| Sent::record(key.to_owned(), text);
    let mut all = Vec::new();
    let mut add = |reason, sent: Vec<Sent>| all.extend(sent.into_iter().map(|sent| poison(reason, sent)));
    add(Reason::Undecodable, undecodable(key));
    let bytes = |value: &'static [u8]| Sent::plain(key.to_owned(), value).header("kv-format", "record");
    let null = Sent::null(key.to_owned()).header("kv-format", "record");
    add(Reason::EmptyMutation, vec![bytes(b""), null, record("id: \"0123456789abcdef\"")]);
    add(
        Reason::FormatUnknown,
        vec![record("format: 200 put { value: \"v\" }"), record("format: 4294967295")],
    );
    add(Reason::MissingKey, vec![Sent::plain("", "v").keyless(), Sent::null("").keyless()]);
    add(Reason::MissingKey, vec![record("put { value: \"v\" }").keyless()]);
    let long = format!("default/{}", "k".repeat(1025));
    for key in ["", "no-tenant", "/key", "default/", "Default/key", "défaut/key", &long] {
        add(Reason::KeyInvalid, vec![Sent::plain(key.to_owned(), "v")]);
    }
    add(
        Reason::KeyMismatch,
        vec![record("key: \"another\" put { value: \"v\" }"), record("key: \"\" delete {}")],
    );
    add(Reason::ValueTooLarge, vec![Sent::plain(key.to_owned(), vec![7; (512 << 10) + 1])]);
    let many = (0..10_000).fold(Sent::plain(key.to_owned(), "v"), |sent, _| sent.header("n", ""));
    let one_too_many = (0..129).fold(Sent::plain(key.to_owned(), "v"), |sent, _| sent.header("n", ""));
    let large = Sent::plain(key.to_owned(), "v").header("mine", vec![1; 600 << 10]);
    add(Reason::TooLarge, vec![many, one_too_many, large]);
    for ttl in ["0", "-1", "999", "315576000001", "1h", "", "1e3", "99999999999999999999"] {
        add(Reason::TtlInvalid, vec![plain("kv-ttl-ms", ttl)]);
    }
    let both = plain("kv-ttl-ms", "60000").header("kv-expires-at-ms", "4102444800000");
    add(Reason::TtlInvalid, vec![both, plain("kv-expires-at-ms", "253402300800000")]);
    add(Reason::TtlInvalid, vec![record("put { expiry { ttl_ms: 999 } }"), record("ttl { mode: EXTEND }")]);
    for (name, value) in [
        ("content-type", "a\nb"),
        ("content-type", &"t".repeat(256)),
        ("kv-if-match", ""),
        ("kv-if-match", "\"\""),
        ("kv-if-none-match", "\"1-0-0\""),
        ("kv-id", "short"),
        ("kv-id", "0123456789abcdef0123456789abcdeg"),
        ("kv-durable", "true"),
        ("kv-durable", "yes"),
    ] {
        add(Reason::HeaderInvalid, vec![plain(name, value)]);
    }
    let not_utf8 = Sent::plain(key.to_owned(), "v").header("content-type", &b"\xff"[..]);
    add(Reason::HeaderInvalid, vec![not_utf8]);
    add(Reason::UnsupportedFormat, vec![plain("kv-format", "cloudevents"), plain("kv-format", "")]);
    add(Reason::ForgedControlRecord, forged(key));
    all
}

fn undecodable(key: &str) -> Vec<Sent> {
    let bytes = |value: &'static [u8]| Sent::plain(key.to_owned(), value).header("kv-format", "record");
    let record = |text: &str| Sent::record(key.to_owned(), text);
    vec![
        bytes(b"\xff\xff\xff"),
        bytes(b"not protobuf"),
        record("id: \"too short\" put {}"),
        record("merge_patch { patch: \"{\" }"),
        record("json_patch { patch: \"[{}]\" }"),
        record(&format!("conditions {{ version: \"{}\" }} put {{}}", "1".repeat(256))),
    ]
}

fn forged(key: &str) -> Vec<Sent> {
    let record = |text: &str| Sent::record(key.to_owned(), text);
    let control = "control { log_id: \"0123456789abcdef\" partition: 2 end_seen: 1 mac_key_id: 1 }";
    let sweep = format!("id: \"0123456789abcdef\" {control} sweep {{ rows_max: 1 }}");
    let unknown = sweep.replace("mac_key_id: 1", "mac_key_id: 9");
    vec![
        record(&sweep),
        record(&sweep).keyless(),
        record(&sweep).keyless().header("kv-mac", vec![0; 32]),
        record(&unknown).keyless().header("kv-mac", vec![0; 32]),
        record("seal { next_generation: 2 }").keyless(),
        record("claim { copy: \"shard-0\" partitions: 4 }").header("kv-mac", vec![0; 32]),
        record(&format!("{control} put {{ value: \"v\" }}")),
    ]
}

/// The rows of all dead letters on a partition's shard: partition, offset, reason and message.
fn rows(deployment: &Deployment) -> Result<BTreeMap<(u32, i64), (String, String)>> {
    let mut rows = BTreeMap::new();
    for shard in 0..2 {
        let said =
            deployment.psql(shard, 0, "SELECT partition, log_offset, reason, detail FROM dead_letter")?;
        for line in said.lines() {
            let mut fields = line.splitn(4, '|').map(str::to_owned);
            let mut field = || fields.next().context("a column");
            let place = (field()?.parse()?, field()?.parse()?);
            assert_eq!(rows.insert(place, (field()?, field()?)), None, "one row for each");
        }
    }
    Ok(rows)
}

/// The records of a topic by their place, as far as these places go.
async fn read(
    deployment: &Deployment,
    topic: &str,
    ends: &BTreeMap<u32, i64>,
) -> Result<BTreeMap<(u32, i64), Got>> {
    let mut topic = Topic::follow(deployment, topic, None)?;
    let all = topic
        .until(|all| {
            let reached = |(partition, end): (&u32, &i64)| {
                all.iter().any(|got: &Got| got.partition == *partition && got.offset >= *end)
            };
            ends.iter().all(reached)
        })
        .await?;
    Ok(all.into_iter().map(|got| ((got.partition, got.offset), got)).collect())
}

/// The dead letters on their topic, by the place where they lay.
async fn letters(
    deployment: &Deployment,
    wanted: &BTreeMap<(u32, i64), Reason>,
) -> Result<BTreeMap<(u32, i64), Got>> {
    let place = |got: &Got| -> Result<(u32, i64)> {
        let header = |name: &str| got.header(&format!("__connect.errors.{name}"));
        Ok((header("partition")?.parse()?, header("offset")?.parse()?))
    };
    let mut topic = Topic::follow(deployment, &format!("{}.deadletters", deployment.prefix()), None)?;
    let mut found = BTreeMap::new();
    while wanted.keys().any(|place| !found.contains_key(place)) {
        let got = topic.next().await?;
        // More than once is allowed: the last one counts as well as the first.
        found.insert(place(&got)?, got);
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "and no others");
    Ok(found)
}

/// The headers that say why, behind the record's own.
fn added(
    deployment: &Deployment,
    (partition, offset): (u32, i64),
    code: &str,
    detail: &str,
) -> Vec<(String, Bytes)> {
    let connect = [
        ("topic", deployment.topic()),
        ("partition", partition.to_string()),
        ("offset", offset.to_string()),
        ("connector.name", "millpond".to_owned()),
        ("task.id", partition.to_string()),
        ("stage", "TASK_PUT".to_owned()),
        ("class.name", "millpond".to_owned()),
        ("exception.class.name", code.to_owned()),
        ("exception.message", detail.to_owned()),
    ];
    let mut added: Vec<_> =
        connect.into_iter().map(|(name, value)| (format!("__connect.errors.{name}"), value.into())).collect();
    added.push(("kv-error-code".to_owned(), Bytes::copy_from_slice(code.as_bytes())));
    added
}

/// What was sent: poison by its place, with the reason that is wanted, and good records with their positions.
#[derive(Default)]
struct Mixed {
    wanted: BTreeMap<(u32, i64), Reason>,
    good: BTreeMap<String, String>,
}

impl Mixed {
    /// Every poison behind a good record of its own.
    async fn send(&mut self, deployment: &Deployment) -> Result<()> {
        let mut client = Client::confluent(deployment)?;
        let neighbour = |number: usize| {
            let mut keys = (0..).map(|n| format!("n-{number}-{n}"));
            keys.find(|key| deployment.partition(key) == HERE).expect("there is one")
        };
        let keys = deployment.keys("poison-");
        let all = poisons(&format!("default/{}", keys[HERE as usize]));
        for (number, Poison { reason, sent }) in all.into_iter().enumerate() {
            let key = format!("default/{}", neighbour(number));
            let position = client.send(&Sent::plain(key.clone(), "neighbour").to(HERE)).await?;
            self.good.insert(key, position);
            self.wanted.insert(client.place(&sent).await?, reason);
        }
        let key = format!("default/{}", neighbour(usize::MAX));
        self.good.insert(key.clone(), client.send(&Sent::plain(key, "the last one")).await?);
        Ok(())
    }

    /// What befalls whoever leaves librdkafka's default partitioner as it is.
    async fn send_astray(&mut self, deployment: &Deployment) -> Result<()> {
        let mut client = Client::confluent_by_default(deployment)?;
        for number in 0..20 {
            let key = format!("astray-{number}");
            let place = client.place(&Sent::plain(format!("default/{key}"), "v")).await?;
            if place.0 == deployment.partition(&key) {
                self.good.insert(format!("default/{key}"), format!("1-{}-{}", place.0, place.1));
            } else {
                self.wanted.insert(place, Reason::WrongPartition);
            }
        }
        Ok(())
    }

    fn total(&self, reason: Reason) -> usize {
        self.wanted.values().filter(|wanted| **wanted == reason).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_gives_one_dead_letter_and_its_neighbours_are_applied() -> Result<()> {
    let deployment = deployment(PARTITIONS).await?;
    let mut mixed = Mixed::default();
    mixed.send(&deployment).await?;
    mixed.send_astray(&deployment).await?;
    deployment.drained().await?;
    let rows = rows(&deployment)?;
    let found: BTreeMap<_, _> = rows.iter().map(|(place, (reason, _))| (*place, reason.as_str())).collect();
    let codes: BTreeMap<_, _> = mixed.wanted.iter().map(|(place, reason)| (*place, reason.code())).collect();
    assert_eq!(found, codes);
    for (key, position) in &mixed.good {
        let answer = get(deployment.api(0), key.as_bytes()).await?;
        let etag = format!("\"{position}\"");
        assert_eq!((answer.status.as_u16(), answer.header("etag")), (200, etag.as_str()), "{key}");
    }
    let ends: BTreeMap<u32, i64> = mixed.wanted.keys().copied().collect();
    let sent = read(&deployment, &deployment.topic(), &ends).await?;
    for (place, letter) in letters(&deployment, &mixed.wanted).await? {
        let (sent, (code, detail)) = (&sent[&place], &rows[&place]);
        assert_eq!((&letter.key, &letter.value), (&sent.key, &sent.value), "{place:?}, {code}");
        let headers = [sent.headers.clone(), added(&deployment, place, code, detail)].concat();
        assert_eq!(letter.headers, headers, "{place:?}, {code}");
    }
    // The two that only the system can cause have tests of their own.
    let elsewhere = [Reason::Sealed, Reason::Skipped];
    let metrics = deployment.ops(Kind::Writer, 0).get("/metrics").send().await?.text();
    for reason in Reason::ALL {
        let total = mixed.total(*reason);
        assert_eq!(total == 0, elsewhere.contains(reason), "{reason}");
        let line = format!("millpond_writer_dead_letters_total{{reason=\"{reason}\"}} {total}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_in_the_wrong_partition_names_the_setting_to_change() -> Result<()> {
    let deployment = deployment(2).await?;
    let key = format!("default/{}", deployment.keys("key-")[0]);
    let position = Client::kafka_python(&deployment)?.send(&Sent::plain(key, "v").to(1)).await?;
    let told = outcome(deployment.api(0), &position).await?;
    assert_eq!(told["status"], "dead_lettered", "{told}");
    assert_eq!(told["problem"]["reason"], "wrong-partition", "{told}");
    let rows = rows(&deployment)?;
    let (_, detail) = rows.values().next().context("one row")?;
    for setting in ["murmur2", "partitioner=murmur2_random", "partition 0, not 1"] {
        assert!(detail.contains(setting), "{detail}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_all_published_though_their_writer_is_killed() -> Result<()> {
    /// More than a producer's queue holds.
    const POISONS: usize = 110;
    const VALUE_BYTES: usize = 615_000;
    let mut deployment = deployment(2).await?;
    let [poison, after] = ["poison-", "after-"].map(|name| format!("default/{}", deployment.keys(name)[0]));
    let mut client = Client::kafka_python(&deployment)?;
    // Whoever publishes looks here first for how far it is. The lock is held for as long as psql is.
    let mut psql = tokio::process::Command::new("psql");
    let mut held =
        psql.args([&deployment.url(0, 0), "-q"]).stdin(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdin = held.stdin.as_mut().context("its input is piped")?;
    stdin.write_all(b"BEGIN; LOCK TABLE published IN ACCESS EXCLUSIVE MODE;\n").await?;
    let is_held = "SELECT count(*) FROM pg_locks WHERE relation = 'published'::regclass AND granted";
    deployment.until("the lock is held", async || Ok(count(&deployment, 0, is_held)? > 0)).await?;
    let mut wanted = BTreeMap::new();
    for _ in 0..POISONS {
        let sent = Sent::plain(poison.clone(), vec![1; VALUE_BYTES]);
        wanted.insert(client.place(&sent).await?, Reason::ValueTooLarge);
    }
    let last = client.send(&Sent::plain(after.clone(), "v")).await?;
    // Applying waits for no dead letter.
    let answer = get(deployment.api(0), after.as_bytes()).await?;
    assert_eq!(answer.header("etag"), format!("\"{last}\""));
    assert_eq!(rows(&deployment)?.len(), POISONS);
    deployment.kill(Kind::Writer, 0)?;
    held.kill().await?;
    let published = "SELECT count(*) FROM published";
    assert_eq!(count(&deployment, 0, published)?, 0, "none was published before the kill");
    deployment.start_again(Kind::Writer, 0).await?;
    letters(&deployment, &wanted).await?;
    assert_eq!(rows(&deployment)?.len(), POISONS, "and still one row each");
    Ok(())
}
