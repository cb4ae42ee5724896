//! Which batches of a stream are to be applied: gaps, repetitions, restarts.

/// Follows the numbers of one engine's batches.
///
/// An engine numbers its batches from 0 or 1 on. Whoever listens late, or misses some, can ask the engine to repeat what it still
/// keeps. What is missing for good costs only what it said: the holder is cleared, and goes on from what is known.
///
/// ```
/// # use weir_prefix::{Sequence, Step};
/// let mut sequence = Sequence::new(true);
/// assert_eq!(sequence.live(5), Step::Replay { from: 0 });
/// // The engine repeats from 3 on: what was before is gone.
/// assert_eq!((3..=5).map(|number| sequence.replayed(number)).collect::<Vec<_>>(), [Step::ClearAndApply, Step::Apply, Step::Apply]);
/// assert_eq!(sequence.live(5), Step::Drop);
/// assert_eq!(sequence.live(6), Step::Apply);
/// ```
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Whether the engine can be asked to repeat.
    replays: bool,
    /// The highest number seen on the live stream since the engine started.
    last_live: Option<u64>,
    /// The highest number that was applied.
    last: Option<u64>,
    /// Something before `last` is missing that a repetition may still bring.
    partial: bool,
    /// Batches that nobody could repeat.
    lost: u64,
    gaps: u64,
    restarts: u64,
}

/// What to do about a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Apply it.
    Apply,
    /// Forget what the holder has, then apply it.
    ClearAndApply,
    /// It was applied before.
    Drop,
    /// Ask the engine to repeat from this number on, then ask again what to do about the batch.
    Replay {
        /// The first number that is missing.
        from: u64,
    },
}

impl Sequence {
    /// A stream of which nothing was seen.
    pub fn new(replays: bool) -> Self {
        Self { replays, last_live: None, last: None, partial: false, lost: 0, gaps: 0, restarts: 0 }
    }

    /// The number to ask for once the stream is open, so that what was said before is known.
    pub fn opened(&self) -> Option<u64> {
        (self.replays && (self.last.is_none() || self.partial)).then_some(0)
    }

    /// A batch came on the live stream.
    pub fn live(&mut self, number: u64) -> Step {
        match self.last_live {
            Some(before) if number < before => {
                // The engine counts anew: it has been started again.
                self.restarts += 1;
                self.last_live = Some(number);
                self.last = None;
                self.partial = false;
                if self.replays && number > 0 {
                    return Step::Replay { from: 0 };
                }
                self.last = Some(number);
                return Step::ClearAndApply;
            }
            Some(before) if number == before && self.last >= Some(number) => return Step::Drop,
            _ => self.last_live = Some(number),
        }
        match self.last {
            Some(last) if number <= last => Step::Drop,
            Some(last) if number == last + 1 => self.apply(number),
            None if number == 0 => self.apply(number),
            last => {
                self.gaps += u64::from(last.is_some());
                match (self.replays, last) {
                    (true, last) => Step::Replay { from: last.map_or(0, |last| last + 1) },
                    // Nobody can repeat what was said before the first batch, or between two.
                    (false, last) => {
                        self.lost += last.map_or(0, |last| number - last - 1);
                        self.apply(number)
                    }
                }
            }
        }
    }

    /// The engine repeats a batch.
    pub fn replayed(&mut self, number: u64) -> Step {
        match self.last {
            Some(last) if number <= last => Step::Drop,
            Some(last) if number == last + 1 => self.apply(number),
            None if number == 0 => {
                self.last = Some(number);
                Step::ClearAndApply
            }
            last => {
                // It does not keep so much. What was said of removals meanwhile is lost with the rest. Some count from 1 on.
                self.lost += number - last.map_or(number.min(1), |last| last + 1);
                self.last = Some(number);
                Step::ClearAndApply
            }
        }
    }

    /// A repetition from 0 on is about to be asked for although something was applied: it counts as the beginning.
    pub fn restart_from_beginning(&mut self) {
        self.last = None;
        self.partial = false;
    }

    /// What to do about a live batch after the engine was asked to repeat, whether or not it did.
    pub fn after_replay(&mut self, number: u64, complete: bool) -> Step {
        match self.last {
            Some(last) if number <= last => Step::Drop,
            Some(last) if number == last + 1 => self.apply(number),
            None if number == 0 || complete => {
                self.last = Some(number);
                Step::ClearAndApply
            }
            last => {
                // What lies between is missing now, and may come later.
                self.lost += number - last.map_or(0, |last| last + 1);
                self.partial = true;
                self.last = Some(number);
                Step::ClearAndApply
            }
        }
    }

