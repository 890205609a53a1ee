//! Answers that several operations share, each told once.
//!
//! Pure. Invariant: the document says the same with it and without it.

use serde_json::{Value, json};

/// Answers with a name, and what refers to them.
#[derive(Debug, Default)]
pub(super) struct Shared(Vec<(String, Value)>);

impl Shared {
    /// A reference to this answer; `name` is its name when it is a new one.
    pub(super) fn refer(&mut self, name: String, answer: Value) -> Value {
        let known = self.0.iter().find(|(_, known)| *known == answer).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| {
            self.0.push((name.clone(), answer));
            name
        });
        json!({ "$ref": format!("#/components/responses/{name}") })
    }

    /// All of them, by name.
    pub(super) fn all(self) -> Vec<(String, Value)> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_answer_has_one_name() {
        let mut shared = Shared::default();
        let first = shared.refer("a".to_owned(), json!({ "description": "x" }));
        assert_eq!(first, shared.refer("b".to_owned(), json!({ "description": "x" })));
        let other = shared.refer("c".to_owned(), json!({ "description": "y" }));
        assert_eq!(other, json!({ "$ref": "#/components/responses/c" }));
        assert_eq!(shared.all().len(), 2);
    }
}
