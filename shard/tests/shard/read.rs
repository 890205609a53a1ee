//! Promises of reading: one state, in order, checked, and only what exists.

use bytes::Bytes;
use millpond_schemas::{Offset, PartitionId, RecordKey, Row, UnixMillis};
use millpond_shard::{Due, Error, KEYS_MAX, Scan, Shard, Wanted};

use crate::build::{Copy, FAR, P0, P1, id, key, known, live, operation, read_one, tenant, time, tombstone};

fn expiring(key: RecordKey, offset: i64, at: UnixMillis) -> Row {
    Row { expires_at: Some(at), ..live(key, offset, "v") }
}

pub(crate) async fn missing_tombstone_and_expired_keys_read_as_none(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let rows = vec![
        live(key("alive"), 0, "v"),
        tombstone(key("dead"), 1),
        expiring(key("expired"), 2, UnixMillis(5_000)),
        expiring(key("later"), 3, FAR),
    ];
    copy.put(shard, rows.clone().into_iter().map(known).collect()).await;
    let keys = ["missing", "dead", "later", "expired", "alive", "later"].map(key).to_vec();
    let found = shard.read(P0, keys.clone()).await.unwrap().rows;
    let later = Some(rows[3].clone());
    assert_eq!(found, [None, None, later.clone(), None, Some(rows[0].clone()), later]);
    for (key, row) in keys.into_iter().zip(found) {
        let alone = shard.read(P0, vec![key]).await.unwrap();
        assert_eq!((alone.rows, alone.freshness.applied), (vec![row], copy.at.position()));
    }
}

pub(crate) async fn a_read_names_the_state_that_it_is_from(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let mut flush = copy.flush(5, vec![known(live(key("a"), 4, "v"))]);
    flush.next.owner = Offset(2);
    copy.apply(shard, flush).await;
    for keys in [vec![], vec![key("missing")], vec![key("a"); 9]] {
        let freshness = shard.read(P0, keys).await.unwrap().freshness;
        assert_eq!(freshness.applied, copy.at.position());
        assert_eq!((freshness.owner, freshness.time), (Offset(2), time(4)));
        // The shard's clock runs: it is past the year 2020.
        assert!(freshness.now > UnixMillis(1_577_836_800_000), "{}", freshness.now);
    }
}

/// Every flush writes all ten keys, so whatever a read sees must be of one flush, and of the state that it names.
pub(crate) async fn a_read_beside_applies_sees_whole_flushes(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let keys: Vec<RecordKey> = (0..10u8).map(|n| key([n])).collect();
    let write = async {
        for _ in 0..200 {
            let offset = copy.at.applied.0 + 1;
            let flush = copy.flush(1, keys.iter().map(|key| known(live(key.clone(), offset, "v"))).collect());
            copy.apply(shard, flush).await;
        }
    };
    let read = async {
        loop {
            let found = shard.read(P0, keys.clone()).await.unwrap();
            let applied = found.freshness.applied;
            for row in &found.rows {
                let version = row.as_ref().map(|row| row.version);
                assert_eq!(version, (applied.offset >= Offset(0)).then(|| applied.version()));
            }
            if applied.offset == Offset(199) {
                break;
            }
        }
    };
    tokio::join!(write, read);
}

pub(crate) async fn values_of_any_bytes_come_back_and_empty_is_not_none(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let every: Vec<u8> = (0..=255).collect();
    let values: [Vec<u8>; 4] = [vec![], vec![0], every.clone(), b"'; DROP TABLE kv; --".to_vec()];
    let rows = (0u8..).zip(&values).map(|(n, value)| known(live(key([n]), n.into(), value.clone())));
    copy.put(shard, rows.collect()).await;
    for (n, value) in (0u8..).zip(values) {
        assert_eq!(read_one(shard, P0, key([n])).await.unwrap().value, Some(Bytes::from(value)));
    }
    let odd = Row { content_type: "text/x; a=\"é\"".into(), ..live(key(&every), 4, "v") };
    copy.put(shard, vec![known(odd.clone())]).await;
    assert_eq!(read_one(shard, P0, key(every)).await, Some(odd));
}

