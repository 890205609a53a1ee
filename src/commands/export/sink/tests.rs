//! Exports that are killed, repeated and mixed up.

use bytes::Bytes;
use millpond_client::{Item, Meta, Position};
use tempfile::TempDir;

use super::*;

fn item(key: &'static str) -> Item {
    let version = Position::new("1-0-1").unwrap();
    let meta = Meta {
        size: 1,
        content_type: "text/plain".into(),
        version: version.clone(),
        created_at: "c".into(),
        updated_at: "u".into(),
        expires_at: None,
        partition: None,
        shard: None,
    };
    Item { key: key.into(), value: Some("v".into()), version, meta: Some(meta) }
}

fn page(key: &'static str, next: Option<&str>) -> Page {
    Page {
        items: vec![item(key)],
        missing: vec![],
        next_cursor: next.map(str::to_owned),
        complete: true,
        unreachable: vec![],
        positions: vec![],
    }
}

fn asked(prefix: &'static [u8]) -> Asked {
    Asked::of(&Query::new(Select::Prefix(Bytes::from_static(prefix))))
}

fn lines(path: &Path) -> Vec<String> {
    let keys = fs::read_to_string(path).unwrap();
    keys.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["key"].to_string())
        .collect()
}

#[test]
fn a_killed_export_goes_on_from_its_last_state() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out");
    let (mut sink, cursor) = Sink::open(path.clone(), asked(b""), false).unwrap();
    assert_eq!(cursor, None);
    sink.write(&page("a", Some("c1"))).unwrap();
    sink.save().unwrap();

    let (mut sink, cursor) = Sink::open(path.clone(), asked(b""), false).unwrap();
    assert_eq!((cursor.as_deref(), sink.counts().keys), (Some("c1"), 1));
    sink.write(&page("lost", Some("c2"))).unwrap();
    sink.file.flush().unwrap();
    // Killed: what came after the state is in the file, and nothing else of it is known.
    drop(sink);
    assert_eq!(lines(&path), ["\"a\"", "\"lost\""]);

    let (mut sink, cursor) = Sink::open(path.clone(), asked(b""), false).unwrap();
    assert_eq!(cursor.as_deref(), Some("c1"));
    sink.write(&page("b", None)).unwrap();
    sink.finish().unwrap();
    assert_eq!(lines(&path), ["\"a\"", "\"b\""]);
    assert!(!state_path(&path).exists());
}

#[test]
fn an_export_that_was_killed_at_once_can_go_on() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out");
    drop(Sink::open(path.clone(), asked(b""), false).unwrap());
    assert_eq!(Sink::open(path, asked(b""), false).unwrap().1, None);
}

#[test]
fn nothing_is_overwritten_unasked() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("out");
    let refused = |asked: Asked| {
        let error = Sink::open(path.clone(), asked, false).err().expect("it is refused");
        assert!(error.is::<Refused>() && error.to_string().contains("--restart"), "{error}");
    };
    fs::write(&path, "precious").unwrap();
    refused(asked(b""));
    let (mut sink, _) = Sink::open(path.clone(), asked(b""), true).unwrap();
    sink.write(&page("a", Some("c1"))).unwrap();
    let busy = Sink::open(path.clone(), asked(b""), false).err().expect("it is locked");
    assert!(busy.to_string().contains("another export"), "{busy}");
    sink.save().unwrap();
    refused(asked(b"other"));
    fs::write(&path, "short").unwrap();
    refused(asked(b""));
    fs::write(state_path(&path), "{").unwrap();
    refused(asked(b""));
}
