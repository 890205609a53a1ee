//! Keys to load: uniform, true Zipf(N, theta), YCSB's scrambled zipfian, and the latest ones.
//!
//! Not here: what a key looks like. Invariant: a distribution is reported by its exact name; YCSB's scrambled zipfian is
//! no Zipf(N), since it draws ranks among ten thousand million items and hashes them onto the keys.

#[cfg(test)]
mod tests;
mod ycsb;
mod zipf;

use clap::ValueEnum;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use self::{ycsb::Scrambled, zipf::Zipf};

/// How skewed keys are, unless told: as in YCSB.
pub(crate) const THETA: f64 = 0.99;

/// How keys are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Distribution {
    /// Every key as likely.
    Uniform,
    /// True Zipf(N, theta): the key of rank r has weight 1 / r^theta. Ranks lie scattered over the keys, one to one.
    Zipf,
    /// YCSB's scrambled zipfian: zipfian ranks of 10^10 items, hashed onto the keys.
    YcsbZipfian,
    /// Zipf over age: the newest key is the likeliest. What YCSB's workload D reads.
    Latest,
}

impl Distribution {
    /// Its exact name, with its parameters.
    pub(crate) fn name(self, keys: u64, theta: f64) -> String {
        match self {
            Self::Uniform => format!("uniform({keys})"),
            Self::Zipf => format!("Zipf({keys}, {theta})"),
            Self::YcsbZipfian => format!("YCSB scrambled zipfian(0.99, 10^10 items hashed onto {keys})"),
            Self::Latest => format!("latest(Zipf of age, {theta}, from {keys})"),
        }
    }
}

/// Draws key numbers.
pub(crate) struct Keys {
    random: StdRng,
    keys: u64,
    theta: f64,
    drawn: Drawn,
}

enum Drawn {
    Uniform,
    Zipf { zipf: Zipf, scatter: Scatter },
    Scrambled { scrambled: Scrambled, keys: u64 },
    Latest(Zipf),
}

impl Keys {
    /// Key numbers below `keys`, theta 0.99.
    pub(crate) fn new(distribution: Distribution, keys: u64, seed: u64) -> Self {
        Self::skewed(distribution, keys, THETA, seed)
    }

    /// The same with another theta, where there is one.
    pub(crate) fn skewed(distribution: Distribution, keys: u64, theta: f64, seed: u64) -> Self {
        let drawn = match distribution {
            Distribution::Uniform => Drawn::Uniform,
            Distribution::Zipf => Drawn::Zipf { zipf: Zipf::new(keys, theta), scatter: Scatter::over(keys) },
            Distribution::YcsbZipfian => Drawn::Scrambled { scrambled: Scrambled::default(), keys },
            Distribution::Latest => Drawn::Latest(Zipf::new(keys, theta)),
        };
        Self { random: StdRng::seed_from_u64(seed), keys, theta, drawn }
    }

    /// The next key's number.
    pub(crate) fn next(&mut self) -> u64 {
        let random = &mut self.random;
        match &self.drawn {
            Drawn::Uniform => random.random_range(0..self.keys),
            Drawn::Zipf { zipf, scatter } => scatter.place(zipf.rank(random) - 1),
            Drawn::Scrambled { scrambled, keys } => scrambled.next(random, *keys),
            Drawn::Latest(zipf) => self.keys - zipf.rank(random),
        }
    }

    /// One key more: what was inserted becomes the latest, and can be drawn.
    pub(crate) fn grow(&mut self) {
        self.keys += 1;
        match &mut self.drawn {
            Drawn::Latest(zipf) => *zipf = Zipf::new(self.keys, self.theta),
            // Over more keys what is hot would move with each of them: skewed ones stay those of the beginning.
            Drawn::Scrambled { .. } | Drawn::Zipf { .. } | Drawn::Uniform => {}
        }
    }

    /// A number in a range, from the same seed.
    pub(crate) fn number(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.random.random_range(range)
    }

    /// Random bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill_bytes(bytes);
    }
}

/// One place per rank, far from those of its neighbours in rank: multiplication by what has no divisor in common.
struct Scatter {
    keys: u64,
    step: u64,
}

impl Scatter {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "any step will do"
    )]
    fn over(keys: u64) -> Self {
        const GOLDEN: f64 = 0.618_033_988_749_895;
        let near = ((keys as f64 * GOLDEN) as u64).max(1);
        let step = (near..=near + keys).find(|step| divisor(*step, keys) == 1);
        let step = step.expect("among so many successive numbers there is one");
        Self { keys, step }
    }

    fn place(&self, rank: u64) -> u64 {
        let product = u128::from(rank) * u128::from(self.step) % u128::from(self.keys);
        u64::try_from(product).expect("it is below the number of keys")
    }
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
