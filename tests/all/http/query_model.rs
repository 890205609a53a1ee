//! Queries against a model: random keys of two tenants, some deleted, some expired, and random questions about them.
//!
//! Invariant: whatever the limit, all pages together are exactly what the model holds, in its order.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use millpond_tests::{http::Http, server::Fresh};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::NDJSON;

const TENANTS: [&str; 2] = ["one", "two"];
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Few bytes, so that keys are prefixes of one another and meet at the ends of the alphabet.
fn key(random: &mut impl Rng) -> Vec<u8> {
    let byte = |random: &mut dyn Rng| [0, b'/', b'a', b'b', 0x7f, 0x80, 0xff][random.random_range(0..7)];
    (0..random.random_range(1..5)).map(|_| byte(random)).collect()
}

fn b64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Writes a random history of a tenant, and what it comes to.
async fn write(http: &Http, tenant: &str, random: &mut StdRng) -> Result<Model> {
    let (mut model, mut lines, mut expiring) = (Model::new(), String::new(), Vec::new());
    for n in 0..600u16 {
        let key = key(random);
        let value =
            if random.random_bool(0.5) { n.to_string().into_bytes() } else { vec![0xfe, n.to_be_bytes()[1]] };
        let line = match random.random_range(0..10) {
            0..3 => {
                model.remove(&key);
                json!({"op": "delete", "key_b64": b64(&key)})
            }
            3 => {
                model.remove(&key);
                expiring.push(key.clone());
                json!({"op": "put", "key_b64": b64(&key), "value_b64": b64(&value), "ttl": "1s"})
            }
            _ => {
                let line = json!({"op": "put", "key_b64": b64(&key), "value_b64": b64(&value), "ttl": "1h"});
                model.insert(key, value);
                line
            }
        };
        lines.push_str(&line.to_string());
        lines.push('\n');
    }
    let call = http.post("/batch", NDJSON, lines).header("prefer", "wait=30").header("kv-tenant", tenant);
    let answer = call.send().await?;
    ensure!(answer.status == 200, "{}", answer.text());
    for key in expiring.iter().filter(|key| !model.contains_key(*key)) {
        let path = key.iter().fold("/kv/".to_owned(), |path, byte| format!("{path}%{byte:02x}"));
        while http.get(&path).header("kv-tenant", tenant).send().await?.status != 404 {}
    }
    Ok(model)
}

/// Keys and values in order.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A random question, and what the model answers: rows, and what is missing.
fn question(model: &Model, random: &mut StdRng) -> (Value, Rows, Vec<Vec<u8>>) {
    let reverse = random.random_bool(0.5);
    let mut body = json!({ "reverse": reverse });
    let mut missing = Vec::new();
    let mut rows: Model = if random.random_bool(0.3) {
        let mut keys: Vec<Vec<u8>> = (0..random.random_range(0..40)).map(|_| key(random)).collect();
        body["keys"] = keys.iter().map(|key| json!({"key_b64": b64(key)})).collect();
        keys.sort();
        keys.dedup();
        missing = keys.iter().filter(|key| !model.contains_key(*key)).cloned().collect();
        keys.into_iter()
            .filter_map(|key| model.get_key_value(&key))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    } else {
        model.clone()
    };
    if body.get("keys").is_none() {
        let mut bound = |name: &str, holds: &dyn Fn(&[u8], &[u8]) -> bool| {
            if random.random_bool(0.4) {
                let bound = key(random);
                body[name] = b64(&bound).into();
                rows.retain(|key, _| holds(key, &bound));
            }
        };
        bound("prefix_b64", &|key, prefix| key.starts_with(prefix));
        bound("start_b64", &|key, start| key >= start);
        bound("end_b64", &|key, end| key < end);
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    if reverse {
        rows.reverse();
        missing.reverse();
    }
    (body, rows, missing)
}

fn bytes(item: &Value, name: &str) -> Result<Vec<u8>> {
    match item[name].as_str() {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Ok(STANDARD.decode(item[format!("{name}_b64")].as_str().context("one of the two forms")?)?),
    }
}

/// Asks random questions of these apis in turn, page after page.
pub(crate) async fn queries_answer_as_the_model(https: &[&Http], seed: u64) -> Result<()> {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for tenant in TENANTS {
        let model = write(https[0], tenant, &mut random).await?;
        for n in 0..60 {
            let (asked, rows, missing) = question(&model, &mut random);
            let limit = [1, 2, 7, 50, 1000][random.random_range(0..5)];
            let mut body = asked.clone();
            body["limit"] = limit.into();
            body["consistency"] = "strong".into();
            let (mut told, mut absent) = (Vec::new(), Vec::new());
            for turn in n.. {
                let call = https[turn % https.len()].post("/kv/query", "application/json", body.to_string());
                let answer = call.header("kv-tenant", tenant).send().await?;
                ensure!(answer.status == 200, "{asked}: {answer:?}");
                let page = answer.json();
                ensure!(page["complete"] == true, "{page}");
                let items = page["items"].as_array().context("items")?;
                ensure!(items.len() <= limit, "{page}");
                for item in items {
                    told.push((bytes(item, "key")?, bytes(item, "value")?));
                }
                for key in page["missing"].as_array().context("missing")? {
                    let text = key.as_str().map(|text| text.as_bytes().to_vec());
                    absent.push(text.map_or_else(|| bytes(key, "key"), Ok)?);
                }
                if page["next_cursor"].is_null() {
                    break;
                }
                body = json!({"cursor": page["next_cursor"], "limit": limit});
            }
            ensure!(
                (&told, &absent) == (&rows, &missing),
                "{asked}: {told:?} {absent:?}, not {rows:?} {missing:?}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_queries_answer_as_a_model_does() -> Result<()> {
    let server = Fresh::start().await?;
    queries_answer_as_the_model(&[&server.http], rand::random()).await
}
