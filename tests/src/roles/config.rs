//! The TOML file of a deployment. It names no password.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::Settings;

/// What differs from one deployment to the next.
#[derive(Clone, Debug)]
pub struct Config<'a> {
    /// `host:port` of the brokers.
    pub kafka: String,
    /// One broker is enough.
    pub dev: bool,
    /// Of its topics and groups.
    pub prefix: &'a str,
    /// P.
    pub partitions: u32,
    /// Every shard's nodes, without a password, the primary first.
    pub shards: Vec<Vec<String>>,
    /// Further sections.
    pub more: &'a str,
}

impl Config<'_> {
    /// Writes it where the settings say.
    pub fn write(&self, settings: &Settings) -> Result<()> {
        std::fs::write(&settings.config, self.text(settings))
            .with_context(|| format!("write {}", settings.config.display()))
    }

    fn text(&self, settings: &Settings) -> String {
        let mut text = format!(
            "mac_key_file = \"{}\"\n\n[kafka]\nbrokers = \"{}\"\nprefix = \"{}\"\ndev = {}\n\n\
             [log]\npartitions = {}\n\n[shards]\npassword_file = \"{}\"\n\n{}",
            settings.dir.join("mac.key").display(),
            self.kafka,
            self.prefix,
            self.dev,
            self.partitions,
            settings.password.display(),
            self.more,
        );
        for (number, nodes) in self.shards.iter().enumerate() {
            let mut nodes = nodes.iter().map(|node| format!("\"{node}\""));
            let primary = nodes.next().unwrap_or_default();
            let replicas = nodes.collect::<Vec<_>>().join(", ");
            let _ = write!(
                text,
                "\n[[shard]]\nname = \"shard-{number}\"\nprimary = {primary}\nreplicas = [{replicas}]\n"
            );
        }
        text
    }
}
