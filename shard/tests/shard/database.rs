//! A Postgres database of a test's own, gone with the test.

use std::str::FromStr;

use millpond_shard::{Kind, Password, PostgresConfig, Shard};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};

/// A database of its own in the tests' cluster.
pub(crate) struct Database {
    name: String,
}

/// An empty shard in it.
pub(crate) struct Fixture {
    pub(crate) shard: Shard,
    pub(crate) database: Database,
}

/// An empty Postgres shard.
pub(crate) async fn on_postgres() -> Fixture {
    let database = Database::create().await;
    let shard = database.shard();
    shard.migrate().await.unwrap();
    Fixture { shard, database }
}

/// Where the cluster's administrative database is, with its password.
fn cluster(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run it with tests/run.sh or `tests/stack engines -- cargo test …`")
    })
}

/// Without the password, and the password.
fn split(address: &str) -> (String, String) {
    let (scheme, rest) = address.split_once("://").unwrap();
    let (login, place) = rest.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap();
    (format!("{scheme}://{user}@{place}"), password.to_owned())
}

async fn administer(statements: Vec<String>) {
    let mut connection =
        PgConnectOptions::from_str(&cluster("MILLPOND_TEST_POSTGRES")).unwrap().connect().await.unwrap();
    for sql in statements {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

impl Database {
    /// Without any tables.
    pub(crate) async fn create() -> Self {
        Self::create_with("").await
    }

    /// Without any tables, with these options of CREATE DATABASE.
    pub(crate) async fn create_with(options: &str) -> Self {
        let id = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let name = format!("shard_{}_{id}", std::process::id());
        administer(vec![format!("CREATE DATABASE {name} {options}")]).await;
        Self { name }
    }

    /// How a primary that is this database is opened.
    pub(crate) fn config(&self) -> PostgresConfig {
        self.config_at("MILLPOND_TEST_POSTGRES", Kind::Primary)
    }

    /// How its replica is opened.
    pub(crate) fn replica(&self) -> PostgresConfig {
        self.config_at("MILLPOND_TEST_POSTGRES_REPLICA", Kind::Replica)
    }

    fn config_at(&self, variable: &str, kind: Kind) -> PostgresConfig {
        let (address, password) = split(&cluster(variable));
        let (server, _) = address.rsplit_once('/').unwrap();
        let mut config = PostgresConfig::new(format!("{server}/{}", self.name), kind);
        config.password = Some(Password::new(password));
        config
    }

    /// A shard of it, not yet connected.
    pub(crate) fn shard(&self) -> Shard {
        Shard::open_postgres(&self.config()).unwrap()
    }

    /// The database as another program sees it.
    pub(crate) async fn tool(&self) -> PgConnection {
        let options = PgConnectOptions::from_str(&cluster("MILLPOND_TEST_POSTGRES")).unwrap();
        options.database(&self.name).application_name("tool").connect().await.unwrap()
    }

    /// Runs statements as another program.
    pub(crate) async fn run(&self, sql: &str) {
        let mut tool = self.tool().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut tool).await.unwrap();
        tool.close().await.unwrap();
    }

    /// One number, as another program reads it.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let mut tool = self.tool().await;
        let number = sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(&mut tool).await.unwrap();
        tool.close().await.unwrap();
        number
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Not WITH (FORCE): it would have to end an autovacuum too, which is not ours. Without, that one gives way.
        let drop = administer(vec![
            format!(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{}' AND usename = current_user",
                self.name
            ),
            format!("DROP DATABASE {}", self.name),
        ]);
        let thread = std::thread::spawn(|| {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(drop);
        });
        let dropped = thread.join();
        assert!(dropped.is_ok() || std::thread::panicking(), "the database {} is still there", self.name);
    }
}
