//! Alerts and dashboard: what they ask can be asked, of metrics that are told; and an alert's next command is one.
//!
//! Invariant: Prometheus' own tool judges them.

use std::{collections::BTreeSet, fmt::Write, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use millpond_tests::server::millpond;
use serde_json::Value;

use super::{file, table};

const RULES: &str = "docs/alerts/millpond.rules.yml";
const DASHBOARD: &str = "docs/grafana/millpond.json";

/// Where `tests/install.sh` puts it, or the system has it.
fn promtool() -> PathBuf {
    let installed = file("target/prometheus/promtool");
    assert!(installed.exists(), "promtool is not installed: run it with tests/run.sh or tests/stack");
    installed
}

fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new(promtool()).args(arguments).current_dir(file(".")).output()?;
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "promtool {arguments:?}: {said}{error}");
    Ok(said.into_owned())
}

/// What follows `key:` in the rules, unquoted.
fn told(rules: &str, key: &str) -> Vec<String> {
    let value = |line: &str| {
        let value = line.trim().strip_prefix(key)?.strip_prefix(": ")?;
        let plain = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
        Some(plain.map_or_else(|| value.to_owned(), |value| value.replace("''", "'")))
    };
    rules.lines().filter_map(value).collect()
}

/// Every query of the dashboard, as Prometheus takes it.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let query = |target: &Value| target["expr"].as_str().map(|expr| expr.replace("$__rate_interval", "5m"));
    targets.filter_map(query).collect()
}

/// The metrics that queries name.
fn named(queries: &[String]) -> BTreeSet<String> {
    let names =
        queries.iter().flat_map(|query| query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    let ours = |name: &&str| name.starts_with("millpond_") || name.starts_with("process_");
    names.filter(ours).map(str::to_owned).collect()
}

/// Names that the page of metrics promises.
fn promised() -> Result<BTreeSet<String>> {
    Ok(table::promised(&std::fs::read_to_string(file("docs/metrics.md"))?))
}

#[test]
fn alerts_are_rules_and_fire_when_they_should() -> Result<()> {
    let said = run(&["check", "rules", RULES])?;
    let rules = std::fs::read_to_string(file(RULES))?;
    let count = told(&rules, "- alert").len();
    assert!(count > 20 && said.contains(&format!("SUCCESS: {count} rules found")), "{said}");
    run(&["test", "rules", "docs/alerts/millpond.rules.test.yml"])?;
    Ok(())
}

#[test]
fn every_query_of_the_dashboard_is_one() -> Result<()> {
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file(DASHBOARD))?)?;
    let queries = queries(&dashboard);
    assert!(queries.len() > 50, "{queries:?}");
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, query) in queries.iter().enumerate() {
        let query = query.replace('\'', "''");
        writeln!(rules, "  - record: panel:{number}\n    expr: '{query}'")?;
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("dashboard.yml");
    std::fs::write(&path, rules)?;
    let said = run(&["check", "rules", path.to_str().context("a path of ours is UTF-8")?])?;
    assert!(said.contains(&format!("SUCCESS: {} rules found", queries.len())), "{said}");
    Ok(())
}

#[test]
fn alerts_and_dashboard_name_only_metrics_that_are_told() -> Result<()> {
    let promised = promised()?;
    let rules = told(&std::fs::read_to_string(file(RULES))?, "expr");
    let dashboard = queries(&serde_json::from_slice(&std::fs::read(file(DASHBOARD))?)?);
    let named = named(&[rules, dashboard].concat());
    assert!(named.len() > 40, "{named:?}");
    let unknown: Vec<&String> = named.difference(&promised).collect();
    assert!(unknown.is_empty(), "docs/metrics.md knows nothing of {unknown:?}");
    Ok(())
}

#[tokio::test]
async fn an_alerts_next_command_is_one() -> Result<()> {
    let rules = std::fs::read_to_string(file(RULES))?;
    let next: BTreeSet<String> = told(&rules, "next").into_iter().collect();
    assert_eq!(told(&rules, "next").len(), told(&rules, "- alert").len(), "every alert says what is next");
    for command in next {
        let words = command.strip_prefix("millpond ").with_context(|| format!("{command} is not ours"))?;
        let words = words.split(' ').take_while(|word| !word.starts_with('-'));
        let output = millpond().args(words).arg("--help").output().await?;
        assert!(output.status.success(), "{command} is no command");
    }
    Ok(())
}
