//! What plugins are shown: one request, and the endpoints it may go to.

use std::sync::Arc;

use http::HeaderMap;
use weir_pool::{Endpoint, EndpointState, Time};
use weir_protocol::{Api, Scanned};

use crate::{Attributes, Column, ProfileResult};

/// One request, by reference.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Its id (`x-request-id`).
    pub id: &'a str,
    /// The moment of the decision.
    pub now: Time,
    /// Which API it speaks; `None` if its path is not parsed.
    pub api: Option<Api>,
    /// The model that the engine will be asked for; empty if the API names none.
    pub model: &'a str,
    /// Its priority; 0 without an objective, negative if it may be shed.
    pub priority: i32,
    /// The tenant or flow that it is accounted to.
    pub fairness_id: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body as it came.
    pub body: &'a [u8],
    /// What the scan of the body found; `None` if its path is not parsed.
    pub scanned: Option<&'a Scanned>,
}

/// Indices of candidates in the snapshot, ascending. Reused from request to request.
pub type Candidates = Vec<u32>;

/// The candidates and their numbers, frozen for one decision.
#[derive(Clone, Copy, Debug)]
pub struct PoolView<'a> {
    endpoints: &'a [Arc<Endpoint>],
    states: &'a [EndpointState],
    candidates: &'a [u32],
    attributes: &'a Attributes,
    peer: Option<u32>,
}

impl<'a> PoolView<'a> {
    /// A view of `candidates`, which are indices into `endpoints`; `states` is parallel to `endpoints`.
    pub fn new(
        endpoints: &'a [Arc<Endpoint>],
        states: &'a [EndpointState],
        candidates: &'a [u32],
        attributes: &'a Attributes,
    ) -> Self {
        debug_assert_eq!(endpoints.len(), states.len());
        debug_assert!(candidates.iter().all(|index| (*index as usize) < endpoints.len()));
        Self { endpoints, states, candidates, attributes, peer: None }
    }

    /// The same with the endpoint near which to choose, as its place in the snapshot.
    pub fn near(self, peer: Option<u32>) -> Self {
        Self { peer, ..self }
    }

    /// The endpoint near which to choose: in disaggregated serving the worker that the chosen one will exchange data with.
    pub fn peer(&self) -> Option<&'a Arc<Endpoint>> {
        self.peer.and_then(|index| self.endpoints.get(index as usize))
    }

    /// How many candidates there are.
    pub fn len(&self) -> usize {
        self.candidates.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.candidates.is_empty()
    }

    /// Place in the snapshot of the `i`-th candidate.
    pub fn index(&self, i: usize) -> usize {
        self.candidates[i] as usize
    }

    /// The `i`-th candidate.
    pub fn endpoint(&self, i: usize) -> &'a Arc<Endpoint> {
        &self.endpoints[self.index(i)]
    }

    /// The numbers of the `i`-th candidate.
    pub fn state(&self, i: usize) -> &'a EndpointState {
        &self.states[self.index(i)]
    }

    /// All candidates' numbers, in order.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &'a EndpointState> + Clone {
        let states = self.states;
        self.candidates.iter().map(move |index| &states[*index as usize])
    }

    /// Adds to `keep` those candidates, as places in the snapshot, whose place among the candidates `fits`.
    pub fn retain(&self, keep: &mut Candidates, mut fits: impl FnMut(usize) -> bool) {
        keep.extend(self.candidates.iter().enumerate().filter(|(i, _)| fits(*i)).map(|(_, index)| *index));
    }

    /// Adds all candidates to `keep`.
    pub fn retain_all(&self, keep: &mut Candidates) {
        keep.extend_from_slice(self.candidates);
    }

    /// What the producers found.
    pub fn attributes(&self) -> &'a Attributes {
        self.attributes
    }

    /// Leading blocks of the prompt that the `i`-th candidate holds, and blocks of the prompt; (0, 0) if unknown.
    pub fn prefix(&self, column: Column, i: usize) -> (u32, u32) {
        self.attributes.prefix(column).map_or((0, 0), |found| (found.matched(self.index(i)), found.total_blocks))
    }
}

/// What was decided: for each profile that ran, its name and targets (places in the snapshot, best first).
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The snapshot's endpoints.
    pub endpoints: &'a [Arc<Endpoint>],
    /// Targets of the primary profile, best first; at least one.
    pub primary: &'a [u32],
    /// Targets of the profile named `prefill`, if one ran.
    pub prefill: &'a [u32],
    /// What each profile of the plan gave.
    pub results: &'a [ProfileResult],
}

impl<'a> Targets<'a> {
    /// Targets of a profile, best first; empty if it did not run or failed.
    pub fn of(&self, profile: usize) -> &'a [u32] {
        self.results.get(profile).map_or(&[], |one| &one.targets)
    }

    /// The endpoint that gets the request.
    pub fn primary_endpoint(&self) -> Option<&'a Arc<Endpoint>> {
        self.primary.first().map(|index| &self.endpoints[*index as usize])
    }

    /// Places in the snapshot of the endpoints that will compute this prompt: the primary one, and the first of prefill.
    pub fn computing(&self) -> impl Iterator<Item = usize> + 'a {
        self.primary.first().into_iter().chain(self.prefill.first()).map(|index| *index as usize)
    }
}
