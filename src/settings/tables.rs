//! What a file can hold beside single values: the shards to begin with, and librdkafka's own settings.
//!
//! Invariant: what is shown reads back as the same tables.

use std::{collections::BTreeMap, fmt::Write};

use toml::de::{DeTable, DeValue};

use super::{layers::raw, units::quote};

/// librdkafka's settings, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

/// A shard as `millpond init` first writes it into the topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardSeed {
    /// Unique.
    pub name: String,
    /// Address of the primary, without a password.
    pub primary: String,
    /// Addresses of its replicas.
    pub replicas: Vec<String>,
}

impl Properties {
    /// Takes a table; one in it is a name with a dot that nobody quoted.
    pub(super) fn read(&mut self, prefix: &str, table: &DeTable<'_>) -> Result<(), String> {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.read(&format!("{name}."), inner)?,
                DeValue::Array(_) => return Err(format!("kafka.properties: {name} is not a single value")),
                value => drop(self.0.insert(name, raw(value).text)),
            }
        }
        Ok(())
    }

    pub(super) fn show(&self) -> String {
        let mut text = String::new();
        if !self.0.is_empty() {
            text.push_str("\n[kafka.properties]\n");
        }
        for (name, value) in &self.0 {
            let _ = writeln!(text, "{} = {}", quote(name), quote(value));
        }
        text
    }
}

impl ShardSeed {
    /// Reads one table `[[shard]]`.
    pub(super) fn read(table: &DeTable<'_>) -> Result<Self, String> {
        let mut seed = Self::default();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let text = |value: &DeValue<'_>| match value {
                DeValue::String(text) => Ok(text.to_string()),
                _ => Err(format!("shard.{name} is not text")),
            };
            match (name, value.get_ref()) {
                ("name", value) => seed.name = text(value)?,
                ("primary", value) => seed.primary = text(value)?,
                ("replicas", DeValue::Array(items)) => {
                    seed.replicas =
                        items.iter().map(|item| text(item.get_ref())).collect::<Result<_, _>>()?;
                }
                ("replicas", _) => return Err("shard.replicas is not a list of addresses".to_owned()),
                _ => return Err(format!("unknown key shard.{name}; a shard has name, primary and replicas")),
            }
        }
        if seed.name.is_empty() || seed.primary.is_empty() {
            return Err("a shard needs a name and a primary".to_owned());
        }
        Ok(seed)
    }

    pub(super) fn show(&self) -> String {
        let replicas: Vec<String> = self.replicas.iter().map(|replica| quote(replica)).collect();
        format!(
            "\n[[shard]]\nname = {}\nprimary = {}\nreplicas = [{}]\n",
            quote(&self.name),
            quote(&self.primary),
            replicas.join(", ")
        )
    }
}
