//! The scheduling cycle: for each profile that the handler wants, filter, score, pick.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use fastrand::Rng;
use weir_plan::{Attributes, Candidates, PickError, Plan, PoolView, Profile, ProfileResult, RequestView, Scores};
use weir_pool::{Endpoint, EndpointState};

use crate::watch::{Step, Watch};

/// Which endpoint gets the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picked {
    /// Its place in the snapshot.
    pub primary: u32,
    /// The profile that chose it, as its place in the plan.
    pub profile: usize,
}

/// A score as it counts: NaN is 0, what lies outside 0..=1 is cut off.
pub fn clamped(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score.clamp(0.0, 1.0) }
}

/// Buffers that are reused from request to request, and afterwards what the last cycle found, for whoever explains it.
///
/// Profiles and scorers are named by their places in the plan.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Profiles of the plan that ran last; buffers of a larger plan may lie behind them.
    profiles: usize,
    results: Vec<ProfileResult>,
    runs: Vec<Run>,
    prefill: Option<usize>,
    keep: Candidates,
    order: Vec<u32>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    candidates: Candidates,
    /// Endpoints that a filter removed, and the filter's place.
    removed: Vec<(u32, u32)>,
    /// One row per scorer, each as long as `candidates`.
    scores: Vec<f64>,
    totals: Vec<f64>,
}

/// What does not change during a cycle.
#[derive(Clone, Copy)]
struct Frozen<'a> {
    request: &'a RequestView<'a>,
    endpoints: &'a [Arc<Endpoint>],
    states: &'a [EndpointState],
    candidates: &'a [u32],
    attributes: &'a Attributes,
    peer: Option<u32>,
}

impl<'a> Frozen<'a> {
    fn view(&self, candidates: &'a [u32]) -> PoolView<'a> {
        PoolView::new(self.endpoints, self.states, candidates, self.attributes).near(self.peer)
    }
}

/// Runs the plan's producers in order. `attributes` must have been reset for the plan.
pub fn produce(plan: &Plan, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], attributes: &mut Attributes) {
    for producer in &plan.producers {
        producer.plugin.produce(request, endpoints, attributes);
    }
}

/// Runs one cycle over `candidates` (places in `endpoints`, ascending); `states` is parallel to `endpoints`.
///
/// # Errors
/// No candidates, a primary profile whose filters left nothing, or a handler that ran nothing.
#[expect(clippy::too_many_arguments, reason = "the parts of one decision, borrowed separately")]
pub fn run(
    plan: &Plan,
    request: &RequestView<'_>,
    endpoints: &[Arc<Endpoint>],
    states: &[EndpointState],
    candidates: &[u32],
    attributes: &Attributes,
    scratch: &mut Scratch,
    random: &mut Rng,
) -> Result<Picked, PickError> {
    run_watched(plan, request, endpoints, states, candidates, attributes, scratch, random, &mut ())
}

/// The same, step by step before the eyes of `watch`.
///
/// # Errors
/// As [`run`].
#[expect(clippy::too_many_arguments, reason = "the parts of one decision, borrowed separately")]
pub fn run_watched(
    plan: &Plan,
    request: &RequestView<'_>,
    endpoints: &[Arc<Endpoint>],
    states: &[EndpointState],
    candidates: &[u32],
    attributes: &Attributes,
    scratch: &mut Scratch,
    random: &mut Rng,
    watch: &mut impl Watch,
) -> Result<Picked, PickError> {
    scratch.start(plan.profiles.len());
    if candidates.is_empty() {
        return Err(PickError::NoEndpoints { known: endpoints.len() });
    }
    let mut frozen = Frozen { request, endpoints, states, candidates, attributes, peer: None };
    let handler = &plan.handler.plugin;
    loop {
        let next = handler.next(request, &frozen.view(candidates), scratch.results());
        watch.done(Step::Asked { next });
        let Some(place) = next else { break };
        let Some(profile) = plan.profiles.get(place) else { break };
        if scratch.results[place].ran {
            // A handler that asks for it again would never end.
            break;
        }
        frozen.peer = handler.peer(scratch.results());
        let error = scratch.run_profile(place, profile, frozen, random, watch).err();
        watch.done(Step::Ended { error: error.as_ref() });
        let result = &mut scratch.results[place];
        result.ran = true;
        result.error = error;
    }
    let nothing = || PickError::NoProfile { handler: plan.handler.name.clone() };
    let profile = handler.primary(request, scratch.results())?;
    let Some(primary) = scratch.targets(profile).first().copied() else {
        return Err(scratch.results().get(profile).and_then(|one| one.error.clone()).unwrap_or_else(nothing));
    };
    let named = || plan.profiles.iter().position(|one| one.name == "prefill");
    scratch.prefill = handler.prefill().or_else(named).filter(|place| *place != profile);
    Ok(Picked { primary, profile })
}

