//! Promises to callers that go away: what they began is finished, and nobody after them suffers.

use millpond_shard::{Error, Scan, Shard};

use crate::build::{Copy, P0, key, known, live, read_one, tenant};

/// Drops `call` after its task has been scheduled `turns` times, unless it is done before.
async fn dropped_after<T>(turns: usize, call: impl Future<Output = T>) {
    let turn = async {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = turn => {}
        _ = call => {}
    }
}

pub(crate) async fn sixty_dropped_applies_lose_no_statement(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    let mut applied = Vec::new();
    for n in 0..60u8 {
        let offset = copy.at.applied.0 + 1;
        let row = live(key([n]), offset, vec![n; 2_000]);
        let flush = copy.flush(1, vec![known(row.clone())]);
        dropped_after(usize::from(n) * 3, shard.apply(vec![flush.clone()])).await;
        // Queued behind the dropped call, so it tells what became of it.
        copy.at = shard.watermark(P0).await.unwrap().unwrap();
        assert!(copy.at == flush.previous || copy.at == flush.next, "call {n} was half done");
        if copy.at == flush.next {
            applied.push(row);
        }
    }
    let last = live(key("last"), copy.at.applied.0 + 1, "v");
    copy.put(shard, vec![known(last.clone())]).await;
    applied.push(last);
    let dump = shard.dump(P0).await.unwrap();
    assert_eq!(dump.rows.len(), applied.len());
    assert!(applied.iter().all(|row| dump.rows.contains(row)));
    assert_eq!(dump.watermark, copy.at);
}

pub(crate) async fn dropped_reads_leave_the_readers_usable(shard: &Shard) {
    let mut copy = Copy::create(shard, P0).await;
    copy.put(shard, (0..1_000).map(|n| known(live(key(format!("{n:04}")), n, "v"))).collect()).await;
    let scan = || Scan {
        tenant: tenant("t"),
        start: bytes::Bytes::new(),
        end: None,
        limit: 1_000,
        looked_max: 1_000,
        bytes_max: usize::MAX,
        reverse: false,
    };
    for turns in 0..60 {
        dropped_after(turns, shard.read(P0, vec![key("0001"); 100])).await;
        dropped_after(turns, shard.range(vec![P0], scan())).await;
        dropped_after(turns, shard.dump(P0)).await;
    }
    assert_eq!(shard.range(vec![P0], scan()).await.unwrap().rows.len(), 1_000);
    for _ in 0..16 {
        assert!(read_one(shard, P0, key("0001")).await.is_some());
    }
}

pub(crate) async fn a_closed_shard_is_unavailable(shard: &Shard) {
    Copy::create(shard, P0).await;
    shard.close().await;
    assert!(matches!(shard.watermark(P0).await, Err(Error::Unavailable { .. })));
    assert!(matches!(shard.read(P0, vec![]).await, Err(Error::Unavailable { .. })));
    shard.close().await;
}
