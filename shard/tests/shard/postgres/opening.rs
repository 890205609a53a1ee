//! Promises of opening: what must be there, what is said when it is not, and that tables are made once.

use millpond_shard::{Error, Kind, Password, PostgresConfig, Shard};

use crate::{
    build::{Copy, P0, key, known, live},
    database::{Database, on_postgres},
};

/// What a refusal of the schema says.
fn schema(error: &Error) -> String {
    match error {
        Error::Schema { source, .. } => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_database_that_is_down_is_unavailable_and_opened_all_the_same() {
    // Bound and not listened on: nobody answers.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = format!("postgres://nobody@{}/nowhere", socket.local_addr().unwrap());
    for kind in Kind::ALL {
        let shard = Shard::open_postgres(&PostgresConfig::new(&address, kind)).unwrap();
        assert!(matches!(shard.watermark(P0).await, Err(Error::Unavailable { .. })));
        assert!(matches!(shard.read(P0, vec![key("a")]).await, Err(Error::Unavailable { .. })));
        assert!(matches!(shard.dump(P0).await, Err(Error::Unavailable { .. })));
        assert!(matches!(shard.migrate().await, Err(Error::Unavailable { .. })));
        shard.close().await;
    }
}

#[tokio::test]
async fn a_password_in_the_address_is_refused_and_a_wrong_one_is_not_told() {
    let config = PostgresConfig::new("postgres://me:hunter2@host/pond", Kind::Primary);
    let error = Shard::open_postgres(&config).unwrap_err();
    assert!(schema(&error).contains("PGPASSFILE") && !format!("{error:?}").contains("hunter2"));

    let database = Database::create().await;
    let mut config = database.config();
    config.password = Some(Password::new("hunter2"));
    let shard = Shard::open_postgres(&config).unwrap();
    let error = shard.watermark(P0).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error:?}");
    assert!(!format!("{error:?} {shard:?}").contains("hunter2"));
    shard.close().await;
}

#[tokio::test]
async fn without_tables_every_call_says_what_to_run_until_it_was() {
    let database = Database::create().await;
    let shard = database.shard();
    for error in [shard.watermark(P0).await.unwrap_err(), shard.read(P0, vec![]).await.unwrap_err()] {
        assert!(schema(&error).contains("millpond init"), "{error:?}");
    }
    shard.migrate().await.unwrap();
    Copy::create(&shard, P0).await;
    assert!(shard.read(P0, vec![key("a")]).await.is_ok());
    database.run("DELETE FROM migration WHERE version = 2; DROP TABLE published").await;
    let older = database.shard();
    assert!(schema(&older.watermark(P0).await.unwrap_err()).contains("millpond init"));
    older.migrate().await.unwrap();
    assert!(older.watermark(P0).await.unwrap().is_some());
    older.close().await;
    shard.close().await;
}

#[tokio::test]
async fn tables_of_a_newer_build_or_changed_ones_are_refused() {
    for (change, said) in [
        ("INSERT INTO migration VALUES (1000, '1000_later', 0, 0)", "newer"),
        ("UPDATE migration SET checksum = checksum + 1 WHERE version = 1", "not the known one"),
    ] {
        let fixture = on_postgres().await;
        fixture.database.run(change).await;
        for error in [
            fixture.shard.watermark(P0).await.unwrap_err(),
            fixture.shard.read(P0, vec![]).await.unwrap_err(),
            fixture.shard.migrate().await.unwrap_err(),
        ] {
            assert!(schema(&error).contains(said), "{error:?}");
        }
        fixture.shard.close().await;
    }
}

#[tokio::test]
async fn of_many_that_make_the_tables_or_a_copy_at_a_time_none_fails() {
    let database = Database::create().await;
    let shards: Vec<Shard> = (0..4).map(|_| database.shard()).collect();
    for made in futures_util::future::join_all(shards.iter().map(Shard::migrate)).await {
        made.unwrap();
    }
    let at = millpond_schemas::Watermark::empty(P0, crate::build::GENERATION, crate::build::LOG);
    for made in futures_util::future::join_all(shards.iter().map(|shard| shard.create_copy(at.clone()))).await
    {
        made.unwrap();
    }
    assert_eq!(database.number("SELECT count(*) FROM migration").await, 2);
    for shard in &shards {
        assert_eq!(shard.watermark(P0).await.unwrap(), Some(at.clone()));
        shard.close().await;
    }
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_as_it_is() {
    for theirs in ["CREATE TABLE kv (a integer)", "CREATE TABLE migration (a integer)"] {
        let database = Database::create().await;
        database.run(theirs).await;
        let shard = database.shard();
        assert!(matches!(shard.migrate().await, Err(Error::Schema { .. })), "{theirs}");
        assert_eq!(database.number("SELECT count(*) FROM pg_class WHERE relname = 'watermark'").await, 0);
        shard.close().await;
    }
}

#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let database =
        Database::create_with("ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C'")
            .await;
    let shard = database.shard();
    assert!(schema(&shard.migrate().await.unwrap_err()).contains("UTF8"));
    shard.close().await;
}

#[tokio::test]
async fn missing_grants_are_named_in_the_words_to_run() {
    let fixture = on_postgres().await;
    fixture
        .database
        .run("REVOKE UPDATE ON watermark FROM current_user; REVOKE DELETE ON seen FROM current_user")
        .await;
    let said = schema(&fixture.shard.watermark(P0).await.unwrap_err());
    let (_, run) = said.split_once(": ").unwrap();
    assert!(
        run.contains("GRANT UPDATE ON watermark TO ") && run.contains("GRANT DELETE ON seen TO "),
        "{said}"
    );
    fixture.database.run(run).await;
    let mut copy = Copy::create(&fixture.shard, P0).await;
    copy.put(&fixture.shard, vec![known(live(key("a"), 0, "v"))]).await;
    fixture.shard.close().await;
}

#[tokio::test]
async fn a_column_that_was_added_disturbs_nobody() {
    let fixture = on_postgres().await;
    let shard = &fixture.shard;
    let mut copy = Copy::create(shard, P0).await;
    for (offset, change) in (0..).zip([
        "SELECT",
        "ALTER TABLE kv ADD COLUMN later bigint DEFAULT 7",
        "ALTER TABLE watermark ADD COLUMN later bigint",
        "ALTER TABLE outcome ADD COLUMN later bigint",
        "CREATE INDEX ON kv_p00000 (version)",
    ]) {
        fixture.database.run(change).await;
        let mut flush = copy.flush(1, vec![known(live(key("a"), offset, "v"))]);
        flush.outcomes.exceptions = vec![crate::build::rejection(offset)];
        flush.seen = vec![crate::build::seen(offset)];
        copy.apply(shard, flush).await;
        assert_eq!(shard.read(P0, vec![key("a"); 2]).await.unwrap().freshness.applied, copy.at.position());
        assert!(crate::build::read_one(shard, P0, key("a")).await.is_some());
    }
    shard.close().await;
}
