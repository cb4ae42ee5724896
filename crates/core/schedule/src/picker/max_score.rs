//! `max-score-picker`: the highest total; ties are drawn.

use std::sync::Arc;

use fastrand::Rng;
use weir_plan::{Draft, ExtensionPoint, Parts, Picker, PluginType, Scores};

use super::{Params, count, sortable};
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "max-score-picker",
        &[ExtensionPoint::Picker],
        "Picks the highest total score; equal totals are drawn.",
        |context| {
            let picker = MaxScore { count: count(context)? };
            Ok(Draft::ready(Parts { picker: Some(Arc::new(picker)), ..Parts::default() }))
        },
    )
}

struct MaxScore {
    count: usize,
}

impl Picker for MaxScore {
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>) {
        if self.count == 1 {
            out.extend(highest(scores.totals, random));
            return;
        }
        out.extend(0..scores.totals.len() as u32);
        random.shuffle(out);
        // Equal totals are interchangeable after the shuffle, so an unstable sort, which needs no memory, is as fair.
        let total = |row: u32| sortable(scores.totals[row as usize]);
        out.sort_unstable_by(|a, b| total(*b).total_cmp(&total(*a)));
        out.truncate(self.count);
    }
}

/// Of several equal ones each is as likely: the k-th replaces its predecessors with probability 1/k.
fn highest(totals: &[f64], random: &mut Rng) -> Option<u32> {
    let mut best: Option<(u32, f64)> = None;
    let mut ties = 0;
    for (row, total) in totals.iter().enumerate() {
        let total = sortable(*total);
        let better = match best {
            Some((_, highest)) if total < highest => continue,
            Some((_, highest)) if total == highest => {
                ties += 1;
                random.u32(..ties) == 0
            }
            _ => {
                ties = 1;
                true
            }
        };
        if better {
            best = Some((row as u32, total));
        }
    }
    best.map(|(row, _)| row)
}

#[cfg(test)]
mod tests {
    use crate::picker::tests::{firsts, pick};

    #[test]
    fn best_first() {
        assert_eq!(pick("max-score-picker", 4, &[0.2, 3.0, f64::NAN, -1.0, 0.5], 1), [1, 4, 0, 3]);
        assert_eq!(pick("max-score-picker", 1, &[-2.0, -1.0, f64::NAN], 1), [1]);
    }

    #[test]
    fn ties_are_drawn_evenly() {
        let shares = firsts("max-score-picker", &[1.0, 0.5, 1.0, 1.0]);
        assert_eq!(shares[1], 0.0);
        for row in [0, 2, 3] {
            assert!((shares[row] - 1.0 / 3.0).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn ties_are_drawn_evenly_when_several_are_named() {
        let mut counts = [0; 3];
        for seed in 0..3_000 {
            let picked = pick("max-score-picker", 2, &[1.0, 1.0, 1.0], seed);
            counts[picked[1] as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}
