//! `weighted-random-picker`: a draw in which each candidate's chance is its share of all scores.

use std::{cell::RefCell, sync::Arc};

use fastrand::Rng;
use weir_plan::{Draft, ExtensionPoint, Parts, Picker, PluginType, Scores};

use super::{Params, count};
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "weighted-random-picker",
        &[ExtensionPoint::Picker],
        "Draws candidates with a chance proportional to their total score; if no total is positive, all are as likely.",
        |context| {
            let picker = WeightedRandom { count: count(context)? };
            Ok(Draft::ready(Parts { picker: Some(Arc::new(picker)), ..Parts::default() }))
        },
    )
}

thread_local! {
    static KEYS: RefCell<Vec<(f64, f64, u32)>> = const { RefCell::new(Vec::new()) };
}

struct WeightedRandom {
    count: usize,
}

/// The weighted reservoir of Efraimidis and Spirakis (2006): the largest keys `U^(1/w)` win. Their logarithm `ln(U)/w` is
/// compared, since the power underflows for small weights. Candidates without weight come last, in random order.
fn key(total: f64, random: &mut Rng) -> (f64, f64) {
    // 1 - U is in (0, 1], so that its logarithm is finite.
    let draw = (1.0 - random.f64()).ln();
    if total > 0.0 { (draw / total, draw) } else { (f64::NEG_INFINITY, draw) }
}

fn later(a: (f64, f64), b: (f64, f64)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
}

impl Picker for WeightedRandom {
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>) {
        let rows = (0_u32..).zip(scores.totals);
        if self.count == 1 {
            let keys = rows.map(|(row, total)| (key(*total, random), row));
            out.extend(keys.max_by(|(a, _), (b, _)| later(*a, *b)).map(|(_, row)| row));
            return;
        }
        KEYS.with_borrow_mut(|keys| {
            keys.clear();
            keys.extend(rows.map(|(row, total)| {
                let (first, second) = key(*total, random);
                (first, second, row)
            }));
            keys.sort_unstable_by(|a, b| later((b.0, b.1), (a.0, a.1)));
            out.extend(keys.iter().take(self.count).map(|(.., row)| row));
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::picker::tests::{firsts, pick};

    #[test]
    fn chances_are_shares_of_the_score() {
        let shares = firsts("weighted-random-picker", &[1.0, 2.0, 0.0, 5.0, -3.0]);
        for (share, want) in shares.iter().zip([0.125, 0.25, 0.0, 0.625, 0.0]) {
            assert!((share - want).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn tiny_scores_do_not_underflow() {
        let shares = firsts("weighted-random-picker", &[1e-6, 3e-6, 0.0]);
        assert!((shares[1] - 0.75).abs() < 0.01 && shares[2] == 0.0, "{shares:?}");
    }

    #[test]
    fn without_any_score_all_are_as_likely() {
        for totals in [[0.0; 3], [-1.0; 3], [f64::NAN; 3]] {
            let shares = firsts("weighted-random-picker", &totals);
            assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{shares:?}");
        }
    }

    #[test]
    fn candidates_without_score_come_last() {
        for seed in 0..50 {
            let picked = pick("weighted-random-picker", 4, &[0.0, 1.0, -1.0, 2.0], seed);
            assert!(picked[..2].iter().all(|row| [1, 3].contains(row)), "{picked:?}");
        }
    }
}
