//! The plan at work on one request: header processors, admission, screeners, producers, admitters, scheduling, pre-request plugins.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use http::HeaderMap;
use weir_plan::{Attributes, Candidates, Outgoing, PickError, Plan, PoolView, RequestAttributes, RequestView, Targets};
use weir_pool::{Endpoint, EndpointState, Readiness, Subset, Time};
use weir_protocol::Scanned;
use weir_schedule::{Picked, Watch};

use crate::{RequestHead, names};

/// Flow of requests that name none.
const DEFAULT_FLOW: &str = "default-flow";

/// A request and the moment of its decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) head: &'a RequestHead<'a>,
    pub(crate) body: &'a Bytes,
    /// `None` if its path is not parsed.
    pub(crate) scanned: Option<&'a Scanned>,
    /// The model that is served instead of the one in the body.
    pub(crate) served: Option<&'a str>,
    pub(crate) now: Time,
    /// Age from which engine metrics count as stale.
    pub(crate) stale_after: Duration,
    /// Endpoints that it was sent to already.
    pub(crate) tried: &'a [Arc<Endpoint>],
}

/// Buffers of one decision, and afterwards what it found.
#[derive(Debug, Default)]
pub(crate) struct Decide {
    pub(crate) attributes: Attributes,
    pub(crate) states: Vec<EndpointState>,
    pub(crate) candidates: Candidates,
    pub(crate) cycle: weir_schedule::Scratch,
    pub(crate) outgoing: Outgoing,
    /// The flow that the request is accounted to.
    pub(crate) fairness_id: String,
    kept: Candidates,
    screened: Candidates,
}

/// Runs the plan until a chosen endpoint's circuit lets the request through.
pub(crate) fn decide(
    plan: &Plan,
    incoming: &Incoming<'_>,
    endpoints: &[Arc<Endpoint>],
    scratch: &mut Decide,
    random: &mut Rng,
    watch: &mut impl Watch,
) -> Result<Picked, PickError> {
    let Incoming { head, body, scanned, now, .. } = *incoming;
    let Decide { attributes, states, candidates, cycle, outgoing, fairness_id, kept, screened } = scratch;
    attributes.request.clear();
    for processor in &plan.header_processors {
        processor.plugin.process(head.headers, &mut attributes.request);
    }
    fairness_id.clear();
    fairness_id.push_str(flow(head.headers, &attributes.request));
    let asked = || scanned.and_then(|found| found.model(body)).unwrap_or_default();
    let model = incoming.served.map_or_else(asked, Cow::Borrowed);
    let request = RequestView {
        id: head.id,
        now,
        api: head.api,
        model: &model,
        priority: head.priority,
        fairness_id,
        headers: head.headers,
        body,
        scanned,
    };

    list_candidates(endpoints, incoming.tried, head.within, now, candidates);
    states.clear();
    states.extend(endpoints.iter().map(|endpoint| endpoint.state(now, incoming.stale_after)));
    attributes.reset(&plan.columns);
    if request.priority < 0
        && let Some(detector) = &plan.detector
    {
        let saturation = detector.plugin.saturation(&PoolView::new(endpoints, states, candidates, attributes));
        if saturation >= 1.0 {
            let why = format!("the pool is saturated ({saturation:.2}), and requests of priority {} may be shed", head.priority);
            return Err(PickError::Denied { plugin: detector.name.clone(), why });
        }
    }
    if candidates.is_empty() {
        return Err(PickError::NoEndpoints { known: endpoints.len() });
    }
    if !plan.screeners.is_empty() {
        screened.clone_from(candidates);
        for screener in &plan.screeners {
            kept.clear();
            screener.plugin.screen(&request, &PoolView::new(endpoints, states, candidates, attributes), random, kept);
            screened.retain(|index| kept.binary_search(index).is_ok());
        }
        if screened.is_empty() {
            let names: Vec<&str> = plan.screeners.iter().map(|one| one.name.as_str()).collect();
            return Err(PickError::Screened { screeners: names.join(", "), candidates: candidates.len() });
        }
        std::mem::swap(candidates, screened);
    }
    weir_schedule::produce(plan, &request, endpoints, attributes);
    for admitter in &plan.admitters {
        admitter.plugin.admit(&request, &PoolView::new(endpoints, states, candidates, attributes), random)?;
    }

    loop {
        if candidates.is_empty() {
            return Err(PickError::NoEndpoints { known: endpoints.len() });
        }
        let picked = weir_schedule::run_watched(plan, &request, endpoints, states, candidates, attributes, cycle, random, watch)?;
        let chosen = picked.primary;
        if only_if_cached(head.headers) && attributes.prefixes().iter().all(|found| found.cached(chosen as usize) == 0) {
            return Err(PickError::NotCached);
        }
        if endpoints[chosen as usize].health.breaker.acquire(now) {
            let (primary, prefill) = (cycle.targets(picked.profile), cycle.prefill_targets());
            let targets = Targets { endpoints, primary, prefill, results: cycle.results() };
            outgoing.clear();
            for plugin in &plan.pre_request {
                plugin.plugin.picked(&request, &targets, attributes, outgoing);
            }
            return Ok(picked);
        }
        // Another request became the probe of that endpoint in between.
        candidates.retain(|index| *index != chosen);
    }
}

/// The flow that a request is accounted to: what its header says, else the agent's session, else one for all.
fn flow<'a>(headers: &'a HeaderMap, attributes: &'a RequestAttributes) -> &'a str {
    let [name, alias] = names::FAIRNESS_ID;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty());
    header(name).or_else(|| header(alias)).or_else(|| attributes.get(RequestAttributes::AGENT_IDENTITY)).unwrap_or(DEFAULT_FLOW)
}

/// `Prefer: if-available` (RFC 7240): serve it only where its prefix is cached.
fn only_if_cached(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all(names::PREFER).into_iter().filter_map(|value| value.to_str().ok());
    let mut tokens = preferences.flat_map(|value| value.split(',')).map(|one| one.split(';').next().unwrap_or_default().trim());
    tokens.any(|token| token.eq_ignore_ascii_case("if-available"))
}

/// Those that are ready; if none is, those of which nothing is known yet. Endpoints that the request was sent to already, and
/// those outside of its subset, are left out.
pub(crate) fn list_candidates(
    endpoints: &[Arc<Endpoint>],
    tried: &[Arc<Endpoint>],
    within: Option<&Subset>,
    now: Time,
    out: &mut Vec<u32>,
) {
    out.clear();
    for wanted in [Readiness::Ready, Readiness::Unknown] {
        for (index, endpoint) in endpoints.iter().enumerate() {
            if endpoint.health.readiness() == wanted
                && endpoint.health.may_serve(now)
                && !tried.iter().any(|one| Arc::ptr_eq(one, endpoint))
                && within.is_none_or(|subset| subset.contains(endpoint))
            {
                out.push(index as u32);
            }
        }
        if !out.is_empty() {
            return;
        }
    }
}
