//! Numbers with names: generation, partition, offset, position, version, time, log id.
//!
//! Invariant: none of these is ever a bare integer where it crosses a function.

use std::{fmt, str::FromStr};

/// Which life of the log a partition is in. 1 at first; at most [`Generation::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u16);

impl Generation {
    /// The first generation.
    pub const FIRST: Self = Self(1);
    /// The highest generation that a version (a positive 64-bit integer) can hold.
    pub const MAX: Self = Self(0x7fff);
}

/// Which partition, `0..P`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's place in its partition, from 0. At most [`Offset::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// Before the first record: what an empty copy has applied.
    pub const NONE: Self = Self(-1);
    /// The highest offset that a version can hold: 48 bits.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// The offset after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The offset before this one; of 0, [`Offset::NONE`].
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0 - 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The epoch itself: the time of a partition before its first record.
    pub const EPOCH: Self = Self(0);

    /// This time `ms` later, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add_unsigned(ms))
    }

    /// How many milliseconds this is after `earlier`; 0 when it is not.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `<generation>-<partition>-<offset>`: names a mutation, is a row's version, and a token to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which life of the log.
    pub generation: Generation,
    /// Which partition of it.
    pub partition: PartitionId,
    /// Where in the partition.
    pub offset: Offset,
}

impl Position {
    /// The row version that a mutation at this position writes.
    pub fn version(self) -> Version {
        Version::new(self.generation, self.offset)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.generation.0, self.partition.0, self.offset.0)
    }
}

/// Not of the form `<generation>-<partition>-<offset>`, each a decimal without sign or leading zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a position is <generation>-<partition>-<offset>, such as 1-3-42")]
pub struct PositionInvalid;

impl FromStr for Position {
    type Err = PositionInvalid;

    fn from_str(text: &str) -> Result<Self, PositionInvalid> {
        let mut parts = text.split('-');
        let (Some(generation), Some(partition), Some(offset), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionInvalid);
        };
        let generation = Generation(u16::try_from(decimal(generation)?).map_err(|_| PositionInvalid)?);
        let partition = PartitionId(u32::try_from(decimal(partition)?).map_err(|_| PositionInvalid)?);
        let offset = Offset(i64::try_from(decimal(offset)?).map_err(|_| PositionInvalid)?);
        if generation < Generation::FIRST || generation > Generation::MAX || offset > Offset::MAX {
            return Err(PositionInvalid);
        }
        Ok(Self { generation, partition, offset })
    }
}

/// One spelling per number, so that positions compare as strings too.
fn decimal(text: &str) -> Result<u64, PositionInvalid> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PositionInvalid);
    }
    text.parse().map_err(|_| PositionInvalid)
}

/// A row's version: `generation << 48 | offset` of the mutation that last changed the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub i64);

impl Version {
    /// Packs a generation and an offset.
    pub fn new(generation: Generation, offset: Offset) -> Self {
        debug_assert!(offset >= Offset(0) && offset <= Offset::MAX, "offset {offset} fits 48 bits");
        Self(i64::from(generation.0) << 48 | offset.0)
    }

    /// The generation in this version.
    pub fn generation(self) -> Generation {
        Generation(u16::try_from((self.0 >> 48) & 0x7fff).expect("15 bits fit 16"))
    }

    /// The offset in this version.
    pub fn offset(self) -> Offset {
        Offset(self.0 & Offset::MAX.0)
    }

    /// The position of a row of `partition`.
    pub fn position(self, partition: PartitionId) -> Position {
        Position { generation: self.generation(), partition, offset: self.offset() }
    }
}

/// Names one log: random, made with it, in its Genesis records, and in every watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_have_one_spelling() {
        let position: Position = "1-3-42".parse().unwrap();
        assert_eq!(position.to_string(), "1-3-42");
        for bad in [
            "",
            "1-3",
            "1-3-42-5",
            "01-3-42",
            "1-3-+4",
            "0-3-4",
            "1--1-4",
            "1-3-281474976710656",
            "32768-0-0",
        ] {
            assert_eq!(bad.parse::<Position>(), Err(PositionInvalid), "{bad}");
        }
    }

    #[test]
    fn a_version_holds_generation_and_offset() {
        let version = Version::new(Generation(2), Offset(7));
        assert_eq!((version.generation(), version.offset()), (Generation(2), Offset(7)));
        assert!(Version::new(Generation(1), Offset::MAX) < Version::new(Generation(2), Offset(0)));
        assert!(Version::new(Generation::MAX, Offset::MAX).0 > 0);
    }
}
