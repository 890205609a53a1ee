//! Layers: defaults, one file, the environment, flags; each over the one before.
//!
//! Invariant: a key or variable that no field has is an error that says where it stands; nothing is skipped silently.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use toml::de::{DeArray, DeTable, DeValue};

use super::{Raw, RawKind, Settings, ShardSeed, sections::SECTIONS, suggest};

const PREFIX: &str = "MILLPOND_";

/// Variables that other commands read; they are no settings, and no error.
pub const CLIENT_VARIABLES: [&str; 8] = [
    "MILLPOND_CONFIG",
    "MILLPOND_SERVER",
    "MILLPOND_TENANT",
    "MILLPOND_TOKEN",
    "MILLPOND_TOKEN_FILE",
    "MILLPOND_STATE_DIR",
    "MILLPOND_RETRY_FOR",
    "MILLPOND_OPS",
];

/// A flag that sets something.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed: `--listen`.
    pub name: &'static str,
    /// What it sets: `listen`.
    pub key: &'static str,
    /// To what.
    pub value: String,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, if there is one.
    pub config: Option<PathBuf>,
    /// The whole environment; only `MILLPOND_…` counts.
    pub environment: Vec<(String, String)>,
    /// Flags that were given.
    pub flags: Vec<Flag>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File {
        /// Its path.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Settings, and where each that is no default came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values in force.
    pub settings: Settings,
    /// By dotted key.
    pub(super) origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where `key`, such as `log.partitions`, got its value.
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Why settings are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Each problem with where it stands: mend them.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// Sound, but dangerous, and not asked for: change it or say that it is meant.
    #[error("{0}")]
    Unsafe(String),
}

pub(super) fn load(sources: &Sources) -> Result<Loaded, SettingsError> {
    let mut layers = Layers::default();
    if let Some(path) = &sources.config {
        layers.file(path);
    }
    for (name, value) in &sources.environment {
        layers.variable(name, value);
    }
    for flag in &sources.flags {
        layers.set(flag.key, &Raw::plain(&flag.value), Origin::Flag(flag.name));
    }
    let Layers { settings, origins, mut problems } = layers;
    if problems.is_empty() {
        let loaded = Loaded { settings: settings.clone(), origins: origins.clone() };
        problems.extend(
            settings
                .check()
                .into_iter()
                .map(|(key, problem)| format!("{}: {key} {problem}", loaded.origin(key))),
        );
    }
    if !problems.is_empty() {
        return Err(SettingsError::Invalid(problems));
    }
    settings.check_exposure()?;
    Ok(Loaded { settings, origins })
}

#[derive(Default)]
struct Layers {
    settings: Settings,
    origins: BTreeMap<String, Origin>,
    problems: Vec<String>,
}

impl Layers {
    fn file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(format!("{}: cannot be read: {error}", path.display()));
                return;
            }
        };
        match DeTable::parse(&text) {
            Ok(table) => self.table(&Place { path, text: &text }, "", table.get_ref()),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(&text, span.start));
                self.problems.push(format!("{}:{line}: {}", path.display(), error.message()));
            }
        }
    }

    fn table(&mut self, place: &Place<'_>, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let line = line_of(place.text, key.span().start);
            let origin = Origin::File { path: place.path.to_owned(), line };
            let name = key.get_ref();
            match value.get_ref() {
                DeValue::Table(inner) if section == "kafka" && name == "properties" => {
                    let read = self.settings.kafka.properties.read("", inner);
                    self.problems.extend(read.err().map(|problem| format!("{origin}: {problem}")));
                }
                DeValue::Array(tables) if section.is_empty() && name == "shard" => {
                    self.shards(place, tables);
                }
                DeValue::Table(inner) if section.is_empty() && !name.is_empty() => {
                    let known = SECTIONS.iter().any(|known| known.name == name.as_ref());
                    if known {
                        self.table(place, name, inner);
                    } else {
                        let sections = SECTIONS.iter().map(|known| known.name);
                        self.unknown("section", name, &origin, suggest::closest(name, sections));
                    }
                }
                value => {
                    let key = if section.is_empty() { name.to_string() } else { format!("{section}.{name}") };
                    self.set(&key, &raw(value), origin);
                }
            }
        }
    }

    fn shards(&mut self, place: &Place<'_>, tables: &DeArray<'_>) {
        for table in tables {
            let read = match table.get_ref() {
                DeValue::Table(table) => ShardSeed::read(table),
                _ => Err("shard is not a table such as [[shard]]".to_owned()),
            };
            match read {
                Ok(seed) => self.settings.seeds.push(seed),
                Err(problem) => {
                    let line = line_of(place.text, table.span().start);
                    self.problems.push(format!("{}:{line}: {problem}", place.path.display()));
                }
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        let Some(rest) = name.strip_prefix(PREFIX) else { return };
        if CLIENT_VARIABLES.contains(&name) {
            return;
        }
        let key = rest.to_ascii_lowercase().replace("__", ".");
        let origin = Origin::Environment(name.to_owned());
        if variable_of(&key) == name && keys().any(|known| known == key) {
            self.set(&key, &Raw::plain(value), origin);
            return;
        }
        let known: Vec<_> = keys().map(|key| variable_of(&key)).collect();
        let known = known.iter().map(String::as_str).chain(CLIENT_VARIABLES);
        self.unknown("variable", name, &origin, suggest::closest(name, known));
    }

    fn set(&mut self, key: &str, raw: &Raw, origin: Origin) {
        let (section, field) = key.rsplit_once('.').unwrap_or(("", key));
        let known = SECTIONS.iter().find(|known| known.name == section);
        if known.is_some_and(|known| known.fields.iter().any(|known| known.name == field)) {
            match self.settings.section_mut(section).set_field(field, raw) {
                Ok(()) => drop(self.origins.insert(key.to_owned(), origin)),
                Err(wanted) => self.problems.push(format!("{origin}: {key} is not {wanted}")),
            }
            return;
        }
        let known: Vec<_> = keys().collect();
        self.unknown("key", key, &origin, suggest::closest(key, known.iter().map(String::as_str)));
    }

    fn unknown(&mut self, what: &str, name: &str, origin: &Origin, meant: Option<&str>) {
        let hint = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        self.problems.push(match origin {
            Origin::Environment(_) => format!("environment: unknown {what} {name}{hint}"),
            _ => format!("{origin}: unknown {what} {name}{hint}"),
        });
    }
}

struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

/// The line of a byte, from 1.
pub(crate) fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|b| *b == b'\n').count() + 1
}

pub(super) fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw { kind: RawKind::Text, text: text.to_string() },
        DeValue::Integer(number) => {
            let text = i128::from_str_radix(number.as_str(), number.radix());
            let text = text.map_or_else(|_| number.as_str().to_owned(), |number| number.to_string());
            Raw { kind: RawKind::Integer, text }
        }
        DeValue::Boolean(bool) => Raw { kind: RawKind::Bool, text: bool.to_string() },
        DeValue::Array(items) if items.iter().all(|item| item.get_ref().is_str()) => {
            let items: Vec<&str> = items.iter().filter_map(|item| item.get_ref().as_str()).collect();
            Raw { kind: RawKind::List, text: items.join(",") }
        }
        other => Raw { kind: RawKind::Other, text: other.type_str().to_owned() },
    }
}

/// Every key, dotted.
fn keys() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| section.fields.iter().map(|field| section.key(field.name)))
}

/// `log.segment_bytes` is `MILLPOND_LOG__SEGMENT_BYTES`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}