impl Scratch {
    /// Places in the snapshot that the profile chose, best first; empty if it did not run or failed.
    pub fn targets(&self, profile: usize) -> &[u32] {
        self.results().get(profile).map_or(&[], |one| &one.targets)
    }

    /// Targets of the profile named `prefill`, unless that is the one that chose the primary endpoint.
    pub fn prefill_targets(&self) -> &[u32] {
        self.prefill.map_or(&[], |profile| self.targets(profile))
    }

    /// Places in the snapshot of the candidates that the profile's filters left.
    pub fn candidates(&self, profile: usize) -> &[u32] {
        self.ran(profile).map_or(&[], |run| &run.candidates)
    }

    /// Places in the snapshot of the endpoints that the profile's filters removed, each with the filter's place.
    pub fn removed(&self, profile: usize) -> &[(u32, u32)] {
        self.ran(profile).map_or(&[], |run| &run.removed)
    }

    /// Whether the profile ran.
    pub fn has_run(&self, profile: usize) -> bool {
        self.results().get(profile).is_some_and(|one| one.ran)
    }

    /// Why the profile failed.
    pub fn error(&self, profile: usize) -> Option<&PickError> {
        self.results().get(profile)?.error.as_ref()
    }

    /// What one scorer gave, clamped and without its weight; parallel to [`candidates`](Self::candidates).
    pub fn scores(&self, profile: usize, scorer: usize) -> &[f64] {
        let Some(run) = self.ran(profile) else { return &[] };
        let row = run.candidates.len();
        run.scores.get(scorer * row..(scorer + 1) * row).unwrap_or_default()
    }

    /// Sums of score times weight; parallel to [`candidates`](Self::candidates).
    pub fn totals(&self, profile: usize) -> &[f64] {
        self.ran(profile).map_or(&[], |run| &run.totals)
    }

    /// What each profile of the plan gave.
    pub fn results(&self) -> &[ProfileResult] {
        &self.results[..self.profiles]
    }

    fn ran(&self, profile: usize) -> Option<&Run> {
        self.runs.get(profile).filter(|_| profile < self.profiles)
    }

    fn start(&mut self, profiles: usize) {
        self.profiles = profiles;
        self.prefill = None;
        if self.runs.len() < profiles {
            self.runs.resize_with(profiles, Run::default);
            self.results.resize_with(profiles, ProfileResult::default);
        }
        for result in &mut self.results[..profiles] {
            result.ran = false;
            result.error = None;
            result.targets.clear();
        }
        for run in &mut self.runs[..profiles] {
            run.candidates.clear();
            run.removed.clear();
            run.scores.clear();
            run.totals.clear();
        }
    }

    fn run_profile(
        &mut self,
        place: usize,
        profile: &Profile,
        frozen: Frozen<'_>,
        random: &mut Rng,
        watch: &mut impl Watch,
    ) -> Result<(), PickError> {
        let Run { candidates, removed, scores, totals } = &mut self.runs[place];
        candidates.extend_from_slice(frozen.candidates);
        for (place, filter) in profile.filters.iter().enumerate() {
            self.keep.clear();
            filter.plugin.filter(frozen.request, &frozen.view(candidates), random, &mut self.keep);
            std::mem::swap(candidates, &mut self.keep);
            if candidates.len() < self.keep.len() {
                let gone = self.keep.iter().filter(|index| candidates.binary_search(index).is_err());
                removed.extend(gone.map(|index| (*index, place as u32)));
            }
            if candidates.is_empty() {
                watch.done(Step::Filtered { before: frozen.candidates.len(), after: 0 });
                return Err(PickError::Filtered {
                    profile: profile.name.clone(),
                    filter: filter.name.clone(),
                    candidates: frozen.candidates.len(),
                });
            }
        }
        watch.done(Step::Filtered { before: frozen.candidates.len(), after: candidates.len() });
        let view = frozen.view(candidates);
        totals.resize(view.len(), 0.0);
        scores.resize(view.len() * profile.scorers.len(), 0.0);
        for (scorer, (scored, row)) in profile.scorers.iter().zip(scores.chunks_exact_mut(view.len())).enumerate() {
            scored.scorer.plugin.score(frozen.request, &view, row);
            for (score, total) in row.iter_mut().zip(totals.iter_mut()) {
                *score = clamped(*score);
                *total += *score * scored.weight;
            }
            watch.done(Step::Scored { scorer, scores: row });
        }
        self.order.clear();
        profile.picker.plugin.pick(Scores { totals }, random, &mut self.order);
        let targets = &mut self.results[place].targets;
        targets.extend(self.order.iter().filter_map(|row| candidates.get(*row as usize)));
        watch.done(Step::Picked { candidates, totals });
        Ok(())
    }
}
