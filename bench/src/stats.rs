//! Medians of repeats and intervals of means.

use serde::Serialize;

/// The middle value (the mean of the middle two); 0 for nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A mean and half the width of its 95 % confidence interval.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Interval {
    pub(crate) mean: f64,
    pub(crate) half_width: f64,
}

impl Interval {
    /// Student's t over independent repeats; the width of a single one is infinite.
    pub(crate) fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let half_width = match T_95.get(values.len().saturating_sub(2)) {
            Some(t) if values.len() > 1 => t * (squares / (n - 1.0) / n).sqrt(),
            None => 1.96 * (squares / (n - 1.0) / n).sqrt(),
            _ => f64::INFINITY,
        };
        Self { mean, half_width }
    }
}

/// The 97.5 % quantile of Student's t for 1, 2, … degrees of freedom.
const T_95: &[f64] = &[12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn interval_of_five_is_that_of_a_textbook() {
        // sd = sqrt(2.5), so 2.776 * sqrt(2.5 / 5).
        let interval = Interval::of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(interval.mean, 3.0);
        assert!((interval.half_width - 1.962_93).abs() < 1e-3, "{interval:?}");
        assert!(Interval::of(&[1.0]).half_width.is_infinite());
    }
}
