//! A plan whose filters, scorers and pickers are watched, and obey where a case says what they chose.

use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use weir_plan::{Candidates, DataSet, Filter, Named, Picker, Plan, PoolView, RequestView, Scorer, Scores};

/// What the plugins of one profile did last.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) ran: bool,
    /// For each filter that ran: what it was given, what it kept (places in the snapshot).
    pub(super) filters: Vec<(Vec<u32>, Vec<u32>)>,
    /// What the filters left.
    pub(super) candidates: Vec<u32>,
    /// For each scorer, a score for each of the candidates.
    pub(super) scores: Vec<Vec<f64>>,
    pub(super) totals: Vec<f64>,
    /// Places in the snapshot, best first.
    pub(super) targets: Vec<u32>,
    /// What this profile must choose.
    pub(super) forced: Option<u32>,
}

pub(super) type Tape = Arc<Mutex<Vec<Seen>>>;

/// The plan with watchers around its plugins, and what they will write to.
pub(super) fn watched(plan: &Plan) -> (Plan, Tape) {
    let tape: Tape = Arc::new(Mutex::new(vec![Seen::default(); plan.profiles.len()]));
    let mut plan = plan.clone();
    for (profile, one) in plan.profiles.iter_mut().enumerate() {
        let watcher = || Watcher { tape: Arc::clone(&tape), profile };
        for filter in &mut one.filters {
            filter.plugin = Arc::new(WatchedFilter { inner: Arc::clone(&filter.plugin), watcher: watcher() });
        }
        let last = Named { name: "what is left".to_owned(), kind: "", plugin: Arc::new(Left(watcher())) as Arc<dyn Filter> };
        one.filters.push(last);
        for scored in &mut one.scorers {
            let inner = Arc::clone(&scored.scorer.plugin);
            scored.scorer.plugin = Arc::new(WatchedScorer { inner, watcher: watcher() });
        }
        one.picker.plugin = Arc::new(WatchedPicker { inner: Arc::clone(&one.picker.plugin), watcher: watcher() });
    }
    (plan, tape)
}

struct Watcher {
    tape: Tape,
    profile: usize,
}

impl Watcher {
    fn with<R>(&self, f: impl FnOnce(&mut Seen) -> R) -> Option<R> {
        self.tape.lock().get_mut(self.profile).map(f)
    }

    fn forced(&self) -> Option<u32> {
        self.with(|seen| seen.forced).flatten()
    }
}

fn places(view: &PoolView<'_>) -> Vec<u32> {
    let mut places = Candidates::new();
    view.retain_all(&mut places);
    places
}

struct WatchedFilter {
    inner: Arc<dyn Filter>,
    watcher: Watcher,
}

impl Filter for WatchedFilter {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        if self.watcher.forced().is_some() {
            view.retain_all(keep);
        } else {
            self.inner.filter(request, view, random, keep);
        }
        let given = places(view);
        self.watcher.with(|seen| {
            seen.ran = true;
            seen.filters.push((given, keep.clone()));
        });
    }
}

/// The last filter: it keeps everything, and remembers it.
struct Left(Watcher);

impl Filter for Left {
    fn reads(&self) -> DataSet {
        DataSet::NONE
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain_all(keep);
        self.0.with(|seen| {
            seen.ran = true;
            seen.candidates.clone_from(keep);
        });
    }
}

struct WatchedScorer {
    inner: Arc<dyn Scorer>,
    watcher: Watcher,
}

impl Scorer for WatchedScorer {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        self.inner.score(request, view, out);
        self.watcher.with(|seen| seen.scores.push(out.iter().copied().map(weir_schedule::clamped).collect()));
    }
}

struct WatchedPicker {
    inner: Arc<dyn Picker>,
    watcher: Watcher,
}

impl Picker for WatchedPicker {
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>) {
        let forced = self.watcher.with(|seen| seen.candidates.iter().position(|one| Some(*one) == seen.forced)).flatten();
        match forced {
            Some(row) => out.push(row as u32),
            None => self.inner.pick(scores, random, out),
        }
        self.watcher.with(|seen| {
            seen.totals = scores.totals.to_vec();
            seen.targets = out.iter().filter_map(|row| seen.candidates.get(*row as usize).copied()).collect();
        });
    }
}
