//! The view for people.

use millpond_schemas::{Row, UnixMillis};
use sqlx::Connection;

use crate::{
    build::{Copy, FAR, P0, key, known, live, tombstone},
    database::on_postgres,
};

/// Key, position, value, `expires_at`, `created_at`.
type Shown = (String, String, Option<String>, Option<String>, Option<String>);

#[tokio::test]
async fn the_view_for_people_shows_what_exists_and_never_errors() {
    let fixture = on_postgres().await;
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
        b"\"\\u0000\"",
    ];
    let mut rows: Vec<Row> =
        (0u8..).zip(&values).map(|(n, value)| live(key([b'a' + n]), n.into(), value.to_vec())).collect();
    rows[0].expires_at = Some(FAR);
    rows.push(live(key(b"z\xff\0"), 10, "7"));
    rows.push(tombstone(key("z1"), 11));
    rows.push(Row { expires_at: Some(UnixMillis(5)), ..live(key("z2"), 12, "1") });
    rows.push(Row { created_at: UnixMillis(i64::MAX), ..live(key("z3"), 13, "true") });
    copy.put(&fixture.shard, rows.into_iter().map(known).collect()).await;

    let mut tool = fixture.database.tool().await;
    let seen: Vec<Shown> = sqlx::query_as(
        "SELECT key, position, value::text, to_char(expires_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS'), \
         to_char(created_at, 'YYYY-MM-DD\"T\"HH24:MI:SS.MS') FROM kv_json ORDER BY version",
    )
    .fetch_all(&mut tool)
    .await
    .unwrap();
    assert_eq!(seen.len(), values.len() + 2);
    assert_eq!((seen[0].0.as_str(), seen[0].1.as_str()), ("a", "1-0-0"));
    assert_eq!(seen[0].2.as_deref(), Some("{\"a\": [1, 2.5, null]}"));
    assert_eq!(seen[0].3.as_deref(), Some("9999-12-31T23:59:59.999"));
    assert_eq!(seen[0].4.as_deref(), Some("1970-01-01T00:00:01.000"));
    for (shown, value) in seen.iter().zip(&values).skip(1) {
        assert_eq!(shown.2, None, "{value:?}");
    }
    assert_eq!((seen[10].0.as_str(), seen[10].2.as_deref()), ("z\\377\\000", Some("7")));
    assert_eq!((seen[11].0.as_str(), seen[11].4.as_ref()), ("z3", None), "no such time");
    tool.close().await.unwrap();
    fixture.shard.close().await;
}
