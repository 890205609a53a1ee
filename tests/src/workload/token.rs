//! What a session has seen: the highest position of each partition.

use std::collections::BTreeMap;

use millpond_schemas::{PartitionId, Position};

/// A session's tokens.
#[derive(Debug, Default)]
pub(super) struct Token(BTreeMap<PartitionId, Position>);

impl Token {
    /// Takes positions in, as a header or a body lists them.
    pub(super) fn see(&mut self, positions: &str) {
        for position in positions.split(',').filter_map(|text| text.trim().parse::<Position>().ok()) {
            let highest = self.0.entry(position.partition).or_insert(position);
            *highest = (*highest).max(position);
        }
    }

    /// As `KV-Min-Position` takes it; nothing before something was seen.
    pub(super) fn text(&self) -> Option<String> {
        let positions: Vec<_> = self.0.values().map(ToString::to_string).collect();
        (!positions.is_empty()).then(|| positions.join(","))
    }
}
