//! Kafka and Postgres as `tests/stack engines --` starts them, databases of our own in them, and psql.
//!
//! Not here: the roles. Invariant: what a row makes in Postgres goes with the value.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use millpond_shard::{Kind, Password, PostgresConfig};

/// Why a row that needs them is missing.
pub(crate) const NO_ENGINES: &str = "no engines; run it through bench/table, or tests/stack engines --";
/// What decides about the speed of Postgres.
const SETTINGS: [&str; 8] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_compression",
    "shared_buffers",
    "max_wal_size",
    "synchronous_standby_names",
];

/// Where they are.
#[derive(Clone)]
pub(crate) struct Engines {
    /// `host:port` of the broker.
    pub(crate) kafka: String,
    primary: Node,
    replica: Node,
}

#[derive(Clone)]
struct Node {
    authority: String,
    password: String,
}

impl Engines {
    /// Those of the environment, if it has any.
    pub(crate) fn here() -> Option<Self> {
        let node = |name: &str| {
            let url = std::env::var(name).ok()?;
            let (password, host) = url.strip_prefix("postgres://millpond:")?.split_once('@')?;
            let (authority, _) = host.split_once('/')?;
            Some(Node { authority: authority.to_owned(), password: password.to_owned() })
        };
        Some(Self {
            kafka: std::env::var("MILLPOND_TEST_KAFKA").ok()?,
            primary: node("MILLPOND_TEST_POSTGRES")?,
            replica: node("MILLPOND_TEST_POSTGRES_REPLICA")?,
        })
    }

    /// An empty database with a name of its own.
    pub(crate) fn database(&self) -> Result<Database> {
        let name = format!("row_{:08x}", rand::random::<u32>());
        let database = Database { engines: self.clone(), name };
        database.psql_in("postgres", &format!("CREATE DATABASE {}", database.name))?;
        Ok(database)
    }

    /// The settings that matter, for the table's head.
    pub(crate) fn settings(&self) -> Result<String> {
        let any = Database { engines: self.clone(), name: String::new() };
        let values = SETTINGS.map(|name| format!("'{name} = ' || current_setting('{name}')"));
        any.psql_in("postgres", &format!("SELECT concat_ws(', ', {})", values.join(", ")))
    }
}

/// A database.
pub(crate) struct Database {
    engines: Engines,
    name: String,
}

impl Database {
    /// How a shard opens it.
    pub(crate) fn config(&self) -> PostgresConfig {
        let password = Some(Password::new(self.password()));
        PostgresConfig { password, ..PostgresConfig::new(self.address(), Kind::Primary) }
    }

    /// `postgres://…` on the primary, without the password.
    pub(crate) fn address(&self) -> String {
        format!("postgres://millpond@{}/{}", self.engines.primary.authority, self.name)
    }

    /// The same on the replica.
    pub(crate) fn replica_address(&self) -> String {
        format!("postgres://millpond@{}/{}", self.engines.replica.authority, self.name)
    }

    /// Of the role `millpond`.
    pub(crate) fn password(&self) -> &str {
        &self.engines.primary.password
    }

    /// Runs SQL, and gives what it answers.
    pub(crate) fn psql(&self, sql: &str) -> Result<String> {
        self.psql_in(&self.name, sql)
    }

    /// A number that SQL answers.
    pub(crate) fn number(&self, sql: &str) -> Result<f64> {
        self.psql(sql)?.parse().with_context(|| format!("read the number of {sql}"))
    }

    /// A program that connects to it as libpq does.
    pub(crate) fn client(&self, program: &str, database: &str) -> Command {
        let (host, port) = self.engines.primary.authority.split_once(':').unwrap_or_default();
        let mut client = Command::new(program);
        client.env("PGPASSWORD", self.password()).env_remove("PGPASSFILE");
        client.args(["-h", host, "-p", port, "-U", "millpond"]);
        if program == "psql" {
            client.args(["-d", database])
        } else {
            client.arg(database)
        };
        client
    }

    /// Of the database.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn psql_in(&self, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.client("psql", database);
        psql.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]).stdin(Stdio::null());
        let output = psql.output().context("run psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {}", said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _gone =
                self.psql_in("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}
