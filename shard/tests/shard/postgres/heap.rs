//! Promises of what lies in the heap: updates in place, and few transactions.

use std::time::Duration;

use crate::{
    build::{Copy, P0, keep_if_live, key, live},
    database::on_postgres,
};

const KEYS: i64 = 100_000;
const ROWS: i64 = 5_000;

/// A second pass in the order of the first: whole pages change in one transaction, which leaves no dead row to reuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_pass_over_the_same_keys_updates_in_place() {
    let fixture = on_postgres().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    let name = |n: i64| key(format!("user:{:012}", n * 7_919 % KEYS));
    for pass in 0..2 {
        for from in (0..KEYS).step_by(ROWS.try_into().unwrap()) {
            let rows =
                (from..from + ROWS).map(|n| keep_if_live(live(name(n), pass * KEYS + n, vec![b'v'; 256])));
            let mut rows: Vec<_> = rows.collect();
            rows.sort_by(|a, b| a.row.key.cmp(&b.row.key));
            copy.put(&fixture.shard, rows).await;
        }
    }
    // What a session counted is seen when it ends.
    fixture.shard.close().await;
    let counted =
        |column: &str| format!("SELECT {column} FROM pg_stat_user_tables WHERE relname = 'kv_p00000'");
    let all_seen = async {
        while fixture.database.number(&counted("n_tup_upd")).await < KEYS {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), all_seen).await.unwrap();
    let in_place = fixture.database.number(&counted("n_tup_hot_upd")).await;
    assert!(in_place * 100 >= KEYS * 95, "{in_place} of {KEYS} updates were HOT");
}
