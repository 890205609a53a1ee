//! The scripts that docker-compose.yml starts engines with, run here: on real tools, with what only the images have
//! replaced.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use millpond_tests::{
    folder::Folder,
    ports,
    postgres::Cluster,
    process::{Life, Process, run, until},
};

use super::{project, root, services, words};

const PATIENCE: Duration = Duration::from_mins(1);

/// Puts a script into a folder for the PATH.
fn write_program(dir: &Path, name: &str, text: &str) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(name), format!("#!/usr/bin/env bash\n{text}\n"))?;
    Ok(std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755))?)
}

fn path_with(dir: &Path) -> String {
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap_or_default())
}

/// Copies a file of the project to where its service finds it, in a folder that stands for the container's.
fn mount(from: &str, dir: &Path) -> Result<PathBuf> {
    let from = root().join(from);
    let to = dir.join(from.file_name().context("a file has a name")?);
    std::fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
    Ok(to)
}

#[test]
fn the_broker_gets_the_files_of_the_harness_and_formats_its_data_once() -> Result<()> {
    let folder = Folder::create()?;
    let dir = folder.path();
    let shared = std::fs::read_to_string(mount("tests/config/kafka.properties", dir)?)?;
    let script = mount("tests/compose/kafka.sh", dir)?;
    let bin = dir.join("bin");
    let jars = root().join("target/kafka/*");
    let tool = format!("exec java -Xmx128m -cp '{}' kafka.tools.StorageTool \"$@\"", jars.display());
    write_program(&bin, "kafka-storage.sh", &tool)?;
    write_program(&bin, "kafka-server-start.sh", "cat \"$1\"")?;
    let data = dir.join("data");
    std::fs::create_dir(&data)?;
    let start = || {
        let mut bash = Command::new("bash");
        run(bash.arg(&script).arg(&data).env("PATH", path_with(&bin)).env("TMPDIR", dir))
    };
    let said = start()?;
    let (_, properties) = said.split_at(said.find(&shared).context("the shared properties come whole")?);
    ensure!(
        properties.contains("\nadvertised.listeners=PLAINTEXT://kafka:9092,HOST://127.0.0.1:9094,"),
        "{properties}"
    );
    ensure!(properties.contains(&format!("\nlog.dirs={}\n", data.display())), "{properties}");
    let formatted = std::fs::read_to_string(data.join("meta.properties"))?;
    start()?;
    ensure!(std::fs::read_to_string(data.join("meta.properties"))? == formatted, "formatted again");
    Ok(())
}

/// A replica as its service starts it, against a primary of the harness.
struct Replica {
    command: Command,
    user: Vec<String>,
    /// Stands for the volume.
    volume: PathBuf,
    port: u16,
}

impl Replica {
    fn of(cluster: &Cluster, dir: &Path) -> Result<Self> {
        let bin = dir.join("bin");
        let server = "shift\nbin=$(printf '%s\\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)\n\
                      exec \"$bin/postgres\" -D \"$PGDATA\" \"$@\"";
        write_program(&bin, "docker-entrypoint.sh", server)?;
        let script = mount("tests/compose/replica.sh", dir)?;
        for file in ["tests/config/postgresql.conf", "tests/config/pg_hba.conf"] {
            mount(file, dir)?;
        }
        let volume = dir.join("volume");
        std::fs::create_dir(&volume)?;
        std::fs::set_permissions(&volume, std::fs::Permissions::from_mode(0o777))?;
        let [port] = ports::free()?;
        let project = project();
        let mut command = Command::new("bash");
        command.arg(script).args(words(&services(&project)["shard-0-replica"]["command"]).iter().map(
            |word| word.replace("/etc/postgresql", &dir.display().to_string()).replace("=*", "=127.0.0.1"),
        ));
        command.args([&format!("-cport={port}"), "-cunix_socket_directories="]);
        command.env("PATH", path_with(&bin)).env("PGDATA", volume.join("pgdata"));
        command.env("PRIMARY", format!("host=127.0.0.1 port={}", cluster.port(0)));
        command.env("PGPASSWORD", &cluster.secrets().replicator).current_dir("/");
        let as_root = rustix::process::geteuid().is_root();
        let user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];
        let user = user.iter().filter(|_| as_root).map(ToString::to_string).collect();
        Ok(Self { command, user, volume, port })
    }

    fn start(&self, log: &Path) -> Result<Process> {
        let mut process = Process::spawn(&self.command, &self.user, log, Life::Owned)?;
        process.until_ready(PATIENCE, |said| Ok(said.contains("ready to accept read-only connections")))?;
        Ok(process)
    }

    /// What is asked of it with the password of the role `millpond`.
    fn asked(&self, cluster: &Cluster, sql: &str) -> Result<String> {
        let (password, port) = (&cluster.secrets().millpond, self.port);
        millpond_tests::postgres::psql(
            &format!("postgres://millpond:{password}@127.0.0.1:{port}/millpond"),
            sql,
        )
    }
}

fn until_slot(cluster: &Cluster, active: &str) -> Result<()> {
    let sql = "SELECT slot_name, active FROM pg_replication_slots";
    let expected = format!("compose_replica|{active}");
    let seen = until(PATIENCE, || Ok(cluster.psql(0, "postgres", "postgres", sql)?.trim() == expected))?;
    ensure!(seen, "the slot is not {expected}");
    Ok(())
}

#[test]
fn a_replica_copies_its_primary_streams_and_comes_back() -> Result<()> {
    let cluster = Cluster::fresh(0)?;
    let folder = Folder::create()?;
    let (dir, log) = (folder.path(), folder.path().join("replica.log"));
    let replica = Replica::of(&cluster, dir)?;

    let mut process = replica.start(&log)?;
    until_slot(&cluster, "t")?;
    assert_eq!(replica.asked(&cluster, "SELECT pg_is_in_recovery()")?.trim(), "t");

    // Killed, and started on what it has.
    process.kill()?;
    until_slot(&cluster, "f")?;
    let mut process = replica.start(&log)?;
    until_slot(&cluster, "t")?;

    // Killed while it copied: a part under another name, and a slot that nobody uses.
    process.kill()?;
    until_slot(&cluster, "f")?;
    std::fs::rename(replica.volume.join("pgdata"), replica.volume.join("pgdata.new"))?;
    std::fs::remove_file(replica.volume.join("pgdata.new/PG_VERSION"))?;
    let _process = replica.start(&log)?;
    until_slot(&cluster, "t")?;
    cluster.psql(0, "millpond", "millpond", "CREATE TABLE seen AS SELECT 1 AS one")?;
    let seen =
        until(PATIENCE, || Ok(replica.asked(&cluster, "SELECT to_regclass('seen')")?.trim() == "seen"))?;
    ensure!(seen, "what the primary commits does not arrive");
    Ok(())
}