pub(crate) async fn reads_of_every_size_keep_the_order_of_the_keys(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let name = |n: i64| key(format!("{n:04}"));
    copy.put(shard, (0..2_000).map(|n| known(live(name(n * 2), n, "v"))).collect()).await;
    for keys in [1, 2, 7, 8, 9, 64, 65, 512, 513, 4_000] {
        let asked: Vec<i64> = (0..keys).rev().collect();
        let found = shard.read(P0, asked.iter().map(|n| name(*n)).collect()).await.unwrap().rows;
        assert_eq!(found.len(), asked.len());
        for (n, row) in asked.into_iter().zip(found) {
            assert_eq!(row.map(|row| row.key), (n % 2 == 0).then(|| name(n)), "key {n} of {keys}");
        }
    }
}

pub(crate) async fn readers_see_the_watermarks(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    copies[1].put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    let seen = shard.read_watermarks(vec![P1, P0, PartitionId(99)]).await.unwrap();
    assert_eq!(seen, copies.map(|copy| copy.at));
    assert_eq!(shard.read_watermarks(vec![]).await.unwrap(), []);
    assert!(shard.readers() >= 1);
}

pub(crate) async fn a_partition_without_a_copy_is_unavailable(shard: &Shard) {
    assert!(matches!(shard.read(P0, vec![key("a")]).await, Err(Error::Unavailable { .. })));
    assert!(matches!(shard.outcomes(P0, Offset(0), Offset(9)).await, Err(Error::Unavailable { .. })));
    assert!(matches!(shard.dump(P0).await, Err(Error::Unavailable { .. })));
}

pub(crate) async fn too_many_keys_are_refused(shard: &Shard) {
    Copy::create(shard, P0).await;
    assert!(shard.read(P0, vec![key("a"); KEYS_MAX]).await.is_ok());
    assert!(matches!(shard.read(P0, vec![key("a"); KEYS_MAX + 1]).await, Err(Error::Refused { .. })));
}

pub(crate) async fn keys_of_many_partitions_come_in_order_with_each_state(shard: &Shard) {
    let mut copies = Vec::new();
    for partition in (0..11).map(PartitionId) {
        let mut copy = Copy::create(shard, partition).await;
        let value = format!("{partition}");
        let rows = vec![
            live(key("a"), 0, value.clone()),
            tombstone(key("b"), 1),
            expiring(key("c"), 2, UnixMillis(5_000)),
            live(key("d"), 3, value),
        ];
        copy.put(shard, rows.into_iter().map(known).collect()).await;
        copies.push(copy);
    }
    for partitions in [1u32, 2, 8, 11] {
        let asked =
            |n: u32| (PartitionId(n * 7 % partitions), key(["a", "b", "d", "c", "missing"][n as usize % 5]));
        let keys: Vec<(PartitionId, RecordKey)> = (0..60).map(asked).collect();
        let found = shard.read_many(keys.clone()).await.unwrap();
        let expected: Vec<_> =
            copies.iter().take(partitions as usize).map(|copy| copy.at.position()).collect();
        let applied: Vec<_> = found.freshness.iter().map(|freshness| freshness.applied).collect();
        assert_eq!(applied, expected);
        assert!(found.freshness.iter().all(|freshness| freshness.now == found.freshness[0].now));
        assert_eq!(found.rows.len(), keys.len());
        for ((partition, key), row) in keys.into_iter().zip(found.rows) {
            assert_eq!(row, shard.read(partition, vec![key]).await.unwrap().rows[0]);
        }
    }
    let nothing = shard.read_many(vec![]).await.unwrap();
    assert_eq!((nothing.rows.len(), nothing.freshness.len()), (0, 0));
    let many = vec![(P0, key("a")); KEYS_MAX + 1];
    assert!(matches!(shard.read_many(many).await, Err(Error::Refused { .. })));
}

