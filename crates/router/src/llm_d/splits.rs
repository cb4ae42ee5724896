//! Requests by the workers that served them: decode alone, or with prefill or encode workers.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use parking_lot::RwLock;

use super::{MOST_NAMES, OTHER};

/// What a profile handler can decide, as llm-d calls it.
const DECISIONS: [&str; 4] = ["decode-only", "prefill-decode", "encode-decode", "encode-prefill-decode"];

/// Decisions of one profile handler, by model.
#[derive(Debug, Default)]
pub(crate) struct Splits(RwLock<BTreeMap<Box<str>, [AtomicU64; DECISIONS.len()]>>);

impl Splits {
    /// A request for `model` was divided so.
    pub(crate) fn count(&self, model: &str, decision: &str) {
        let model = if model.is_empty() { "unknown" } else { model };
        let Some(place) = DECISIONS.iter().position(|one| *one == decision) else { return };
        if let Some(counts) = self.0.read().get(model) {
            counts[place].fetch_add(1, Relaxed);
            return;
        }
        let mut all = self.0.write();
        let name = if all.len() < MOST_NAMES { model } else { OTHER };
        all.entry(name.into()).or_default()[place].fetch_add(1, Relaxed);
    }

    /// Model, decision and how often, in order; decisions that never came are left out.
    pub(crate) fn read(&self) -> Vec<(String, &'static str, u64)> {
        let all = self.0.read();
        let mut rows = Vec::new();
        for (model, counts) in all.iter() {
            let counts = counts.iter().map(|count| count.load(Relaxed));
            let seen = DECISIONS.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            rows.extend(seen.map(|(decision, count)| (model.to_string(), decision, count)));
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_bounded_and_named() {
        let splits = Splits::default();
        splits.count("", "decode-only");
        splits.count("m", "prefill-decode");
        splits.count("m", "prefill-decode");
        splits.count("m", "something else");
        assert_eq!(splits.read(), [("m".to_owned(), "prefill-decode", 2), ("unknown".to_owned(), "decode-only", 1)]);
        for number in 0..2 * MOST_NAMES {
            splits.count(&format!("model-{number}"), "decode-only");
        }
        let read = splits.read();
        assert!(read.len() <= MOST_NAMES + 1 && read.iter().any(|(model, ..)| model == OTHER));
    }
}