    /// Whether something is missing that a repetition may still bring.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// The highest number that was applied.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Batches that were missed and that nobody repeated.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Times that batches were missing on the live stream.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Times that the engine began to count anew.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    fn apply(&mut self, number: u64) -> Step {
        self.last = Some(number);
        Step::Apply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a listener applies of a live stream when the engine repeats what `kept` says.
    fn listen(live: &[u64], replays: bool, kept: &[u64]) -> (Vec<u64>, Sequence) {
        let (mut sequence, mut applied) = (Sequence::new(replays), Vec::new());
        let mut apply = |step, number| match step {
            Step::Apply => applied.push(number),
            Step::ClearAndApply => applied = vec![number],
            Step::Drop => {}
            Step::Replay { .. } => panic!("asked twice"),
        };
        for number in live {
            let mut step = sequence.live(*number);
            if let Step::Replay { from } = step {
                for repeated in kept.iter().filter(|one| **one >= from && **one <= *number) {
                    let step = sequence.replayed(*repeated);
                    apply(step, *repeated);
                }
                step = sequence.after_replay(*number, true);
            }
            apply(step, *number);
        }
        (applied, sequence)
    }

    #[test]
    fn what_is_complete_is_applied_once_and_in_order() {
        assert_eq!(listen(&[0, 1, 2], true, &[]).0, [0, 1, 2]);
        assert_eq!(listen(&[0, 1, 1, 2], true, &[]).0, [0, 1, 2]);
        assert_eq!(listen(&[0, 1, 4, 5], true, &[0, 1, 2, 3, 4]).0, [0, 1, 2, 3, 4, 5]);
        assert_eq!(listen(&[3, 4], true, &[0, 1, 2, 3]).0, [0, 1, 2, 3, 4]);
        // The repetition does not reach the batch that showed the gap, or does; it is applied once.
        assert_eq!(listen(&[0, 3], true, &[0, 1, 2]).0, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_gone_for_good_clears_and_goes_on() {
        // Counting from 1 on, or history that starts late, starves nobody.
        assert_eq!(listen(&[1, 2], true, &[1]).0, [1, 2]);
        let (applied, sequence) = listen(&[0, 1, 7, 8], true, &[5, 6, 7]);
        assert_eq!((applied, sequence.lost(), sequence.gaps()), (vec![5, 6, 7, 8], 3, 1));
        // Nothing is kept at all.
        assert_eq!(listen(&[4, 5], true, &[]).0, [4, 5]);
    }

    #[test]
    fn an_engine_that_starts_anew() {
        let (applied, sequence) = listen(&[0, 1, 2, 0, 1], true, &[0]);
        assert_eq!((applied, sequence.restarts()), (vec![0, 1], 1));
        // The first batches of its new life were missed.
        assert_eq!(listen(&[5, 6, 2], true, &[0, 1, 2]).0, [0, 1, 2]);
        assert_eq!(listen(&[5, 6, 2], false, &[]).0, [2]);
    }

    #[test]
    fn without_repetition_gaps_are_only_counted() {
        let (applied, sequence) = listen(&[3, 4, 7, 7, 8], false, &[]);
        assert_eq!((applied, sequence.lost(), sequence.gaps()), (vec![3, 4, 7, 8], 2, 1));
        assert_eq!(sequence.opened(), None);
    }

    #[test]
    fn a_repetition_that_fails_is_asked_for_again() {
        let mut sequence = Sequence::new(true);
        assert_eq!(sequence.opened(), Some(0));
        assert_eq!(sequence.live(0), Step::Apply);
        assert_eq!(sequence.opened(), None);
        assert_eq!(sequence.live(3), Step::Replay { from: 1 });
        assert_eq!(sequence.replayed(1), Step::Apply);
        assert_eq!(sequence.after_replay(3, false), Step::ClearAndApply);
        assert!(sequence.is_partial());
        assert_eq!((sequence.live(4), sequence.opened()), (Step::Apply, Some(0)));
        sequence.restart_from_beginning();
        assert_eq!((0..=4).map(|number| sequence.replayed(number)).filter(|step| *step == Step::Apply).count(), 4);
        assert!(!sequence.is_partial());
        assert_eq!((sequence.live(4), sequence.live(5)), (Step::Drop, Step::Apply));
    }
}