pub(crate) async fn the_same_key_of_several_tenants_is_several_keys(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    let of = |name, value| live(RecordKey::new(&tenant(name), b"a").unwrap(), 0, value);
    for copy in &mut copies {
        copy.put(shard, [of("t", "t"), of("u", "u")].map(known).to_vec()).await;
    }
    let asked = [(P0, "u"), (P1, "t"), (P1, "v"), (P0, "u"), (P1, "u")];
    let keys = asked.map(|(partition, name)| (partition, RecordKey::new(&tenant(name), b"a").unwrap()));
    let found = shard.read_many(keys.to_vec()).await.unwrap();
    let values: Vec<_> = found.rows.into_iter().map(|row| row.and_then(|row| row.value)).collect();
    assert_eq!(values, [Some("u"), Some("t"), None, Some("u"), Some("u")].map(|value| value.map(Into::into)));
}

pub(crate) async fn partitions_without_a_copy_are_left_out_of_a_read_of_many(shard: &Shard) {
    let nowhere = PartitionId(9);
    let keys = vec![(nowhere, key("a")), (P0, key("a")), (P1, key("a"))];
    let found = shard.read_many(keys.clone()).await.unwrap();
    assert_eq!((found.rows, found.freshness.len()), (vec![None, None, None], 0));
    let mut copies = [Copy::create(shard, P1).await, Copy::create(shard, P0).await];
    for copy in &mut copies {
        copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    }
    let found = shard.read_many(keys).await.unwrap();
    let there: Vec<bool> = found.rows.iter().map(Option::is_some).collect();
    let of: Vec<PartitionId> = found.freshness.iter().map(|freshness| freshness.applied.partition).collect();
    assert_eq!((there, of), (vec![false, true, true], vec![P0, P1]));
    let scanned = shard.range(vec![P1, nowhere, P0], scan(b"", None, 10, false)).await.unwrap();
    assert_eq!((scanned.rows.len(), scanned.freshness.len()), (2, 2));
}

pub(crate) async fn folds_get_tombstones_and_expired_rows_and_operations(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    let rows = [tombstone(key("dead"), 0), expiring(key("expired"), 1, UnixMillis(5_000))];
    for copy in &mut copies {
        let mut flush = copy.flush(2, rows.clone().map(known).to_vec());
        flush.operations = vec![operation(1, 0), operation(2, 1)];
        copy.apply(shard, flush).await;
    }
    let keys = ["dead", "missing", "expired"].map(key).to_vec();
    let everything = Wanted { partition: P1, keys, operations: vec![id(2), id(3)] };
    let nothing = Wanted { partition: P0, keys: vec![], operations: vec![] };
    let mut found = shard.rows_for_fold(vec![everything, nothing]).await.unwrap();
    found[0].rows.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!((found[0].partition, &found[0].rows[..]), (P1, &rows[..]));
    assert_eq!(found[0].operations, [operation(2, 1)]);
    assert_eq!((found[1].partition, found[1].rows.len(), found[1].operations.len()), (P0, 0, 0));

    let mut many: Vec<RecordKey> = (0..10_000).map(|n| key(format!("{n}"))).collect();
    many.push(key("dead"));
    let wanted = Wanted { partition: P0, keys: many, operations: (0..=255).map(id).collect() };
    let found = shard.rows_for_fold(vec![wanted]).await.unwrap();
    assert_eq!((found[0].rows.len(), found[0].operations.len()), (1, 2));
}

pub(crate) async fn folds_of_many_partitions_get_their_own(shard: &Shard) {
    let partitions = || (0..11).map(PartitionId);
    for partition in partitions() {
        let mut copy = Copy::create(shard, partition).await;
        let mut flush = copy.flush(2, vec![known(live(key("a"), 1, format!("{partition}")))]);
        flush.operations = vec![operation(7, 1)];
        copy.apply(shard, flush).await;
    }
    for few in [2, 11] {
        let ask =
            |partition| Wanted { partition, keys: vec![key("a"), key("b")], operations: vec![id(7), id(8)] };
        let found = shard.rows_for_fold(partitions().take(few).map(ask).collect()).await.unwrap();
        assert_eq!(found.len(), few);
        for (partition, found) in partitions().zip(found) {
            assert_eq!((found.partition, found.operations.len()), (partition, 1));
            assert_eq!(found.rows, [live(key("a"), 1, format!("{partition}"))]);
        }
    }
}

