//! Metrics as an exposition tells them, and the page that is made of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
};

/// One metric family.
#[derive(Clone, Debug, Default)]
pub(super) struct Family {
    pub(super) kind: String,
    unit: String,
    help: String,
    /// Besides `le`, which every histogram has.
    labels: BTreeSet<String>,
}

/// By the name of the family, which of a counter is that of its samples without `_total`.
pub(super) type Families = BTreeMap<String, Family>;

/// Reads an exposition.
pub(super) fn families(exposition: &str) -> Families {
    let mut families = Families::new();
    let mut current = String::new();
    for line in exposition.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "EOF"] => {}
            ["#", what, name, text] => {
                name.clone_into(&mut current);
                let family = families.entry(current.clone()).or_default();
                match what {
                    "TYPE" => text.clone_into(&mut family.kind),
                    "UNIT" => text.clone_into(&mut family.unit),
                    _ => text.trim_end_matches('.').clone_into(&mut family.help),
                }
            }
            _ => {
                let family = families.get_mut(&current).expect("samples come after their family");
                family.labels.extend(labels(line).into_iter().filter(|label| label != "le"));
            }
        }
    }
    families
}

/// The names of a sample's labels.
fn labels(sample: &str) -> Vec<String> {
    let Some((_, rest)) = sample.split_once('{') else { return Vec::new() };
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    for letter in rest.chars() {
        match letter {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '=' => names.push(std::mem::take(&mut name)),
            '}' => break,
            ',' => {}
            _ => name.push(letter),
        }
    }
    names
}

/// The name that stands in queries.
fn queried(name: &str, family: &Family) -> String {
    match family.kind.as_str() {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.to_owned(),
    }
}

/// Every name that a query may use, by a page.
pub(super) fn promised(page: &str) -> BTreeSet<String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some(match cells.next()? {
            "histogram" => ["bucket", "sum", "count"].map(|end| format!("{name}_{end}")).to_vec(),
            _ => vec![name],
        })
    };
    page.lines().filter_map(row).flatten().collect()
}

/// `docs/metrics.md`, of what each role tells.
pub(super) fn page(roles: &BTreeMap<&str, Families>) -> String {
    let mut all = Families::new();
    for (name, family) in roles.values().flatten() {
        let there = all.entry(name.clone()).or_insert_with(|| family.clone());
        assert_eq!((&there.kind, &there.help), (&family.kind, &family.help), "{name} is two things");
        there.labels.extend(family.labels.iter().cloned());
    }
    let mut page = String::from(HEAD);
    for (name, family) in &all {
        let tells = roles.iter().filter(|(_, families)| families.contains_key(name)).map(|(role, _)| *role);
        let tells: Vec<&str> = tells.collect();
        let tells = if tells.len() == roles.len() { "every".to_owned() } else { tells.join(", ") };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let Family { kind, unit, help, .. } = family;
        let name = queried(name, family);
        writeln!(page, "| `{name}` | {kind} | {} | {unit} | {help} | {tells} |", labels.join(", "))
            .expect("a string takes everything");
    }
    page
}

const HEAD: &str = "\
# Metrics

Every process tells its metrics at `/metrics` on its ops listener, as OpenMetrics text. This page is made from what \
running processes tell (`tests/all/observability/metrics.rs`); a test compares the two.

- *Role*: which process tells it. `millpond` without a command is all of them in one, and tells everything.
- A histogram `x` has the series `x_bucket` (with `le`), `x_sum` and `x_count`.
- Labels come from fixed lists, from the topology, or are partitions; never from what a client sends. `partition` is a \
label of watermarks, log ends and lags alone.
- What is asked of the shards (`millpond_shard_size_bytes`, `_rows`, `_row_updates_total`, tombstones, imbalance) is asked \
every 30 s by each writer process; take `max by (shard)`.

| name | type | labels | unit | meaning | role |
|---|---|---|---|---|---|
";

#[test]
fn labels_are_read_past_what_their_values_hold() {
    assert_eq!(labels(r#"x_total{route="/kv/{key}",status="404"} 1"#), ["route", "status"]);
    assert_eq!(labels("x 1"), Vec::<String>::new());
}
