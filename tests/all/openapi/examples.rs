//! The document's examples are sent as they are, and its methods are those that the server names.
//!
//! Invariant: an example ends in a success, never in a problem.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use millpond_tests::{http::Http, server::Fresh};
use serde_json::Value;

use super::document;

/// What `name` leads to.
fn named<'d>(document: &'d Value, parameter: &'d Value) -> &'d Value {
    let name = parameter["$ref"].as_str().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    &document["components"]["parameters"][name]
}

/// The path with the examples of its parameters.
fn path_of(document: &Value, path: &str, operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|one| named(document, one)).filter(|one| one["in"] == "path");
    parameters.fold(path.to_owned(), |path, one| {
        let name = format!("{{{}}}", one["name"].as_str().unwrap_or_default());
        path.replace(&name, one["example"].as_str().unwrap_or_default())
    })
}

fn bytes(example: &Value) -> Bytes {
    example.as_str().map_or_else(|| example.to_string(), str::to_owned).into()
}

/// Makes what the examples work on: the key of the paths, as its own example puts it.
async fn prepare(http: &Http, path: &str, content_type: &str) -> Result<String> {
    let key = path.replacen("/meta/", "/kv/", 1).replacen("/ttl/", "/kv/", 1);
    let key = if key.starts_with("/kv/") { key.as_str() } else { "/kv/users/1" };
    let value = if content_type.contains("millpond") { "1" } else { r#"{"name":"Ada","visits":1}"# };
    let put = http.put(key, value).header("content-type", "application/json").header("prefer", "wait=30");
    Ok(put.send().await?.header("kv-position").to_owned())
}

#[tokio::test]
async fn every_example_works() -> Result<()> {
    let server = Fresh::start().await?;
    let document = document(&server.http).await?;
    let mut sent = 0;
    for (path, item) in document["paths"].as_object().context("there are paths")? {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            let name = method.strip_prefix("x-").unwrap_or(method).to_ascii_uppercase();
            let method = Method::from_bytes(name.as_bytes())?;
            let bodies = operation["requestBody"]["content"].as_object().into_iter().flatten();
            let mut bodies: Vec<_> = bodies
                .filter(|(_, media)| media.get("example").is_some())
                .map(|(name, media)| (name.as_str(), bytes(&media["example"])))
                .collect();
            if operation.get("requestBody").is_none() {
                bodies.push(("", Bytes::new()));
            }
            for (content_type, body) in bodies {
                let mut target = path_of(&document, path, operation);
                let position = prepare(&server.http, &target, content_type).await?;
                if path.starts_with("/mutations/") {
                    target = format!("/mutations/{position}");
                }
                let mut call = server.http.call(method.clone(), &target).body(body);
                if !content_type.is_empty() {
                    call = call.header("content-type", content_type);
                }
                let answer = call.send().await?;
                let status = answer.status.as_str();
                assert!(
                    answer.status.is_success() && answer.status != 207,
                    "{id} {content_type}: {answer:?}"
                );
                assert!(operation["responses"].get(status).is_some(), "{id}: {status} is not described");
                sent += 1;
            }
        }
    }
    assert!(sent >= 20, "only {sent} examples");
    Ok(())
}

#[tokio::test]
async fn the_methods_of_a_path_are_those_that_the_server_names() -> Result<()> {
    let server = Fresh::start().await?;
    let document = document(&server.http).await?;
    let paths = document["paths"].as_object().context("there are paths")?;
    let told = |path: &str| -> BTreeSet<String> {
        let members = paths[path].as_object().into_iter().flatten().filter(|(_, told)| told.is_object());
        members.map(|(method, _)| method.replacen("x-", "", 1).to_ascii_uppercase()).collect()
    };
    for (path, item) in paths {
        let target = path.replace("{key}", "a").replace("{position}", "1-0-1");
        let mut expected = told(path);
        if path == "/kv/query" {
            // A key like any other, too.
            expected.append(&mut told("/kv/{key}"));
        }
        if item.get("get").is_some() {
            expected.insert("HEAD".to_owned());
        }
        for (method, status) in [("TRACE", 405), ("MKCOL", 405), ("OPTIONS", 204)] {
            let answer = server.http.call(method.parse()?, &target).send().await?;
            assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            let allowed = answer.header("allow").split(',').map(|method| method.trim().to_owned());
            assert_eq!(
                allowed.filter(|method| !method.is_empty()).collect::<BTreeSet<_>>(),
                expected,
                "{path}"
            );
        }
    }
    Ok(())
}
