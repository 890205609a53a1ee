//! How what was found is told: lines for people, one object for programs.
//!
//! Invariant: no byte of a key reaches a terminal as it is.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use millpond::verify::Verified;
use millpond_shard::Name;
use millpond_writer::{CannotTell, CopyDigest, Difference, How, Verdict};
use serde_json::{Map, Value, json};

use crate::output;

/// A line a copy, and one for each thing that differs.
pub(super) fn lines(copies: &[Verified]) -> io::Result<()> {
    for copy in copies {
        let of = format!("partition {} on {} ({})", copy.partition, copy.shard, copy.node);
        match &copy.ended {
            Ok(verdict) if verdict.is_equal() => {
                output::line(&format!("{of}: equal at {}; {}", verdict.position, holds(&verdict.copy)))?;
            }
            Ok(verdict) => differing(&of, verdict)?,
            Err(why) => output::line(&format!("{of}: cannot tell: {}: {why}", why.name()))?,
        }
    }
    Ok(())
}

fn differing(of: &str, verdict: &Verdict) -> io::Result<()> {
    let things = if verdict.differing == 1 { "thing differs" } else { "things differ" };
    output::line(&format!("{of}: DIFFERENT at {}: {} {things}", verdict.position, verdict.differing))?;
    for difference in &verdict.differences {
        output::line(&format!("  {}", output::escape_line(difference.to_string().as_bytes())))?;
    }
    let left = verdict.differing - verdict.differences.len() as u64;
    if left > 0 {
        output::line(&format!("  and {left} more; see --limit"))?;
    }
    Ok(())
}

fn holds(digest: &CopyDigest) -> String {
    format!(
        "{} rows, {} of them tombstones; {} outcomes, {} ids, {} durable ids, {} dead letters; digest {:032x}",
        digest.rows,
        digest.tombstones,
        digest.outcomes,
        digest.seen,
        digest.operations,
        digest.dead_letters,
        digest.digest
    )
}

/// One object.
pub(super) fn json(copies: &[Verified]) -> io::Result<()> {
    let equal = copies.iter().all(|copy| copy.ended.as_ref().is_ok_and(Verdict::is_equal));
    let copies: Vec<Value> = copies.iter().map(copy).collect();
    output::json(&json!({ "equal": equal, "copies": copies }))
}

fn copy(copy: &Verified) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    set("partition", copy.partition.0.into());
    set("shard", copy.shard.clone().into());
    set("node", copy.node.clone().into());
    match &copy.ended {
        Ok(verdict) => {
            set("result", if verdict.is_equal() { "equal" } else { "different" }.into());
            set("position", verdict.position.to_string().into());
            set("copy", digest(&verdict.copy));
            set("log", digest(&verdict.log));
            set("differing", verdict.differing.into());
            set("differences", verdict.differences.iter().map(difference).collect());
        }
        Err(why) => {
            set("result", "cannot-tell".into());
            set("error", error(why));
        }
    }
    Value::Object(object)
}

fn error(why: &CannotTell) -> Value {
    json!({ "code": why.name(), "detail": why.to_string() })
}

fn digest(digest: &CopyDigest) -> Value {
    json!({
        "rows": digest.rows,
        "tombstones": digest.tombstones,
        "outcomes": digest.outcomes,
        "ids": digest.seen,
        "durable_ids": digest.operations,
        "dead_letters": digest.dead_letters,
        "digest": format!("{:032x}", digest.digest),
    })
}

fn difference(difference: &Difference) -> Value {
    let mut object = Map::new();
    let mut set = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    set("table", difference.table.into());
    match &difference.name {
        Some(Name::Key { tenant, key }) => {
            set("tenant", tenant.clone().into());
            let (name, text) = text(key);
            set(name, text.into());
        }
        Some(Name::Place { generation, offset }) => {
            set("generation", (*generation).into());
            set("offset", (*offset).into());
        }
        Some(Name::Hash(hash)) => {
            set("hash", hash.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")).into());
        }
        None => {}
    }
    match &difference.how {
        How::Missing => set("how", "missing".into()),
        How::Extra => set("how", "extra".into()),
        How::Columns(columns) => {
            set("how", "differs".into());
            set("columns", columns.iter().copied().map(Value::from).collect());
        }
        How::Broken(what) => {
            set("how", "broken".into());
            set("detail", what.clone().into());
        }
    }
    Value::Object(object)
}

/// A key as text where it is, as the api's JSON names it.
fn text(key: &Bytes) -> (&'static str, String) {
    match std::str::from_utf8(key) {
        Ok(text) => ("key", text.to_owned()),
        Err(_) => ("key_b64", STANDARD.encode(key)),
    }
}
