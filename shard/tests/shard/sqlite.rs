//! Promises of SQLite alone: the file, its versions, its damage, and what SQL tools see in it.

use std::path::Path;

use millpond_schemas::{Offset, Row, UnixMillis};
use millpond_shard::{Error, Shard};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::{
    Fixture,
    apply::one_of_two_is_fenced,
    build::{Copy, FAR, P0, P1, key, known, live, read_one, tombstone},
    config, on_sqlite,
};

/// The file as another program sees it.
async fn tool(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// Changes the file behind the shard's back.
pub(crate) async fn change(fixture: &Fixture, sql: &'static str) {
    let mut tool = tool(&config(&fixture.directory).path).await;
    sqlx::raw_sql(sql).execute(&mut tool).await.unwrap();
    tool.close().await.unwrap();
}

#[tokio::test]
async fn a_reopened_shard_holds_what_was_applied() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v"))]).await;
    let before = fixture.shard.dump(P0).await.unwrap();
    fixture.shard.close().await;
    let again = Shard::open(&config(&fixture.directory)).await.unwrap();
    assert_eq!(again.dump(P0).await.unwrap(), before);
    again.close().await;
}

#[tokio::test]
async fn tables_of_a_newer_build_are_refused() {
    let fixture = on_sqlite().await;
    fixture.shard.close().await;
    change(&fixture, "INSERT INTO migration VALUES (1000, '1000_later', 0, 0)").await;
    let error = Shard::open(&config(&fixture.directory)).await.unwrap_err();
    assert!(
        matches!(&error, Error::Schema { source, .. } if source.to_string().contains("1000")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_migration_that_was_changed_is_refused() {
    let fixture = on_sqlite().await;
    fixture.shard.close().await;
    change(&fixture, "UPDATE migration SET checksum = checksum + 1").await;
    assert!(matches!(Shard::open(&config(&fixture.directory)).await, Err(Error::Schema { .. })));
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = config(&directory).path;
    let mut foreign = tool(&path).await;
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut foreign).await.unwrap();
    foreign.close().await.unwrap();
    for content in [std::fs::read(&path).unwrap(), b"not a database, but long enough to be one".repeat(100)] {
        std::fs::write(&path, &content).unwrap();
        assert!(matches!(Shard::open(&config(&directory)).await, Err(Error::Schema { .. })));
        assert!(std::fs::read(&path).unwrap() == content, "the file was changed");
    }
}

#[tokio::test]
async fn a_directory_that_is_missing_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory);
    config.path = directory.path().join("missing/shard.sqlite");
    assert!(matches!(Shard::open(&config).await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_changed_column_is_corrupt_and_harms_no_other_row() {
    for damage in [
        "UPDATE kv SET value = x'00' WHERE key = x'61'",
        "UPDATE kv SET expires_at = 1 WHERE key = x'61'",
        "UPDATE kv SET value = NULL, tombstone = 1 WHERE key = x'61'",
        "UPDATE kv SET key = x'61', version = version + 1 WHERE key = x'61'",
        "UPDATE kv SET checksum = checksum + 1 WHERE key = x'61'",
        "UPDATE kv SET content_type = '' WHERE key = x'61'",
        "PRAGMA ignore_check_constraints = ON; UPDATE kv SET tombstone = 1 WHERE key = x'61'",
    ] {
        let fixture = on_sqlite().await;
        let shard = &fixture.shard;
        let mut copy = Copy::create(shard, P0).await;
        copy.put(shard, vec![known(live(key("a"), 0, "1")), known(live(key("b"), 1, "2"))]).await;
        change(&fixture, damage).await;
        let error = shard.read(P0, vec![key("a")]).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{damage}: {error:?}");
        assert!(matches!(shard.dump(P0).await, Err(Error::Corrupt { .. })), "{damage}");
        assert!(read_one(shard, P0, key("b")).await.is_some());
        shard.close().await;
    }
}

#[tokio::test]
async fn a_damaged_page_is_corrupt() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(
        &fixture.shard,
        (0..2_000).map(|n| known(live(key(format!("{n:04}")), n, vec![7; 200]))).collect(),
    )
    .await;
    fixture.shard.close().await;
    let path = config(&fixture.directory).path;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let shard = Shard::open(&config(&fixture.directory)).await.unwrap();
    assert!(matches!(shard.dump(P0).await, Err(Error::Corrupt { .. })));
    shard.close().await;
}

#[tokio::test]
async fn a_checkpoint_answers_the_watermarks_that_are_in_the_file() {
    let fixture = on_sqlite().await;
    let mut copies = [Copy::create(&fixture.shard, P0).await, Copy::create(&fixture.shard, P1).await];
    for round in 0..3 {
        for copy in &mut copies {
            copy.put(&fixture.shard, vec![known(live(key("a"), round, "v"))]).await;
        }
        let synced = fixture.shard.checkpoint().await.unwrap();
        assert_eq!(synced, [copies[0].at.clone(), copies[1].at.clone()]);
        // Without the write-ahead log, the file alone holds them.
        let alone = tempfile::tempdir().unwrap();
        std::fs::copy(config(&fixture.directory).path, config(&alone).path).unwrap();
        let shard = Shard::open(&config(&alone)).await.unwrap();
        assert_eq!(shard.watermarks(vec![P0, P1]).await.unwrap(), synced);
        shard.close().await;
    }
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_checkpoint_held_up_by_a_reader_says_so_and_succeeds_later() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    let mut reader = tool(&config(&fixture.directory).path).await;
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM kv").execute(&mut reader).await.unwrap();
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v"))]).await;
    assert!(matches!(fixture.shard.checkpoint().await, Err(Error::Unavailable { .. })));
    copy.put(&fixture.shard, vec![known(live(key("a"), 1, "v"))]).await;
    reader.close().await.unwrap();
    assert_eq!(fixture.shard.checkpoint().await.unwrap(), [copy.at]);
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_refused_transaction_leaves_nothing_and_the_next_one_works() {
    let fixture = on_sqlite().await;
    let shard = &fixture.shard;
    let mut copy = Copy::create(shard, P0).await;
    change(
        &fixture,
        "CREATE TRIGGER refuse BEFORE INSERT ON dead_letter BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .await;
    let mut flush = copy.flush(1, vec![known(live(key("a"), 0, "v"))]);
    flush.dead_letters = vec![crate::build::dead_letter(0)];
    assert!(matches!(shard.apply(vec![flush]).await, Err(Error::Refused { .. })));
    assert_eq!(shard.watermark(P0).await.unwrap().unwrap().applied, Offset::NONE);
    copy.put(shard, vec![known(live(key("a"), 0, "v"))]).await;
    assert_eq!(shard.dump(P0).await.unwrap().rows.len(), 1);
    shard.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_one_file_one_is_fenced() {
    let fixture = on_sqlite().await;
    let other = Shard::open(&config(&fixture.directory)).await.unwrap();
    one_of_two_is_fenced(&fixture.shard, &other).await;
    other.close().await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_lock_of_another_program_is_unavailable_and_passes() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    let mut other = tool(&config(&fixture.directory).path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let flush = copy.flush(1, vec![known(live(key("a"), 0, "v"))]);
    assert!(matches!(fixture.shard.apply(vec![flush.clone()]).await, Err(Error::Unavailable { .. })));
    other.close().await.unwrap();
    copy.apply(&fixture.shard, flush).await;
    fixture.shard.close().await;
}

/// Key, position, value, `expires_at`, `created_at`.
type Shown = (Vec<u8>, String, Option<Vec<u8>>, Option<String>, Option<String>);

#[tokio::test]
async fn the_view_for_people_shows_what_exists_and_never_errors() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    let deep = "[".repeat(5_000);
    let values: Vec<&[u8]> = vec![
        b"{\"a\": [1, 2.5, null]}",
        b"",
        b"{",
        b"\xff\xfe",
        b"1\0",
        b"\0",
        b"\"\xc3\"",
        b"nan",
        deep.as_bytes(),
        b"\x0b\x80",
    ];
    let mut rows: Vec<Row> =
        (0u8..).zip(&values).map(|(n, value)| live(key([b'a' + n]), n.into(), value.to_vec())).collect();
    rows[0].expires_at = Some(FAR);
    rows.push(live(key(b"z\xff\0"), 10, "7"));
    rows.push(tombstone(key("z1"), 11));
    rows.push(Row { expires_at: Some(UnixMillis(5)), ..live(key("z2"), 12, "1") });
    rows.push(Row { created_at: UnixMillis(i64::MAX), ..live(key("z3"), 13, "true") });
    copy.put(&fixture.shard, rows.into_iter().map(known).collect()).await;

    let mut tool = tool(&config(&fixture.directory).path).await;
    let seen: Vec<Shown> = sqlx::query_as(
        "SELECT CAST(key AS BLOB), position, CAST(value AS BLOB), expires_at, created_at FROM kv_json ORDER BY version",
    )
    .fetch_all(&mut tool)
    .await
    .unwrap();
    assert_eq!(seen.len(), values.len() + 2);
    assert_eq!((seen[0].0.as_slice(), seen[0].1.as_str()), (&b"a"[..], "1-0-0"));
    assert_eq!(seen[0].2.as_deref(), Some(&b"{\"a\":[1,2.5,null]}"[..]));
    assert_eq!(seen[0].3.as_deref(), Some("9999-12-31T23:59:59.999Z"));
    assert_eq!(seen[0].4.as_deref(), Some("1970-01-01T00:00:01.000Z"));
    for odd in [1, 2, 3, 4, 5, 7, 8, 9] {
        assert_eq!(seen[odd].2, None, "value {odd}");
    }
    assert_eq!(seen[11].4, None, "no such time");
    tool.close().await.unwrap();
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_file_that_was_deleted_or_exchanged_is_refused_until_it_is_back() {
    let fixture = on_sqlite().await;
    let (path, away) = (config(&fixture.directory).path, fixture.directory.path().join("away"));
    let says = |error: Error, words: &str| {
        assert!(
            matches!(&error, Error::Schema { source, .. } if source.to_string().contains(words)),
            "{error:?}"
        );
    };
    fixture.shard.check_place().unwrap();
    std::fs::rename(&path, &away).unwrap();
    says(fixture.shard.check_place().unwrap_err(), "it was deleted while it was open");
    says(fixture.shard.watermark(P0).await.unwrap_err(), "it was deleted while it was open");
    std::fs::write(&path, "").unwrap();
    says(fixture.shard.watermark(P0).await.unwrap_err(), "another file was put in its place");
    std::fs::rename(&away, &path).unwrap();
    fixture.shard.check_place().unwrap();
    assert_eq!(fixture.shard.watermark(P0).await.unwrap(), None);
    fixture.shard.close().await;
}

/// What the process that has the file writes is read beside it, and nothing in the folder is changed by reading.
#[tokio::test]
async fn a_shard_is_read_beside_the_process_that_has_it_and_nothing_is_written() {
    let fixture = on_sqlite().await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v"))]).await;
    let config = config(&fixture.directory);
    let beside = Shard::open_read_only(&config).await.unwrap();
    assert_eq!(beside.dump(P0).await.unwrap(), fixture.shard.dump(P0).await.unwrap());
    assert!(beside.create_copy(copy.at.clone()).await.is_err(), "it takes no writes");
    copy.put(&fixture.shard, vec![known(live(key("b"), 1, "v"))]).await;
    assert_eq!(beside.dump(P0).await.unwrap(), fixture.shard.dump(P0).await.unwrap());
    beside.close().await;
    fixture.shard.close().await;
    let before = std::fs::read(&config.path).unwrap();
    let alone = Shard::open_read_only(&config).await.unwrap();
    assert_eq!(alone.dump(P0).await.unwrap().rows.len(), 2);
    alone.close().await;
    assert_eq!(std::fs::read(&config.path).unwrap(), before);
    std::fs::remove_file(&config.path).unwrap();
    assert!(Shard::open_read_only(&config).await.is_err());
    assert!(!config.path.exists(), "nothing is made");
}