pub(crate) async fn what_is_due_comes_in_order_up_to_the_limit(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let row = |name: &str, at: i64| expiring(key(name), 0, UnixMillis(at));
    let mut dead = tombstone(key("dead"), 0);
    dead.expires_at = Some(UnixMillis(50));
    let rows = vec![
        dead.clone(),
        live(key("never"), 0, "v"),
        row("p", 300),
        row("q", 100),
        row("r", 100),
        row("s", 101),
    ];
    copy.put(shard, rows.into_iter().map(known).collect()).await;
    let due = async |due, until, limit| -> Vec<RecordKey> {
        let rows = shard.due(P0, due, UnixMillis(until), limit).await.unwrap();
        assert!(rows.iter().all(|row| row.value.as_ref().is_none_or(Bytes::is_empty)), "no values");
        rows.into_iter().map(|row| row.key).collect()
    };
    assert_eq!(due(Due::Rows, 99, 10).await, []);
    assert_eq!(due(Due::Rows, 101, 10).await, ["q", "r", "s"].map(key));
    assert_eq!(due(Due::Rows, 1_000, 10).await, ["q", "r", "s", "p"].map(key));
    assert_eq!(due(Due::Rows, 1_000, 2).await, ["q", "r"].map(key));
    assert_eq!(due(Due::Tombstones, 49, 10).await, []);
    assert_eq!(shard.due(P0, Due::Tombstones, UnixMillis(50), 10).await.unwrap(), [dead]);
}

fn scan(start: &'static [u8], end: Option<&'static [u8]>, limit: u32, reverse: bool) -> Scan {
    Scan {
        tenant: tenant("t"),
        start: Bytes::from_static(start),
        end: end.map(Bytes::from_static),
        limit,
        looked_max: 1000,
        bytes_max: usize::MAX,
        reverse,
    }
}

pub(crate) async fn ranges_are_in_bytewise_order_both_ways(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    let sorted: Vec<&[u8]> =
        vec![b"\0", b"\0\0", b"A", b"a", b"a\0", b"a\x7f", b"a\x80", b"b", b"\x80", b"\xff", b"\xff\0"];
    for (n, name) in sorted.iter().enumerate() {
        copies[n % 2].put(shard, vec![known(live(key(name), 0, "v"))]).await;
    }
    let names = async |scan| -> Vec<Vec<u8>> {
        let scanned = shard.range(vec![P0, P1], scan).await.unwrap();
        scanned.rows.iter().map(|(_, row)| row.key.key_bytes().to_vec()).collect()
    };
    let mut backwards = sorted.clone();
    backwards.reverse();
    assert_eq!(names(scan(b"", None, 100, false)).await, sorted);
    assert_eq!(names(scan(b"", None, 100, true)).await, backwards);
    assert_eq!(names(scan(b"", None, 3, false)).await, sorted[..3]);
    assert_eq!(names(scan(b"", None, 3, true)).await, backwards[..3]);
    assert_eq!(names(scan(b"a", Some(b"b"), 100, false)).await, sorted[3..7]);
    assert_eq!(names(scan(b"a", Some(b"b"), 2, true)).await, [sorted[6], sorted[5]]);
}

pub(crate) async fn ranges_stay_within_tenant_bounds_and_partitions(shard: &Shard) {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    let foreign = RecordKey::new(&tenant("t2"), b"a").unwrap();
    let rows = vec![
        live(key("a"), 0, "v"),
        tombstone(key("b"), 1),
        expiring(key("c"), 2, UnixMillis(5_000)),
        expiring(key("d"), 3, FAR),
        live(foreign, 4, "v"),
    ];
    copies[0].put(shard, rows.into_iter().map(known).collect()).await;
    copies[1].put(shard, vec![known(live(key("e"), 0, "v"))]).await;
    let scanned = shard.range(vec![P1, P0], scan(b"", None, 100, false)).await.unwrap();
    let rows: Vec<_> = scanned.rows.iter().map(|(partition, row)| (*partition, row.key.clone())).collect();
    assert_eq!(rows, [(P0, key("a")), (P0, key("d")), (P1, key("e"))]);
    let applied: Vec<_> = scanned.freshness.iter().map(|freshness| freshness.applied).collect();
    assert_eq!(applied, copies.map(|copy| copy.at.position()));
    let scanned = shard.range(vec![P1], scan(b"", None, 100, false)).await.unwrap();
    assert_eq!((scanned.rows.len(), scanned.freshness.len()), (1, 1));
}

