//! Outcomes, dead letters and membership, through the broker.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use millpond_log::{Heard, OUTCOME_RANGES_MAX, kafka::Membership};
use millpond_schemas::{
    DeadLetter, DeadReason, Generation, Offset, OutcomeRange, PartitionId, Raw, Refusal, UnixMillis,
};
use rdkafka::{
    Message, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    message::Headers,
};
use tokio::time::timeout;

use super::{PATIENCE, cluster, foreign};
use crate::PARTITIONS;

fn range(partition: u32, from: i64) -> Arc<OutcomeRange> {
    Arc::new(OutcomeRange {
        generation: Generation::FIRST,
        partition: PartitionId(partition),
        from: Offset(from),
        to: Offset(from),
        time: UnixMillis::EPOCH,
        exceptions: Vec::new(),
        expired: Vec::new(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_hears_in_order_what_is_published_after_it_came() {
    let cluster = cluster().await;
    let (here, there) = (cluster.outcomes().await.unwrap(), cluster.outcomes().await.unwrap());
    // One that hears it shows that it is on the topic before the second subscriber comes.
    let mut early = there.subscribe().await.unwrap();
    here.publish(range(0, 0));
    assert_eq!(timeout(PATIENCE, early.next()).await.unwrap(), Some(Heard::Range(range(0, 0))));
    let mut subscription = there.subscribe().await.unwrap();
    for from in 1..=200 {
        (0..6).for_each(|partition| here.publish(range(partition, from)));
    }
    let mut next = [1; 6];
    while next.iter().any(|next| *next <= 200) {
        let heard = timeout(PATIENCE, subscription.next()).await.unwrap();
        let Some(Heard::Range(heard)) = heard else { panic!("{heard:?}") };
        let expected = &mut next[heard.partition.0 as usize];
        assert_eq!(heard.from, Offset(*expected));
        *expected += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_falls_behind_hears_of_every_range_or_that_it_missed_it() {
    let cluster = cluster().await;
    let outcomes = cluster.outcomes().await.unwrap();
    let mut subscription = outcomes.subscribe().await.unwrap();
    let published = i64::try_from(2 * OUTCOME_RANGES_MAX).unwrap();
    (0..published).for_each(|from| outcomes.publish(range(0, from)));
    let mut next = 0;
    while next < published {
        match timeout(PATIENCE, subscription.next()).await.unwrap().unwrap() {
            Heard::Range(range) => {
                assert_eq!(range.from, Offset(next));
                next += 1;
            }
            Heard::Missed(count) => next += i64::try_from(count).unwrap(),
        }
    }
    assert_eq!(next, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_the_record_with_headers_that_say_why() {
    let cluster = cluster().await;
    let letters = cluster.dead_letters(Generation::FIRST).await.unwrap();
    let letter = |offset: i64, raw: Raw| DeadLetter {
        offset: Offset(offset),
        time: UnixMillis::EPOCH,
        refusal: Refusal::new(DeadReason::WrongPartition, "set partitioner=murmur2_random"),
        raw,
    };
    let own = ("trace".into(), Bytes::from_static(b"\xfe"));
    let whole = Raw { key: Some("a/b".into()), headers: vec![own], value: Some("v".into()) };
    letters.publish(PartitionId(3), vec![letter(7, whole), letter(8, Raw::default())]).await.unwrap();

    let consumer: BaseConsumer = foreign(&[("group.id", &cluster.config().prefix)]);
    let mut list = TopicPartitionList::new();
    let topic = format!("{}.deadletters", cluster.config().prefix);
    list.add_partition_offset(&topic, 3, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let first = consumer.poll(PATIENCE).unwrap().unwrap();
    let second = consumer.poll(PATIENCE).unwrap().unwrap();
    assert_eq!((first.key(), first.payload()), (Some(&b"a/b"[..]), Some(&b"v"[..])));
    assert_eq!((second.key(), second.payload()), (None, None));
    let headers: Vec<(String, Vec<u8>)> = first
        .headers()
        .unwrap()
        .iter()
        .map(|header| (header.key.to_owned(), header.value.unwrap().to_vec()))
        .collect();
    assert_eq!(headers[0], ("trace".to_owned(), b"\xfe".to_vec()));
    let source = format!("{}.mutations.1", cluster.config().prefix);
    for (name, value) in [
        ("__connect.errors.topic", source.as_str()),
        ("__connect.errors.partition", "3"),
        ("__connect.errors.offset", "7"),
        ("__connect.errors.stage", "TASK_PUT"),
        ("__connect.errors.class.name", "millpond"),
        ("__connect.errors.exception.class.name", "wrong-partition"),
        ("__connect.errors.exception.message", "set partitioner=murmur2_random"),
        ("kv-error-code", "wrong-partition"),
    ] {
        assert!(headers.contains(&(name.to_owned(), value.as_bytes().to_vec())), "{name} in {headers:?}");
    }
}

async fn assigned_by(
    member: &Membership,
    fits: impl Fn(&BTreeSet<PartitionId>) -> bool,
) -> BTreeSet<PartitionId> {
    let mut assigned = member.assigned();
    let fitting = timeout(PATIENCE, assigned.wait_for(fits)).await.expect("the group settles");
    fitting.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_are_shared_out_and_move_when_a_member_leaves() {
    let cluster = cluster().await;
    let all: BTreeSet<_> = (0..PARTITIONS).map(PartitionId).collect();
    let first = cluster.membership("writers", Generation::FIRST);
    assert_eq!(assigned_by(&first, |set| set.len() == all.len()).await, all);
    let second = cluster.membership("writers", Generation::FIRST);
    let half = all.len() / 2;
    let of_second = assigned_by(&second, |set| set.len() == half).await;
    let of_first = assigned_by(&first, |set| set.len() == half).await;
    assert_eq!(of_first.union(&of_second).copied().collect::<BTreeSet<_>>(), all);
    let other = cluster.membership("sweepers", Generation::FIRST);
    assert_eq!(assigned_by(&other, |set| set.len() == all.len()).await, all);
    first.leave().await.unwrap();
    assert_eq!(assigned_by(&second, |set| set.len() == all.len()).await, all);
}
