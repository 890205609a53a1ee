//! Bodies of calls: lines of a batch, framed records, queries.
//!
//! Invariant: a batch holds the same operations in either format.

use std::fmt::Write;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use clap::ValueEnum;
use millpond_schemas::{Conditions, Mutation, Op, RecordKey, Tenant};

/// How `/batch` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line.
    Ndjson,
    /// Length-delimited `millpond.v1.Record`s.
    Protobuf,
}

/// Field 5 of a record, `key`, by its length.
const KEY_TAG: u8 = 5 << 3 | 2;

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Protobuf => "application/x-protobuf",
        }
    }

    /// A batch of puts, each on a version where there is one.
    pub(super) fn batch<'a>(
        self,
        puts: impl Iterator<Item = (&'a str, &'a Bytes, Option<&'a str>)>,
    ) -> Result<Bytes> {
        match self {
            Self::Ndjson => Ok(lines(puts)),
            Self::Protobuf => records(puts),
        }
    }
}

fn lines<'a>(puts: impl Iterator<Item = (&'a str, &'a Bytes, Option<&'a str>)>) -> Bytes {
    let mut text = String::new();
    for (key, value, version) in puts {
        let value = String::from_utf8_lossy(value);
        let condition = version.map(|version| format!(r#","if_version":"{version}""#)).unwrap_or_default();
        writeln!(text, r#"{{"op":"put","key":"{key}","value":"{value}"{condition}}}"#)
            .expect("a string takes all");
    }
    text.into()
}

fn records<'a>(puts: impl Iterator<Item = (&'a str, &'a Bytes, Option<&'a str>)>) -> Result<Bytes> {
    let tenant = Tenant::new("default")?;
    let mut framed = BytesMut::new();
    for (key, value, version) in puts {
        let record = put(&tenant, key, value, version)?.encode().value.unwrap_or_default();
        put_length(&mut framed, record.len() + 1 + length_bytes(key.len()) + key.len());
        framed.put_slice(&record);
        framed.put_u8(KEY_TAG);
        put_length(&mut framed, key.len());
        framed.put_slice(key.as_bytes());
    }
    Ok(framed.freeze())
}

/// A put as a mutation.
pub(super) fn put(tenant: &Tenant, key: &str, value: &Bytes, version: Option<&str>) -> Result<Mutation> {
    let op = Op::Put {
        value: value.clone(),
        content_type: millpond_schemas::CONTENT_TYPE_DEFAULT.into(),
        expiry: None,
    };
    let conditions = Conditions { version: version.map(str::to_owned), ..Conditions::default() };
    Ok(Mutation { key: RecordKey::new(tenant, key.as_bytes())?, id: None, conditions, op })
}

fn put_length(to: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        to.put_u8(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    to.put_u8(u8::try_from(length).expect("seven bits"));
}

fn length_bytes(length: usize) -> usize {
    if length < 0x80 { 1 } else { 1 + length_bytes(length >> 7) }
}

/// A query of keys.
pub(super) fn keys<'a>(keys: impl Iterator<Item = &'a str>) -> Bytes {
    let names: Vec<String> = keys.map(|key| format!("\"{key}\"")).collect();
    format!(r#"{{"keys":[{}]}}"#, names.join(",")).into()
}

/// A query of a range.
pub(super) fn scan(start: &str, limit: u64) -> Bytes {
    format!(r#"{{"start":"{start}","limit":{limit}}}"#).into()
}

/// Keys and versions of what a query found.
pub(super) fn found(answer: &Bytes) -> Result<Vec<(String, String)>> {
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let items = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(items.iter().map(|item| (text(&item["key"]), text(&item["version"]))).collect())
}

#[cfg(test)]
mod tests {
    use millpond_schemas::KeyJoiner;

    use super::*;

    #[test]
    fn framed_records_decode_to_the_puts_that_the_lines_say() -> Result<()> {
        let (short, long) = (Bytes::from_static(b"v"), Bytes::from(vec![b'w'; 300]));
        let key = "k".repeat(200);
        let puts = || [("a", &short, None), (key.as_str(), &long, Some("1-2-3"))].into_iter();
        let tenant = Tenant::new("default")?;
        let mut framed = Format::Protobuf.batch(puts())?;
        for (key, value, version) in puts() {
            let (length, used) =
                framed.iter().zip(0..).fold((0, None), |(sum, used), (byte, at)| match used {
                    None => {
                        (sum | usize::from(byte & 0x7f) << (7 * at), (byte & 0x80 == 0).then_some(at + 1))
                    }
                    Some(_) => (sum, used),
                });
            let _length = framed.split_to(used.expect("a length ends"));
            let decoded = Mutation::decode(framed.split_to(length), &tenant, &mut KeyJoiner::default())?;
            assert_eq!(decoded, put(&tenant, key, value, version)?);
        }
        assert!(framed.is_empty());
        let text = Format::Ndjson.batch(puts())?;
        let text = str::from_utf8(&text)?;
        let lines: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        assert_eq!((lines.len(), lines[1]["if_version"].as_str()), (2, Some("1-2-3")));
        assert_eq!((lines[0]["key"].as_str(), lines[0]["value"].as_str()), (Some("a"), Some("v")));
        Ok(())
    }
}
