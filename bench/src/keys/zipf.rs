//! Zipf(N, theta), exactly: rejection-inversion (Hörmann and Derflinger, 1996).
//!
//! Invariant: rank r of 1..=N comes with probability proportional to 1 / r^theta, for any theta above 0, without a table
//! and without an approximation of the tail.

use rand::{Rng, RngExt};

/// Draws ranks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Zipf {
    items: f64,
    theta: f64,
    /// H(1.5) - h(1).
    low: f64,
    /// H(N + 0.5).
    high: f64,
    /// Closer than this to its rank a draw is always taken.
    close: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks are below 2^52"
)]
impl Zipf {
    /// # Panics
    /// When there is no item, or theta is not above 0.
    pub(super) fn new(items: u64, theta: f64) -> Self {
        assert!(items > 0 && theta > 0.0, "Zipf({items}, {theta}) is none");
        let mut zipf = Self { items: items as f64, theta, low: 0.0, high: 0.0, close: 0.0 };
        zipf.low = zipf.area(1.5) - 1.0;
        zipf.high = zipf.area(zipf.items + 0.5);
        zipf.close = 2.0 - zipf.point(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    /// 1..=N.
    pub(super) fn rank(&self, random: &mut impl Rng) -> u64 {
        loop {
            let drawn = self.high + random.random::<f64>() * (self.low - self.high);
            let point = self.point(drawn);
            let rank = (point + 0.5).floor().clamp(1.0, self.items);
            if rank - point <= self.close || drawn >= self.area(rank + 0.5) - self.weight(rank) {
                return rank as u64;
            }
        }
    }

    /// 1 / x^theta.
    fn weight(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// The integral of the weight from 1 to x.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        log * expm1_over((1.0 - self.theta) * log)
    }

    /// Where the area is this large.
    fn point(&self, area: f64) -> f64 {
        let scaled = (area * (1.0 - self.theta)).max(-1.0);
        (area * ln1p_over(scaled)).exp()
    }
}

/// (e^x - 1) / x, also near 0.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x, also near 0.
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}
