//! The document against the code: routes, codes and components. Not here: the document against a running server.

use std::collections::BTreeSet;

use super::*;
use crate::problem::Code;

/// Set: the test writes the file in place of comparing it.
const REWRITE: &str = "MILLPOND_REWRITE";
/// Answered by the ops listener alone.
const OF_OPS: [Code; 2] = [Code::PartitionUnknown, Code::DecisionRefused];
/// Roots without a key, which are answered as keys that are not valid.
const NO_KEY: [&str; 3] = ["/kv/", "/meta/", "/ttl/"];

#[test]
fn docs_openapi_json_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(path, text_of_document()).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text_of_document(),
        "docs/openapi.json is not what is served; write it anew: {REWRITE}=1 cargo test -p millpond-api openapi_json"
    );
}

#[test]
fn every_route_has_an_entry_and_every_entry_a_route() {
    let source = include_str!("../routes.rs");
    let routed = source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routed: BTreeSet<String> =
        routed.filter(|path| !NO_KEY.contains(path)).map(|path| path.replace("{*", "{")).collect();
    let told: BTreeSet<String> = paths().iter().map(|(path, _)| (*path).to_owned()).collect();
    assert_eq!(routed, told);
}

/// The codes in a value, with the status that stands beside each list of them.
fn codes(value: &Value, told: &mut BTreeSet<(u64, String)>) {
    match value {
        Value::Object(members) => {
            if let (Some(status), Some(codes)) =
                (value["status"]["const"].as_u64(), value["code"]["enum"].as_array())
            {
                told.extend(codes.iter().map(|code| (status, code.as_str().unwrap().to_owned())));
            }
            members.values().for_each(|member| codes(member, told));
        }
        Value::Array(items) => items.iter().for_each(|item| codes(item, told)),
        _ => {}
    }
}

#[test]
fn every_code_is_in_some_answer_with_the_status_of_the_table() {
    let mut told = BTreeSet::new();
    codes(&document(), &mut told);
    let table = Code::ALL.iter().filter(|code| !OF_OPS.contains(code));
    let table: BTreeSet<_> =
        table.map(|code| (u64::from(code.status().as_u16()), code.code().to_owned())).collect();
    assert_eq!(told, table);
}

#[test]
fn a_problem_stands_under_its_own_status() {
    let document = document();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap());
    for (_, operation) in operations.filter(|(_, told)| told.is_object()) {
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let Some(name) = answer["$ref"].as_str() else {
                assert!(status.as_str() < "400", "{status} {answer}");
                continue;
            };
            let answer = &document["components"]["responses"][name.rsplit('/').next().unwrap()];
            let schema = &answer["content"]["application/problem+json"]["schema"];
            let told = &schema["allOf"][1]["properties"]["status"]["const"];
            assert!(
                told.as_u64() == status.parse().ok() || answer.get("content").is_none(),
                "{status} {name}"
            );
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let paths = paths();
    let operations = || paths.iter().flat_map(|(_, operations)| operations);
    let ids: BTreeSet<&str> = operations().map(|operation| operation.id).collect();
    assert_eq!(ids.len(), operations().count());
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_of_use() {
    fn references<'v>(value: &'v Value, found: &mut BTreeSet<&'v str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let mut there = BTreeSet::new();
    for kind in ["headers", "parameters", "responses", "schemas"] {
        let names = document["components"][kind].as_object().unwrap().keys();
        there.extend(names.map(|name| format!("#/components/{kind}/{name}")));
    }
    let there: BTreeSet<&str> = there.iter().map(String::as_str).collect();
    assert_eq!(used, there);
}
