//! The API's document against a running server, by foreign tools: what it allows, what it forbids, and what it promises of
//! the answers.
//!
//! schemathesis sends, openapi-spec-validator judges the document itself; tests/install.sh puts both below
//! target/openapi. Invariant: a tool that is missing fails.

mod browser;
mod copy;
mod examples;
mod page;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{http::Http, server::Fresh};
use serde_json::Value;

/// What schemathesis draws its random numbers from.
const SEED: &str = "20260";
/// Set: another seed.
const SEED_VARIABLE: &str = "MILLPOND_TEST_OPENAPI_SEED";
/// Set: how many cases of each operation are sent, in place of a few.
const CASES_VARIABLE: &str = "MILLPOND_TEST_OPENAPI_CASES";
/// What is asked of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,negative_data_rejection,missing_required_header";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// The Python that has the tools.
fn python() -> Command {
    let python = root().join("target/openapi/bin/python");
    assert!(python.exists(), "{} is missing: run tests/run.sh or tests/stack", python.display());
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

async fn document(http: &Http) -> Result<Value> {
    let answer = http.get("/openapi.json").send().await?;
    ensure!(answer.status == 200 && answer.header("content-type") == "application/json", "{answer:?}");
    Ok(answer.json())
}

/// What schemathesis sends: all that the document allows and forbids, or only the former.
#[derive(Clone, Copy, Debug)]
enum Mode {
    All,
    Positive,
}

/// Runs schemathesis with a document against a server.
async fn fuzz(document: &Value, address: SocketAddr, mode: Mode, cases: &str) -> Result<Output> {
    let dir = tempfile::TempDir::new()?;
    std::fs::write(dir.path().join("openapi.json"), document.to_string())?;
    // Beside it, as that is where hooks are looked for, and whatever is written goes with the folder.
    for name in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(root().join("tests/openapi").join(name), dir.path().join(name))?;
    }
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let mut command = python();
    command
        .current_dir(dir.path())
        .args(["-m", "schemathesis.cli", "run", "openapi.json"])
        .args(["--url", &format!("http://{address}"), "--checks", CHECKS])
        .args(["--mode", if matches!(mode, Mode::All) { "all" } else { "positive" }])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples"])
        .arg(variable(CASES_VARIABLE, cases))
        .args(["--seed", &variable(SEED_VARIABLE, SEED)])
        // Machines may be busy; what hangs is not a matter of seconds.
        .args(["--request-timeout", "60", "--continue-on-failure", "--no-color", "--warnings", "off"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    drop(dir);
    Ok(output)
}

fn assert_conforms(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(
        output.status.success(),
        "schemathesis found something: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A run that sends nothing finds nothing.
    assert!(said.contains("Tested: ") && said.contains(" passed"), "schemathesis has not run");
}

#[test]
fn the_document_is_openapi() -> Result<()> {
    let validate = |file: &Path| python().args(["-m", "openapi_spec_validator"]).arg(file).output();
    let committed = root().join("docs/openapi.json");
    let valid = validate(&committed)?;
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));
    // It would notice.
    let wrong = std::fs::read_to_string(&committed)?.replacen("\"responses\"", "\"responces\"", 1);
    let file = tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(file.path(), wrong)?;
    assert!(!validate(file.path())?.status.success());
    Ok(())
}

#[tokio::test]
async fn whatever_is_sent_is_answered_as_the_document_says() -> Result<()> {
    let server = Fresh::start().await?;
    let document = copy::strict(document(&server.http).await?);
    assert_conforms(&fuzz(&document, server.address, Mode::All, "5").await?);
    Ok(())
}

#[tokio::test]
async fn calls_that_mostly_succeed_are_answered_as_the_document_says() -> Result<()> {
    let server = Fresh::start().await?;
    let found = copy::fill(&server.http).await?;
    let document = copy::narrow(copy::strict(document(&server.http).await?), &found);
    assert_conforms(&fuzz(&document, server.address, Mode::Positive, "10").await?);
    Ok(())
}

#[tokio::test]
async fn an_answer_that_the_document_does_not_allow_is_found() -> Result<()> {
    let server = Fresh::start().await?;
    let mut document = copy::strict(document(&server.http).await?);
    let paths = document["paths"].as_object_mut().context("there are paths")?;
    paths.retain(|path, _| path == "/version");
    let limits = &mut document["components"]["schemas"]["Version"]["properties"]["limits"];
    limits["properties"].as_object_mut().context("there are limits")?.remove("page_rows_max");
    limits["required"].as_array_mut().context("they are required")?.pop();
    let output = fuzz(&document, server.address, Mode::Positive, "1").await?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("page_rows_max"), "{said}");
    Ok(())
}
