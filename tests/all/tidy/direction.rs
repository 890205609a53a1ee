//! Which crate may use which: services never name one another.

use std::collections::BTreeMap;

use super::{none, root};

/// What each crate may depend on. The binary and the tests may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("fold", &["schemas"]),
    ("log", &["schemas"]),
    ("shard", &["schemas"]),
    ("trace", &[]),
    ("writer", &["fold", "log", "schemas", "shard", "trace"]),
    ("api", &["log", "schemas", "shard", "trace"]),
    ("sweeper", &["log", "schemas", "shard"]),
    ("client", &["schemas"]),
    ("bench", &["client", "fold", "log", "schemas", "shard", "writer"]),
];

/// Only one crate names each of these.
const OWNED: &[(&str, &str)] =
    &[("sqlx", "shard"), ("rdkafka", "log"), ("prost", "schemas"), ("axum", "api"), ("json-patch", "fold")];

fn dependencies(package: &str) -> BTreeMap<String, bool> {
    let path = root().join(package).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).expect("every crate has a manifest");
    let mut dependencies = BTreeMap::new();
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let Some((name, _)) = line.split_once(['.', ' ', '=']) {
            let for_tests = section == "[dev-dependencies]";
            if for_tests || section == "[dependencies]" {
                dependencies.entry(name.to_owned()).or_insert(for_tests);
            }
        }
    }
    dependencies
}

#[test]
fn crates_depend_in_one_direction() {
    let mut offenders = Vec::new();
    for (package, may_use) in MAY_USE {
        for (name, for_tests) in dependencies(package) {
            let Some(used) = name.strip_prefix("millpond-") else { continue };
            if !for_tests && !may_use.contains(&used) {
                offenders.push(format!("{package} uses {used}"));
            }
        }
    }
    none(&offenders, "direction: src → services → log, shard → schemas");
}

#[test]
fn every_engine_has_one_crate_that_names_it() {
    let mut offenders = Vec::new();
    for (package, _) in MAY_USE {
        let used = dependencies(package);
        for (library, owner) in OWNED {
            if package != owner && used.get(*library) == Some(&false) {
                offenders.push(format!("{package} names {library}, which is {owner}'s"));
            }
        }
    }
    none(&offenders, "an engine is named in one crate");
}
