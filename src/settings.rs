//! Settings: one struct for everything that can be told, from flags, environment, file and defaults.
//!
//! Not here: what the roles make of them beyond [`roles`]; secrets, which no setting holds.
//! Invariant: every field is in the file's keys, in the environment's names and in `config show`, made of one table.

mod layers;
mod roles;
mod sections;
mod show;
mod suggest;
mod tables;
#[cfg(test)]
mod tests;
mod units;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

pub use layers::{CLIENT_VARIABLES, Flag, Loaded, Origin, SettingsError, Sources};
pub use tables::{Properties, ShardSeed};
pub use units::{ByteSize, DefaultWait, OrOff, Raw, RawKind, Setting, parse_duration, show_duration};
pub(crate) use {layers::line_of, suggest::closest, units::quote};

pub use self::sections::{Api, Kafka, Log, LogFormat, Settings, Shards, Sweeper, Telemetry, Writer};

/// The MAC key in a data directory.
const MAC_KEY_FILE: &str = "mac.key";

/// One field: its name in its section, and its help.
pub struct Field {
    /// As in the file.
    pub name: &'static str,
    /// Its doc, line by line: unit, default, what gets worse.
    pub help: &'static [&'static str],
}

/// A struct whose fields can be set by name.
pub trait Section {
    /// In the order of their declaration.
    const FIELDS: &'static [Field];

    /// Sets a field of [`Section::FIELDS`].
    ///
    /// # Errors
    /// What the value should have been.
    fn set(&mut self, field: &str, raw: &Raw) -> Result<(), String>;

    /// A field's value as it is written in a file.
    fn get(&self, field: &str) -> String;
}

impl Settings {
    /// Reads all sources: flags over environment over file over defaults.
    ///
    /// # Errors
    /// [`SettingsError`], with every problem found and where it stands.
    pub fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
        layers::load(sources)
    }

    /// The defaults with another data directory, and every listener on a free port.
    pub fn on_free_ports(data_dir: impl Into<PathBuf>) -> Self {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { data_dir: data_dir.into(), listen: free, ops_listen: free, ..Self::default() }
    }

    /// Where everything lies.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The file of tokens; none: everybody may call.
    pub fn tokens_file(&self) -> Option<&Path> {
        Some(Path::new(&self.tokens_file)).filter(|path| !path.as_os_str().is_empty())
    }

    /// The file with the MAC key.
    pub fn mac_key_file(&self) -> PathBuf {
        if self.mac_key_file.is_empty() {
            self.data_dir.join(MAC_KEY_FILE)
        } else {
            self.mac_key_file.clone().into()
        }
    }
}
