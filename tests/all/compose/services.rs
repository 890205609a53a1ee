//! What every service has, and that it is the harness's own: files, versions, settings.

use std::{net::IpAddr, path::Path, process::Command};

use millpond_tests::server::{self, Fresh};
use serde_json::Value;

use super::{project, root, services, words};

/// The services that run `millpond`.
const ROLES: [&str; 4] = ["api", "init", "sweeper", "writer"];
/// Where they find their settings, here.
const SETTINGS: &str = "tests/compose/millpond.toml";

/// Ends by itself, so it is neither restarted nor asked how it is.
fn is_one_shot(name: &str) -> bool {
    name == "init"
}

fn millpond() -> Command {
    server::millpond().into_std()
}

fn volumes(service: &Value, kind: &str) -> Vec<Value> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    volumes.filter(|volume| volume["type"] == kind).cloned().collect()
}

fn image_version<'a>(service: &'a Value, image: &str) -> &'a str {
    let text = service["image"].as_str().unwrap_or_default();
    text.strip_prefix(image)
        .and_then(|rest| rest.strip_prefix(':'))
        .unwrap_or_else(|| panic!("{text} is no {image}"))
}

#[test]
fn every_service_is_watched_limited_and_restarted() {
    let project = project();
    for (name, service) in services(&project) {
        assert!(service["mem_limit"].is_string() && service["cpus"].is_number(), "{name} has limits");
        if is_one_shot(name) {
            assert_eq!(service["restart"], "no", "{name}");
            continue;
        }
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        let check = &service["healthcheck"];
        assert!(words(&check["test"]).len() > 1, "{name} has a health check");
        for field in ["interval", "timeout", "retries", "start_period"] {
            assert!(!check[field].is_null(), "{name}'s health check has {field}");
        }
    }
}

#[test]
fn every_port_is_published_on_the_loopback_once() {
    let project = project();
    let mut published = Vec::new();
    for (name, service) in services(&project) {
        for port in service["ports"].as_array().into_iter().flatten() {
            let host: IpAddr = port["host_ip"].as_str().unwrap_or("0.0.0.0").parse().expect("an address");
            assert!(host.is_loopback(), "{name} publishes a port on {host}");
            published.push(port["published"].as_str().expect("a port").to_owned());
        }
    }
    published.sort_unstable();
    assert_eq!(published, ["5430", "5431", "5440", "5441", "7420", "7421", "9094"]);
}

#[test]
fn everything_waits_for_what_it_needs() {
    let project = project();
    let services = services(&project);
    let waits = |name: &str, dependency: &str| services[name]["depends_on"][dependency]["condition"].clone();
    for engine in ["kafka", "shard-0-primary", "shard-1-primary"] {
        assert_eq!(waits("init", engine), "service_healthy");
    }
    for shard in ["shard-0", "shard-1"] {
        assert_eq!(waits(&format!("{shard}-replica"), &format!("{shard}-primary")), "service_healthy");
    }
    for role in ["api", "writer", "sweeper"] {
        assert_eq!(waits(role, "init"), "service_completed_successfully");
    }
    assert_eq!(services["writer"]["deploy"]["replicas"], 2);
}

#[test]
fn every_mounted_file_is_tracked_and_read_only() {
    let project = project();
    let root = root();
    for (name, service) in services(&project) {
        let binds = volumes(service, "bind");
        assert!(!binds.is_empty(), "{name} is configured by files");
        for bind in binds {
            let source = Path::new(bind["source"].as_str().expect("a path"));
            assert_eq!(bind["read_only"], true, "{name} may write to {}", source.display());
            let mut git = Command::new("git");
            git.args(["ls-files", "--error-unmatch"]).arg(source).current_dir(&root);
            let known = git.output().expect("git runs").status.success();
            assert!(known && source.is_file(), "{name} mounts {}, which is not in git", source.display());
        }
    }
}

