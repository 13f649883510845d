//! Figures of many durations.

use serde::Serialize;
use std::time::Duration;

/// How durations spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them were no longer.
    pub p50: f64,
    /// All but one in a hundred were no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Spread {
    /// The spread of these durations; none where there are none.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut all: Vec<Duration> = durations.into_iter().collect();
        all.sort();
        let max = all.last()?;
        let milliseconds = |duration: &Duration| duration.as_secs_f64() * 1000.0;
        // The nearest rank: always one that was measured.
        let rank = |percent: usize| milliseconds(&all[(all.len() * percent).div_ceil(100).max(1) - 1]);
        Some(Spread { p50: rank(50), p99: rank(99), max: milliseconds(max) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(milliseconds: impl IntoIterator<Item = u64>) -> Option<Spread> {
        Spread::of(milliseconds.into_iter().map(Duration::from_millis))
    }

    #[test]
    fn the_nearest_rank_counts() {
        assert_eq!(spread(1..=100), Some(Spread { p50: 50.0, p99: 99.0, max: 100.0 }));
        assert_eq!(spread([7, 3, 5]), Some(Spread { p50: 5.0, p99: 7.0, max: 7.0 }));
        assert_eq!(spread([4]), Some(Spread { p50: 4.0, p99: 4.0, max: 4.0 }));
        assert_eq!(spread([]), None);
    }
}
