//! `random-picker`: any candidate, whatever its score.

use std::sync::Arc;

use fastrand::Rng;
use weir_plan::{Draft, ExtensionPoint, Parts, Picker, PluginType, Scores};

use super::{Params, count};
use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>("random-picker", &[ExtensionPoint::Picker], "Picks any candidate, whatever its score.", |context| {
        let picker = Random { count: count(context)? };
        Ok(Draft::ready(Parts { picker: Some(Arc::new(picker)), ..Parts::default() }))
    })
}

struct Random {
    count: usize,
}

impl Picker for Random {
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>) {
        let rows = scores.totals.len() as u32;
        if self.count == 1 {
            out.extend((rows > 0).then(|| random.u32(..rows)));
            return;
        }
        out.extend(0..rows);
        random.shuffle(out);
        out.truncate(self.count);
    }
}

#[cfg(test)]
mod tests {
    use crate::picker::tests::firsts;

    #[test]
    fn every_candidate_is_as_likely() {
        let shares = firsts("random-picker", &[0.0, 9.0, 1.0]);
        assert!(shares.iter().all(|share| (share - 1.0 / 3.0).abs() < 0.01), "{shares:?}");
    }
}