#[test]
fn engines_run_with_the_files_of_the_harness() {
    let project = project();
    let mounts = |name: &str| -> Vec<String> {
        let services = services(&project);
        let sources = volumes(services[name], "bind");
        sources.iter().map(|bind| bind["source"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let config = |file: &str| root().join("tests/config").join(file).display().to_string();
    for file in ["kafka.properties", "log4j2.properties"] {
        assert!(mounts("kafka").contains(&config(file)), "{file}");
    }
    for node in ["shard-0-primary", "shard-0-replica", "shard-1-primary", "shard-1-replica"] {
        for file in ["postgresql.conf", "pg_hba.conf"] {
            assert!(mounts(node).contains(&config(file)), "{node}: {file}");
        }
        assert_eq!(mounts(node).contains(&config("roles.sql")), node.ends_with("primary"), "{node}");
    }
}

#[test]
fn engines_have_the_versions_of_the_harness() {
    let project = project();
    let services = services(&project);
    let pom = include_str!("../../kafka/pom.xml");
    let (_, after) = pom.split_once("<artifactId>kafka_2.13</artifactId>").expect("the broker is named");
    let (_, after) = after.split_once("<version>").expect("with its version");
    let (kafka, _) = after.split_once('<').expect("which ends");
    assert_eq!(image_version(services["kafka"], "apache/kafka"), kafka);

    let url = std::env::var("MILLPOND_TEST_POSTGRES").expect(
        "MILLPOND_TEST_POSTGRES is set: run it with tests/run.sh or `tests/stack engines -- cargo test …`",
    );
    let version =
        millpond_tests::postgres::psql(&url, "SHOW server_version").expect("Postgres tells its version");
    let (major, _) = version.split_once('.').expect("a version has parts");
    for node in ["shard-0-primary", "shard-0-replica", "shard-1-primary", "shard-1-replica"] {
        let (image, _) =
            image_version(services[node], "postgres").split_once('-').expect("with the system's name");
        assert_eq!(image, major, "{node}");
    }
}

#[test]
fn databases_are_made_as_those_of_the_harness() {
    let project = project();
    let harness = include_str!("../../src/postgres.rs");
    for node in ["shard-0-primary", "shard-1-primary"] {
        let arguments = services(&project)[node]["environment"]["POSTGRES_INITDB_ARGS"].clone();
        let arguments = arguments.as_str().expect("they are made in a certain way").to_owned();
        assert_eq!(arguments.split_whitespace().count(), 6, "{arguments}");
        for argument in arguments.split_whitespace() {
            assert!(harness.contains(&format!("\"{argument}\"")), "the harness does not say {argument}");
        }
    }
}

#[test]
fn the_binary_takes_every_command_and_the_settings() {
    let project = project();
    let services = services(&project);
    for role in ROLES {
        let service = services[role];
        let inside = service["environment"]["MILLPOND_CONFIG"].as_str().expect("it has settings");
        let mount = volumes(service, "bind").into_iter().find(|bind| bind["target"] == inside);
        let mount = mount.expect("the settings are mounted");
        assert_eq!(mount["source"], root().join(SETTINGS).display().to_string());

        let command = words(&service["command"]);
        let (name, flags) = command.split_first().expect("a command");
        let run = |arguments: &[&str]| {
            let mut millpond = millpond();
            millpond.args(arguments).args(flags).env("MILLPOND_CONFIG", root().join(SETTINGS));
            millpond.output().expect("millpond runs")
        };
        let checked = run(&["config", "check"]);
        assert!(checked.status.success(), "{role}: {}", String::from_utf8_lossy(&checked.stderr));
        let help = run(&[name, "--help"]);
        assert!(help.status.success(), "{role}: {}", String::from_utf8_lossy(&help.stderr));
        let usage = String::from_utf8_lossy(&help.stdout).into_owned();
        assert!(usage.contains(&format!(" {name} [OPTIONS]")), "{usage}");
        if role == "api" {
            let without: Vec<&str> =
                flags.iter().map(String::as_str).filter(|flag| *flag != "--insecure").collect();
            let mut millpond = millpond();
            let refused = millpond.args(["config", "check"]).args(without).output().expect("millpond runs");
            assert_eq!(refused.status.code(), Some(4), "--insecure is needed");
        }
    }
}

#[test]
fn the_settings_name_the_services() {
    let project = project();
    let services = services(&project);
    let shown = millpond()
        .args(["config", "show", "--config"])
        .arg(root().join(SETTINGS))
        .output()
        .expect("millpond runs");
    let text = String::from_utf8(shown.stdout).expect("settings are text");
    assert!(text.contains("brokers = \"kafka:9092\"") && services.contains_key("kafka"), "{text}");
    let mut nodes: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split("postgres://millpond@").skip(1))
        .filter_map(|rest| rest.strip_suffix("]").unwrap_or(rest).strip_suffix(":5432/millpond\""))
        .collect();
    nodes.sort_unstable();
    let shards: Vec<&str> = services.keys().copied().filter(|name| name.starts_with("shard-")).collect();
    assert_eq!(nodes, shards);
    // The key is made by init, where the roles read it.
    assert!(text.contains("mac_key_file = \"/var/lib/millpond/mac.key\""), "{text}");
    for (role, read_only) in [("init", false), ("api", true), ("writer", true), ("sweeper", true)] {
        let key = volumes(services[role], "volume");
        assert_eq!(key.len(), 1, "{role}");
        assert_eq!(
            (&key[0]["source"], &key[0]["target"]),
            (&"key".into(), &"/var/lib/millpond".into()),
            "{role}"
        );
        assert_eq!(key[0]["read_only"] == true, read_only, "{role}");
    }
}

#[tokio::test]
async fn the_health_check_tells_a_role_that_serves_from_one_that_does_not() -> anyhow::Result<()> {
    let project = project();
    let server = Fresh::start().await?;
    let free = millpond_tests::ports::free::<1>()?[0];
    for role in ["api", "sweeper", "writer"] {
        let check = words(&services(&project)[role]["healthcheck"]["test"]);
        let passes = |path: &str, port: u16| {
            let (kind, command) = check.split_first().expect("a health check has words");
            assert_eq!(kind, "CMD");
            let place = |word: &String| word.replace("/7421", &format!("/{port}")).replace("/readyz", path);
            let command: Vec<String> = command.iter().map(place).collect();
            let status = Command::new(&command[0]).args(&command[1..]).output().expect("bash runs").status;
            status.success()
        };
        let port = server.ops_address.port();
        assert!(passes("/readyz", port), "{role}: a role that serves is healthy");
        assert!(!passes("/no-such-path", port), "{role}: another status is not");
        assert!(!passes("/readyz", free), "{role}: nobody there is not");
    }
    Ok(())
}
