//! Distributions are what their names say.

use std::collections::BTreeSet;

use super::{Distribution, Keys, Scatter, ycsb, zipf::Zipf};
use rand::{SeedableRng, rngs::StdRng};

const DRAWS: u32 = 400_000;

/// The most that any rank's count is away from what Zipf(items, theta) promises, in standard deviations.
fn worst(items: u64, theta: f64) -> f64 {
    let zipf = Zipf::new(items, theta);
    let mut random = StdRng::seed_from_u64(7);
    let mut counts = vec![0_u32; usize::try_from(items).expect("few")];
    for _ in 0..DRAWS {
        counts[usize::try_from(zipf.rank(&mut random) - 1).expect("few")] += 1;
    }
    let weight = |rank: u32| f64::from(rank).powf(-theta);
    let ranks = 1..=u32::try_from(items).expect("few");
    let sum: f64 = ranks.clone().map(weight).sum();
    let off = ranks.zip(&counts).map(|(rank, count)| {
        let share = weight(rank) / sum;
        let expected = share * f64::from(DRAWS);
        (f64::from(*count) - expected).abs() / (expected * (1.0 - share)).sqrt()
    });
    off.fold(0.0, f64::max)
}

#[test]
fn zipf_gives_each_rank_its_exact_share() {
    for (items, theta) in [(2, 0.99), (10, 0.99), (100, 0.99), (100, 0.5), (100, 1.0), (50, 1.3)] {
        let worst = worst(items, theta);
        assert!(worst < 4.5, "Zipf({items}, {theta}): a rank is {worst:.1} deviations off");
    }
}

#[test]
fn zipf_scatters_ranks_over_all_keys_one_to_one() {
    for keys in [1, 2, 7, 100, 1024, 99_999] {
        let scatter = Scatter::over(keys);
        let places: BTreeSet<u64> = (0..keys).map(|rank| scatter.place(rank)).collect();
        assert_eq!(places.len() as u64, keys);
        assert!(places.into_iter().all(|place| place < keys));
    }
}

#[test]
fn the_scrambled_zipfian_hashes_as_ycsb_does() {
    // FNV-1a of eight bytes, as `Utils.fnvhash64` computes it in signed arithmetic.
    let signed = |item: i64| {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64.cast_signed();
        for shift in (0..64).step_by(8) {
            hash ^= (item >> shift) & 0xff;
            hash = hash.wrapping_mul(1_099_511_628_211);
        }
        hash.wrapping_abs()
    };
    for item in [0, 1, 2, 255, 256, 9_999_999_999] {
        assert_eq!(ycsb::hash(item).cast_signed(), signed(item.cast_signed()));
    }
}

#[test]
fn the_scrambled_zipfian_keeps_its_hottest_share_whatever_the_keys() {
    for keys in [1_000, 100_000] {
        let mut drawn = Keys::new(Distribution::YcsbZipfian, keys, 3);
        let hottest = ycsb::hash(0) % keys;
        let hits: u32 = (0..DRAWS).map(|_| u32::from(drawn.next() == hottest)).sum();
        let share = f64::from(hits) / f64::from(DRAWS);
        assert!((0.036..0.042).contains(&share), "{share} of {keys} keys; 1 / zeta is 0.0378");
    }
}

#[test]
fn the_latest_key_is_the_likeliest_also_after_inserts() {
    let mut keys = Keys::new(Distribution::Latest, 1_000, 5);
    for _ in 0..50 {
        keys.grow();
    }
    let mut counts = vec![0_u32; 1_050];
    for _ in 0..DRAWS {
        counts[usize::try_from(keys.next()).expect("few")] += 1;
    }
    let most = counts.iter().copied().max();
    assert_eq!(most, counts.last().copied());
    assert!(counts[1_049] > counts[1_048] && counts[1_048] > counts[1_040]);
}

#[test]
fn one_seed_draws_the_same_keys_again() {
    for distribution in
        [Distribution::Uniform, Distribution::Zipf, Distribution::YcsbZipfian, Distribution::Latest]
    {
        let draw = |seed| {
            let mut keys = Keys::new(distribution, 10_000, seed);
            (0..100).map(|_| keys.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(1).iter().all(|key| *key < 10_000));
    }
}
