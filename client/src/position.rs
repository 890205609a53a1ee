//! Positions as the server spells them, and tokens made of several.
//!
//! Not the server's own type: here a position is a name to hand back, and only its partition and offset are read.
//! Invariant: a [`Position`] in hand is `<generation>-<partition>-<offset>`, three decimals.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// `<generation>-<partition>-<offset>`: a mutation's name, a row's version, a token to read from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Position(String);

impl Position {
    /// Takes a position as it was printed.
    ///
    /// # Errors
    /// [`Error::Invalid`]: not three decimals with dashes between them.
    pub fn new(text: impl Into<String>) -> Result<Self, Error> {
        let text = text.into();
        if parts(&text).is_none() {
            return Err(Error::invalid("a position is <generation>-<partition>-<offset>, such as 1-3-42"));
        }
        Ok(Self(text))
    }

    /// As the server spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Adds positions to a token that holds the highest one of each partition.
    pub fn merge(token: &mut Vec<Self>, more: impl IntoIterator<Item = Self>) {
        merge(token, more);
    }

    fn parts(&self) -> (u64, u64, u64) {
        parts(&self.0).expect("a position was checked when it was made")
    }
}

fn parts(text: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = text.split('-').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse().ok() } else { None }
    });
    let parts = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(parts)
}

impl TryFrom<String> for Position {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds positions to a token that holds the highest one of each partition.
pub(crate) fn merge(token: &mut Vec<Position>, more: impl IntoIterator<Item = Position>) {
    for new in more {
        let (generation, partition, offset) = new.parts();
        match token.iter_mut().find(|held| held.parts().1 == partition) {
            Some(held) if (held.parts().0, held.parts().2) >= (generation, offset) => {}
            Some(held) => *held = new,
            None => token.push(new),
        }
    }
}

/// The positions with commas between them: what `KV-Min-Position` takes.
pub(crate) fn token(positions: &[Position]) -> String {
    positions.iter().map(Position::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_the_highest_position_of_each_partition() {
        let at = |text: &str| Position::new(text).unwrap();
        let mut held = vec![at("1-0-5")];
        merge(&mut held, [at("1-1-2"), at("1-0-10"), at("1-0-9"), at("2-1-0")]);
        assert_eq!(token(&held), "1-0-10,2-1-0");
    }

    #[test]
    fn only_three_decimals_are_a_position() {
        for bad in ["", "1-2", "1-2-3-4", "a-1-2", "1--2", "1-+2-3"] {
            assert!(Position::new(bad).is_err(), "{bad}");
        }
    }
}
