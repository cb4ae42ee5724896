//! Looking on while a cycle runs.

use weir_plan::PickError;

/// A step of a cycle that has just been done. Steps come in the order in which they are done, so each began when the one before ended.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// The profile handler was asked: `next` runs now (its place in the plan), or nothing any more.
    Asked {
        /// The profile.
        next: Option<usize>,
    },
    /// The profile's filters have run.
    Filtered {
        /// Candidates that they were shown.
        before: usize,
        /// Candidates that they left.
        after: usize,
    },
    /// One of the profile's scorers has run.
    Scored {
        /// Its place in the profile.
        scorer: usize,
        /// What it gave, clamped and without its weight.
        scores: &'a [f64],
    },
    /// The profile's picker has run.
    Picked {
        /// Candidates, as places in the snapshot.
        candidates: &'a [u32],
        /// Their sums of score times weight.
        totals: &'a [f64],
    },
    /// The profile is through.
    Ended {
        /// Why it failed, if it did.
        error: Option<&'a PickError>,
    },
}

/// Somebody who looks on.
pub trait Watch {
    /// A step has been done.
    fn done(&mut self, step: Step<'_>);
}

/// Nobody does.
impl Watch for () {
    #[inline]
    fn done(&mut self, _: Step<'_>) {}
}
