//! YCSB's scrambled zipfian, constant for constant.
//!
//! Not Zipf(N): the ranks are drawn among 10^10 items by the approximation of Gray et al. ("Quickly generating
//! billion-record synthetic databases", 1994) and hashed onto the keys, so the hottest key has 3.8 % of the calls however
//! many keys there are.

use rand::{Rng, RngExt};

/// `ScrambledZipfianGenerator.ITEM_COUNT`.
const ITEMS: f64 = 1e10;
/// `ScrambledZipfianGenerator.ZETAN`: zeta(10^10, 0.99).
const ZETA: f64 = 26.469_028_201_783_02;
const THETA: f64 = 0.99;

/// Draws keys.
pub(super) struct Scrambled {
    alpha: f64,
    eta: f64,
    second: f64,
}

impl Default for Scrambled {
    fn default() -> Self {
        let zeta_2 = 1.0 + 0.5_f64.powf(THETA);
        Self {
            alpha: 1.0 / (1.0 - THETA),
            eta: (1.0 - (2.0 / ITEMS).powf(1.0 - THETA)) / (1.0 - zeta_2 / ZETA),
            second: zeta_2,
        }
    }
}

impl Scrambled {
    /// Below `keys`.
    pub(super) fn next(&self, random: &mut impl Rng, keys: u64) -> u64 {
        hash(self.item(random.random())) % keys
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an item is below 10^10")]
    fn item(&self, uniform: f64) -> u64 {
        let scaled = uniform * ZETA;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        (ITEMS * (self.eta * uniform - self.eta + 1.0).powf(self.alpha)) as u64
    }
}

/// `Utils.fnvhash64`: FNV-1a over the eight bytes, lowest first, without its sign.
pub(super) fn hash(item: u64) -> u64 {
    let folded = item.to_le_bytes().iter().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(1_099_511_628_211)
    });
    folded.cast_signed().unsigned_abs()
}
