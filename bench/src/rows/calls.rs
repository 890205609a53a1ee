//! The calls of rows that go over HTTP: single puts and gets, and batches.
//!
//! Invariant: keys are drawn uniformly, or by Zipf over ranks, from as many as are told; the same seed makes the same calls.

use std::{collections::BTreeSet, fmt::Write, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use millpond_schemas::{Conditions, Mutation, Op, RecordKey, Tenant};

use super::{
    drive::Call,
    flushes::{VALUE_BYTES, scattered},
};

/// The media type of lines.
pub(crate) const NDJSON: &str = "application/x-ndjson";
/// The media type of records.
pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// Draws keys.
pub(crate) struct Draw {
    keys: u64,
    at: u64,
    how: How,
}

enum How {
    InTurn,
    Uniform,
    /// Cumulative shares of the ranks.
    Zipf(Vec<f64>),
}

impl Draw {
    /// Every key as likely.
    pub(crate) fn uniform(keys: u64, seed: u64) -> Self {
        Self { keys, at: seed << 40, how: How::Uniform }
    }

    /// One after the other.
    pub(crate) fn every(keys: u64) -> Self {
        Self { keys, at: 0, how: How::InTurn }
    }

    /// Zipf(0.99) over ranks, exactly.
    pub(crate) fn zipf(keys: u64, seed: u64) -> Self {
        let mut sum = 0.0;
        let shares = (1..=keys).map(|rank| {
            #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
            let share = (rank as f64).powf(-0.99);
            sum += share;
            sum
        });
        let shares: Vec<f64> = shares.collect();
        Self { keys, at: seed << 40, how: How::Zipf(shares.into_iter().map(|share| share / sum).collect()) }
    }

    fn next(&mut self) -> u64 {
        self.at += 1;
        let random = scattered(self.at);
        match &self.how {
            How::InTurn => self.at % self.keys,
            How::Uniform => random % self.keys,
            #[expect(clippy::cast_precision_loss, reason = "53 bits of it are left")]
            How::Zipf(shares) => {
                let drawn = (random >> 11) as f64 / (1_u64 << 53) as f64;
                (shares.partition_point(|share| *share < drawn) as u64).min(self.keys - 1)
            }
        }
    }

    /// A name.
    pub(crate) fn key(&mut self) -> String {
        format!("user:{:012}", self.next())
    }
}

/// Puts of one key each.
pub(crate) fn puts(draw: &mut Draw, count: usize, prefer: Option<&'static str>) -> Result<Arc<Vec<Call>>> {
    let body = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let more = prefer.map(|prefer| (HeaderName::from_static("prefer"), HeaderValue::from_static(prefer)));
    let one = |_| {
        Ok(Call {
            method: Method::PUT,
            uri: format!("/kv/{}", draw.key()).parse()?,
            headers: headers(more.clone()),
            body: body.clone(),
        })
    };
    Ok(Arc::new((0..count).map(one).collect::<Result<_>>()?))
}

/// A put in each partition that waits until it is applied.
pub(crate) fn marks(partitions: u32) -> Result<Vec<Call>> {
    let tenant = Tenant::new("default")?;
    let mut missing: BTreeSet<u32> = (0..partitions).collect();
    let mut marks = Vec::new();
    for number in 0.. {
        if missing.is_empty() {
            break;
        }
        let key = format!("mark:{number}");
        if missing.remove(&RecordKey::new(&tenant, key.as_bytes())?.partition(partitions).0) {
            marks.push(Call {
                method: Method::PUT,
                uri: format!("/kv/{key}").parse()?,
                headers: headers(Some((
                    HeaderName::from_static("prefer"),
                    HeaderValue::from_static("wait=30"),
                ))),
                body: Bytes::new(),
            });
        }
    }
    Ok(marks)
}

/// Gets of one key each.
pub(crate) fn gets(draw: &mut Draw, count: usize) -> Result<Arc<Vec<Call>>> {
    let one = |_| {
        Ok(Call {
            method: Method::GET,
            uri: format!("/kv/{}", draw.key()).parse()?,
            headers: headers(None),
            body: Bytes::new(),
        })
    };
    Ok(Arc::new((0..count).map(one).collect::<Result<_>>()?))
}

/// Queries of so many keys each.
pub(crate) fn queries(draw: &mut Draw, count: usize, keys: usize) -> Result<Arc<Vec<Call>>> {
    let one = |_| {
        let keys: Vec<String> = (0..keys).map(|_| draw.key()).collect();
        anyhow::Ok(Call {
            method: Method::POST,
            uri: "/kv/query".parse()?,
            headers: headers(Some((header::CONTENT_TYPE, HeaderValue::from_static("application/json")))),
            body: serde_json::to_vec(&serde_json::json!({ "keys": keys, "limit": keys.len() }))?.into(),
        })
    };
    Ok(Arc::new((0..count).map(one).collect::<Result<_>>()?))
}

/// Batches of so many puts each.
pub(crate) fn batches(
    draw: &mut Draw,
    (count, operations): (usize, usize),
    content_type: &'static str,
) -> Result<Arc<Vec<Call>>> {
    let one = |_| {
        Ok(Call {
            method: Method::POST,
            uri: "/batch".parse()?,
            headers: headers(Some((header::CONTENT_TYPE, HeaderValue::from_static(content_type)))),
            body: if content_type == NDJSON { lines(draw, operations) } else { records(draw, operations)? },
        })
    };
    Ok(Arc::new((0..count).map(one).collect::<Result<_>>()?))
}

fn headers(more: Option<(HeaderName, HeaderValue)>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("bench"));
    headers.extend(more);
    headers
}

fn lines(draw: &mut Draw, operations: usize) -> Bytes {
    let (mut text, value) = (String::new(), "v".repeat(VALUE_BYTES));
    for _ in 0..operations {
        let _ = writeln!(text, "{{\"op\":\"put\",\"key\":\"{}\",\"value\":\"{value}\"}}", draw.key());
    }
    text.into()
}

fn records(draw: &mut Draw, operations: usize) -> Result<Bytes> {
    let (tenant, value) = (Tenant::new("default")?, Bytes::from(vec![b'v'; VALUE_BYTES]));
    let mut body = Vec::new();
    for _ in 0..operations {
        let key = RecordKey::new(&tenant, draw.key().as_bytes())?;
        let op = Op::Put { value: value.clone(), content_type: "".into(), expiry: None };
        let record = Mutation { key, id: None, conditions: Conditions::default(), op }.encode_with_key();
        let mut length = record.len();
        while length >= 0x80 {
            body.push(u8::try_from(length & 0x7f)? | 0x80);
            length >>= 7;
        }
        body.push(u8::try_from(length)?);
        body.extend_from_slice(&record);
    }
    Ok(body.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_its_mark() {
        assert_eq!(marks(64).unwrap().len(), 64);
    }

    #[test]
    fn the_first_rank_of_zipf_is_drawn_as_often_as_it_should() {
        let mut draw = Draw::zipf(1_000, 1);
        let first = (0..100_000).filter(|_| draw.next() == 0).count();
        // 1 / sum of rank^-0.99 over 1,000 ranks is 0.128.
        assert!((12_300..13_300).contains(&first), "{first}");
    }
}
