//! docker-compose.yml and the Dockerfile, checked without a Docker engine: by Docker Compose's own reading of the file,
//! by hadolint, and by running what the services run here.
//!
//! Not a proof that the containers work together. Invariant: a tool that is missing fails.

mod dockerfile;
mod scripts;
mod services;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// A tool that tests/install.sh put below target/compose.
fn tool(path: impl AsRef<Path>) -> PathBuf {
    let tool = root().join("target/compose").join(path);
    assert!(tool.exists(), "{} is missing: run tests/run.sh or tests/stack", tool.display());
    tool
}

/// The program itself: the script around it in the package loses its exit code.
fn compose_program() -> PathBuf {
    let versions = tool("lib").read_dir().expect("a Python has libraries").flatten();
    let python = versions.map(|version| version.path()).find(|path| path.join("site-packages").exists());
    tool(python.expect("a Python has packages").join("site-packages/compose/docker-compose"))
}

/// `docker compose config` on a file, in the project's root, with no passwords set.
fn config(file: &Path) -> Output {
    let mut compose = Command::new(compose_program());
    for name in ["POSTGRES_PASSWORD", "MILLPOND_PASSWORD", "REPLICATOR_PASSWORD"] {
        compose.env_remove(name);
    }
    compose.arg("--file").arg(file).arg("--project-directory").arg(root());
    compose.args(["config", "--format", "json"]).output().expect("Docker Compose runs")
}

/// The file as Docker Compose understands it.
fn project() -> Value {
    let output = config(&root().join("docker-compose.yml"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "Docker Compose refuses or warns: {said}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

fn services(project: &Value) -> BTreeMap<&str, &Value> {
    let services = project["services"].as_object().expect("there are services");
    services.iter().map(|(name, service)| (name.as_str(), service)).collect()
}

/// A list of words, with what Docker Compose would make of `$$`.
fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.map(|word| word.as_str().expect("a word is text").replace("$$", "$")).collect()
}

/// What Docker Compose says of the file with `right` written as `wrong`. It must refuse it.
fn refusal(right: &str, wrong: &str) -> String {
    let text = std::fs::read_to_string(root().join("docker-compose.yml")).expect("the file is there");
    assert!(text.contains(right), "the file says {right}");
    let file = tempfile::NamedTempFile::with_suffix(".yml").expect("a temporary file");
    std::fs::write(file.path(), text.replace(right, wrong)).expect("a temporary file can be written");
    let output = config(file.path());
    assert!(!output.status.success(), "{wrong} is taken for {right}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn compose_understands_the_file() {
    let project = project();
    let names: Vec<&str> = services(&project).into_keys().collect();
    let expected = [
        "api",
        "init",
        "kafka",
        "shard-0-primary",
        "shard-0-replica",
        "shard-1-primary",
        "shard-1-replica",
        "sweeper",
        "writer",
    ];
    assert_eq!(names, expected);
}

#[test]
fn compose_refuses_a_file_with_a_mistake() {
    let mistakes = [
        ("mem_limit:", "mem_limits:", "mem_limits"),
        ("shard-1-primary: { condition", "shard-2-primary: { condition", "shard-2-primary"),
        (r#"ports: ["127.0.0.1:9094:9094"]"#, r#"ports: "127.0.0.1:9094:9094""#, "ports"),
        ("condition: service_healthy", "condition: service_health", "condition"),
        ("- kafka:/var/lib/kafka/data", "- kafka-data:/var/lib/kafka/data", "kafka-data"),
    ];
    for (right, wrong, named) in mistakes {
        let said = refusal(right, wrong);
        assert!(said.contains(named), "{named} is not named: {said}");
    }
}
