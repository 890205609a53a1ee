//! Promises of reading: one state, in order, checked, and only what exists.

use bytes::Bytes;
use millpond_schemas::{Offset, RecordKey, Row, UnixMillis};
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
    let odd = Row { content_type: "text/x; a=\"é\0\"".into(), ..live(key(&every), 4, "v") };
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