/// Tombstones and expired rows between live ones: `a`, then dead `b0` to `b9`, then `c`, `d`, each live one of 10 bytes.
async fn scattered(shard: &Shard) -> [Copy; 2] {
    let mut copies = [Copy::create(shard, P0).await, Copy::create(shard, P1).await];
    for (n, name) in (0..).zip(["a", "c", "d"]) {
        copies[n % 2].put(shard, vec![known(live(key(name), 0, "0123456789"))]).await;
    }
    for n in 0..10 {
        let name = key(format!("b{n}"));
        let row = if n % 3 == 0 { expiring(name, 0, UnixMillis(5_000)) } else { tombstone(name, 0) };
        copies[n % 2].put(shard, vec![known(row)]).await;
    }
    copies
}

pub(crate) async fn a_range_stops_at_its_limits_and_says_where(shard: &Shard) {
    let _copies = scattered(shard).await;
    let cut = async |limit, looked_max, bytes_max, reverse| -> (String, Option<Bytes>) {
        let scan = Scan { looked_max, bytes_max, ..scan(b"", None, limit, reverse) };
        let scanned = shard.range(vec![P0, P1], scan).await.unwrap();
        assert_eq!(scanned.freshness.len(), 2);
        let keys = scanned.rows.iter().map(|(_, row)| row.key.key());
        (keys.map(|key| String::from_utf8(key.to_vec()).unwrap()).collect(), scanned.cut)
    };
    let at = |key: &'static str| Some(Bytes::from_static(key.as_bytes()));
    let all = usize::MAX;
    for ((limit, looked_max, bytes_max, reverse), expected) in [
        ((10, 100, all, false), ("acd", None)),
        ((10, 13, all, false), ("acd", at("d"))),
        ((10, 5, all, false), ("a", at("b3"))),
        ((10, 1, all, false), ("a", at("a"))),
        ((10, 4, all, true), ("dc", at("b8"))),
        // The limits count only what exists.
        ((1, 100, all, false), ("a", at("b9"))),
        ((2, 100, all, true), ("dc", at("b0"))),
        ((2, 100, all, false), ("ac", at("c"))),
        ((3, 100, all, false), ("acd", None)),
        ((10, 100, 1, false), ("a", at("b9"))),
        ((10, 100, 10, false), ("a", at("b9"))),
        ((10, 100, 11, false), ("ac", at("c"))),
        ((10, 100, 20, true), ("dc", at("b0"))),
        ((10, 100, 21, false), ("acd", None)),
    ] {
        let (keys, cut) = cut(limit, looked_max, bytes_max, reverse).await;
        assert_eq!((keys.as_str(), cut), expected, "{limit} {looked_max} {bytes_max} {reverse}");
    }
}

pub(crate) async fn a_read_of_many_keys_stops_where_values_are_too_much(shard: &Shard) {
    let _copies = scattered(shard).await;
    let keys: Vec<_> = [(P0, "a"), (P1, "b1"), (P1, "c"), (P0, "nil"), (P0, "d")]
        .map(|(partition, name)| (partition, key(name)))
        .into();
    let read = async |bytes_max| {
        let read = shard.read_many_within(keys.clone(), bytes_max).await.unwrap();
        assert_eq!(read.freshness.len(), 2);
        (read.rows.iter().map(Option::is_some).collect::<Vec<_>>(), read.cut)
    };
    assert_eq!(read(usize::MAX).await, (vec![true, false, true, false, true], None));
    assert_eq!(read(21).await, (vec![true, false, true, false, true], None));
    assert_eq!(read(20).await, (vec![true, false, true, false, false], Some(4)));
    assert_eq!(read(10).await, (vec![true, false, false, false, false], Some(1)));
    assert_eq!(read(1).await, (vec![true, false, false, false, false], Some(1)));
    let whole = shard.read_many(keys.clone()).await.unwrap();
    let within = shard.read_many_within(keys.clone(), 1000).await.unwrap();
    assert_eq!((whole.rows, whole.cut), (within.rows, within.cut));
}
