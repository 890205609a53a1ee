//! Keys to load: uniform, or Zipf with theta 0.99 over the ranks themselves (not scrambled).

use clap::ValueEnum;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// How keys are drawn.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Distribution {
    /// Every key as likely.
    Uniform,
    /// Zipf(0.99) over ranks.
    Zipf,
}

/// Draws key numbers below `keys`.
pub(crate) struct Keys {
    random: StdRng,
    keys: u64,
    zipf: Option<Zipf>,
}

/// Gray et al., "Quickly generating billion-record synthetic databases" (1994), as YCSB uses it.
struct Zipf {
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Keys {
    pub(crate) fn new(distribution: Distribution, keys: u64, seed: u64) -> Self {
        let zipf = match distribution {
            Distribution::Uniform => None,
            Distribution::Zipf => Some(Zipf::new(keys, 0.99)),
        };
        Self { random: StdRng::seed_from_u64(seed), keys, zipf }
    }

    pub(crate) fn next(&mut self) -> u64 {
        match &self.zipf {
            None => self.random.random_range(0..self.keys),
            Some(zipf) => zipf.next(self.random.random(), self.keys),
        }
    }

    /// Random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill_bytes(bytes);
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are small"
)]
impl Zipf {
    fn new(keys: u64, theta: f64) -> Self {
        let zeta_of = |n: u64| (1..=n).map(|rank| 1.0 / (rank as f64).powf(theta)).sum::<f64>();
        let zeta = zeta_of(keys);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - theta)) / (1.0 - zeta_of(2) / zeta);
        Self { theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn next(&self, uniform: f64, keys: u64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(self.theta) {
            return 1;
        }
        let rank = keys as f64 * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(keys - 1)
    }
}
