//! Settings as a file: every field with its help, its value and where that came from.
//!
//! Invariant: what is shown is a file that loads to the same settings.

use std::fmt::Write;

use super::{Loaded, sections::SECTIONS};

impl Loaded {
    /// All of it as TOML with comments.
    pub fn to_toml(&self) -> String {
        let mut settings = self.settings.clone();
        let mut text = String::new();
        for section in &SECTIONS {
            if !section.name.is_empty() {
                let _ = writeln!(text, "\n[{}]", section.name);
            }
            for (n, field) in section.fields.iter().enumerate() {
                if n > 0 {
                    text.push('\n');
                }
                for line in field.help {
                    let _ = writeln!(text, "#{line}");
                }
                let value = settings.section_mut(section.name).get_field(field.name);
                let origin = self.origin(&section.key(field.name));
                let _ = writeln!(text, "{} = {value}  # {origin}", field.name);
            }
        }
        text.push_str(&self.settings.kafka.properties.show());
        for seed in &self.settings.seeds {
            text.push_str(&seed.show());
        }
        text
    }

    /// The same for programs: dotted key → value as in a file, and origin.
    pub fn to_json(&self) -> serde_json::Value {
        let mut settings = self.settings.clone();
        let mut all = serde_json::Map::new();
        for section in &SECTIONS {
            for field in section.fields {
                let key = section.key(field.name);
                let value = settings.section_mut(section.name).get_field(field.name);
                let value: toml::Value = value.parse().expect("a shown value is TOML");
                let origin = self.origin(&key).to_string();
                all.insert(key, serde_json::json!({ "value": value, "origin": origin }));
            }
        }
        all.into()
    }
}
