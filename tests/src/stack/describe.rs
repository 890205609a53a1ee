//! What a stack tells about itself: one line of JSON for programs, a few lines for people.

use serde_json::{Value, json};

use super::{PARTITIONS, Stack, TOPIC};
use crate::roles::{Kind, Role, Settings};

/// The database on every shard.
const DATABASE: &str = "millpond";

impl Stack {
    fn of(&self, kind: Kind) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(move |role| role.kind == kind)
    }

    fn pids(&self, kind: Kind) -> Vec<u32> {
        self.of(kind).map(|role| role.process.pid()).collect()
    }

    /// One object, in the shape that tests/stack promises.
    pub fn json(&self) -> Value {
        let shards = self.shards.iter().map(|shard| {
            let replicas: Vec<String> = (1..shard.nodes()).map(|node| shard.url(node, DATABASE)).collect();
            json!({ "primary": shard.url(0, DATABASE), "replicas": replicas })
        });
        let postgres = self.shards.iter().flat_map(|shard| (0..shard.nodes()).map(|node| shard.pid(node)));
        json!({
            "config": self.settings.config,
            "apis": self.of(Kind::Api).map(Role::address).collect::<Vec<_>>(),
            "ops": self.roles.iter().map(Role::ops_address).collect::<Vec<_>>(),
            "kafka": self.broker.address(),
            "topic": TOPIC,
            "partitions": PARTITIONS,
            "shards": shards.collect::<Vec<_>>(),
            "pids": {
                "api": self.pids(Kind::Api),
                "writer": self.pids(Kind::Writer),
                "sweeper": self.pids(Kind::Sweeper),
                "kafka": [self.broker.pid()],
                "postgres": postgres.collect::<Vec<_>>(),
            },
        })
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let mut lines = vec!["The stack is up.".to_owned(), String::new()];
        for role in &self.roles {
            let api = if role.kind == Kind::Api { role.address() } else { String::new() };
            lines.push(format!("  {:<10} {api:<24} ops {}", role.name(), role.ops_address()));
        }
        lines.push(format!(
            "  {:<10} {}, topic {TOPIC}, {PARTITIONS} partitions",
            "kafka",
            self.broker.address()
        ));
        for (number, shard) in self.shards.iter().enumerate() {
            lines.push(format!("  {:<10} {}", format!("shard-{number}"), shard.url(0, DATABASE)));
            for node in 1..shard.nodes() {
                lines.push(format!("  {:<10} {}", "  replica", shard.url(node, DATABASE)));
            }
        }
        let Settings { config, dir, .. } = &self.settings;
        lines.push(format!("\nConfiguration: {}", config.display()));
        lines.push(format!("Logs and data: {}\nTry:", dir.display()));
        if let Some(api) = self.of(Kind::Api).next() {
            lines.push(format!("  curl -X PUT --data hello {}/kv/greeting", api.address()));
            lines.push(format!("  curl {}/kv/greeting", api.address()));
        }
        lines.push("End it with tests/stack down, start what has died with tests/stack start.".to_owned());
        lines.join("\n")
    }
}
