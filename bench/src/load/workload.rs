//! What is loaded: single kinds of calls, and the mixes of YCSB.
//!
//! Not here: keys and bytes. Invariant: a workload's mix is that of YCSB's core workload of the same letter.

use clap::ValueEnum;

/// One kind of call, or a mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// PUT, answered 202 once the log has it.
    Put,
    /// PUT with `Prefer: wait`, answered when it is applied.
    Wait,
    /// GET.
    Get,
    /// POST /batch of puts.
    Batch,
    /// POST /kv/query of as many keys as a batch has.
    Query,
    /// Records straight to the mutations topic; needs `--kafka`.
    Native,
    /// YCSB: 50 % reads, 50 % updates.
    A,
    /// YCSB: 95 % reads, 5 % updates.
    B,
    /// YCSB: reads alone.
    C,
    /// YCSB: 95 % reads of the latest keys, 5 % inserts.
    D,
    /// YCSB: 95 % scans of 1 to 100 keys, 5 % inserts.
    E,
    /// YCSB: 50 % reads, 50 % read-modify-writes: a GET, then a PUT with the `If-Match` of what it read.
    F,
}

/// What one call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Put,
    Wait,
    Get,
    Batch,
    Query,
    Insert,
    Scan,
    ReadModifyWrite,
    Native,
}

impl Kind {
    /// How reports call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Wait => "wait",
            Self::Get => "get",
            Self::Batch => "batch",
            Self::Query => "query",
            Self::Insert => "insert",
            Self::Scan => "scan",
            Self::ReadModifyWrite => "read-modify-write",
            Self::Native => "native",
        }
    }
}

impl Workload {
    /// How reports call it.
    pub(super) fn name(self) -> String {
        match self {
            Self::Put | Self::Wait | Self::Get | Self::Batch | Self::Query | Self::Native => {
                format!("{self:?}").to_lowercase()
            }
            Self::A | Self::B | Self::C | Self::D | Self::E | Self::F => format!("YCSB {self:?}"),
        }
    }

    /// Whether it is one of YCSB's.
    pub(super) fn is_ycsb(self) -> bool {
        matches!(self, Self::A | Self::B | Self::C | Self::D | Self::E | Self::F)
    }

    /// Whether it wants keys to be there.
    pub(super) fn reads(self) -> bool {
        self.is_ycsb() || matches!(self, Self::Get | Self::Query)
    }

    /// Whether it leaves something to apply.
    pub(super) fn writes(self) -> bool {
        !matches!(self, Self::Get | Self::Query | Self::C)
    }

    /// Kinds, and how many of a hundred calls each has.
    pub(super) fn mix(self) -> &'static [(Kind, u64)] {
        match self {
            Self::Put => &[(Kind::Put, 100)],
            Self::Wait => &[(Kind::Wait, 100)],
            Self::Get | Self::C => &[(Kind::Get, 100)],
            Self::Batch => &[(Kind::Batch, 100)],
            Self::Query => &[(Kind::Query, 100)],
            Self::Native => &[(Kind::Native, 100)],
            Self::A => &[(Kind::Get, 50), (Kind::Put, 50)],
            Self::B => &[(Kind::Get, 95), (Kind::Put, 5)],
            Self::D => &[(Kind::Get, 95), (Kind::Insert, 5)],
            Self::E => &[(Kind::Scan, 95), (Kind::Insert, 5)],
            Self::F => &[(Kind::Get, 50), (Kind::ReadModifyWrite, 50)],
        }
    }

    /// The kind that a number below 100 falls to.
    pub(super) fn kind(self, drawn: u64) -> Kind {
        let mut below = 0;
        let found = self.mix().iter().find(|(_, share)| {
            below += share;
            drawn < below
        });
        found.expect("the shares are a hundred").0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mix_is_a_hundred() {
        for workload in Workload::value_variants() {
            assert_eq!(workload.mix().iter().map(|(_, share)| share).sum::<u64>(), 100, "{workload:?}");
        }
    }

    #[test]
    fn kinds_come_by_their_share() {
        let gets = (0..100).filter(|drawn| Workload::B.kind(*drawn) == Kind::Get).count();
        assert_eq!(gets, 95);
        assert_eq!(Workload::E.kind(99), Kind::Insert);
    }
}
