//! Putting a case through a router.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use weir_api::{Diagnostics, EndpointUrl, Spanned};
use weir_plan::Plan;
use weir_pool::{Charge, Endpoint, EndpointSpec, LoraState, Pool, Scrape, Time};
use weir_protocol::{Route, classify};

use super::{
    CandidateVerdict, Case, CaseEndpoint, CaseRequest, EarlierRequest, FilterVerdict, ProfileVerdict, Refused, Verdict,
    attributes, expect,
    watch::{self, Seen, Tape},
};
use crate::{
    Clock, DecisionLog, DecisionLogConfig, End, ExplainedScorer, PoolRuntime, Refusal, RequestHead, Routed, Router,
    RouterMetrics, Shared,
};

/// When a case's request is decided: late enough for whatever happened before.
const NOW: Duration = Duration::from_secs(30 * 24 * 3_600);
const MOST_IN_FLIGHT: u32 = 100_000;
const UNPARSED: &str = "/unparsed";

impl Case {
    /// Decides the request by a plan.
    ///
    /// # Errors
    /// What is wrong with the case: endpoints, attributes or earlier requests that cannot be.
    pub fn run(&self, plan: &Plan) -> Result<Verdict, Diagnostics> {
        let mut notes = Diagnostics::new();
        let (mut watched, tape) = watch::watched(plan);
        watched.seed = self.seed;
        attributes::give(self, &mut watched, &mut notes);
        let bench = Bench::new(self, watched, tape, &mut notes);
        notes = notes.into_result()?;
        for earlier in &self.before {
            bench.earlier(self, earlier, &mut notes);
        }
        let request = request(&self.request, &mut notes);
        notes.into_result()?;
        bench.forget(&[]);
        bench.clock.set(Time::ZERO + NOW);
        let mut verdict = bench.verdict(plan, bench.route(&request));
        verdict.unmet = self.expect.as_ref().map_or_else(Vec::new, |expect| expect.unmet(&verdict));
        Ok(verdict)
    }
}

/// A router over the case's endpoints.
struct Bench {
    clock: Clock,
    endpoints: Vec<Arc<Endpoint>>,
    router: Router,
    tape: Tape,
    _in_flight: Vec<Charge>,
}

struct Request {
    id: String,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    priority: i32,
}

impl Bench {
    fn new(case: &Case, plan: Plan, tape: Tape, notes: &mut Diagnostics) -> Self {
        let clock = Clock::standing_at(Time::ZERO);
        let log = DecisionLog::new(DecisionLogConfig { max_bytes: 0, candidates: 1 });
        let metrics = RouterMetrics::register(&mut prometheus_client::registry::Registry::default());
        let shared = Shared::new(clock.clone(), log, metrics);
        let pool = Arc::new(Pool::new("case"));
        let mut specs: Vec<EndpointSpec> = Vec::with_capacity(case.endpoints.len());
        for (place, one) in case.endpoints.iter().enumerate() {
            let spec = spec(place, one, notes);
            if specs.iter().any(|other| (&other.namespace, &other.name) == (&spec.namespace, &spec.name)) {
                notes.push(one.name.error(format!("two endpoints are named `{}/{}`", spec.namespace, spec.name)));
            } else {
                specs.push(spec);
            }
        }
        pool.reconcile(&specs);
        let endpoints = pool.snapshot().endpoints.clone();
        let mut in_flight = Vec::new();
        for (one, endpoint) in case.endpoints.iter().zip(&endpoints) {
            fill(one, endpoint, &mut in_flight, notes);
        }
        let stale_after = Duration::from_millis(case.stale_after_ms);
        let runtime = PoolRuntime::new(pool, Arc::new(plan), Vec::new(), stale_after, &shared);
        Self { clock, endpoints, router: Router::new(vec![runtime], shared), tape, _in_flight: in_flight }
    }

    /// Empties the tape, and says what each profile must choose.
    fn forget(&self, forced: &[Option<u32>]) {
        for (place, seen) in self.tape.lock().iter_mut().enumerate() {
            *seen = Seen { forced: forced.get(place).copied().flatten(), ..Seen::default() };
        }
    }

    fn route(&self, request: &Request) -> Result<Routed, Refusal> {
        let api = match classify(self.router.parsers(), &Method::POST, &request.path) {
            Route::Parsed(api) => Some(api),
            Route::Refused => return Err(Refusal::no_parser(&request.path)),
            _ => None,
        };
        let (id, path, headers) = (&request.id, &request.path, &request.headers);
        let head = RequestHead {
            id,
            method: &Method::POST,
            path,
            headers,
            received: self.router.now(),
            api,
            priority: request.priority,
            within: None,
            wants_scores: false,
            trace: None,
        };
        self.router.route(&head, &request.body)
    }

    fn earlier(&self, case: &Case, earlier: &EarlierRequest, notes: &mut Diagnostics) {
        let place = |name: &Spanned<String>, notes: &mut Diagnostics| {
            let found = self.endpoints.iter().position(|one| expect::is(one.id(), name));
            if found.is_none() {
                let names = case.endpoints.iter().map(|one| one.name.as_str());
                notes.push(name.error(format!("no endpoint is named `{}`", name.value)).with_nearest(name, names));
            }
            found.map(|place| place as u32)
        };
        let plan = &self.router.pools()[0].plan;
        let every = earlier.to.as_ref().and_then(|name| place(name, notes));
        let mut forced: Vec<Option<u32>> = vec![every; plan.profiles.len()];
        for (profile, name) in &earlier.to_by_profile {
            match plan.profiles.iter().position(|one| one.name == *profile) {
                Some(at) => forced[at] = place(name, notes),
                None => notes.push(name.error(format!("no profile is named `{profile}`"))),
            }
        }
        let request = request(&earlier.request, notes);
        self.forget(&forced);
        let ago = Duration::from_millis(earlier.ago_ms.unwrap_or(1)).min(NOW);
        self.clock.set(Time::ZERO + (NOW - ago));
        match self.route(&request) {
            Ok(mut routed) => {
                routed.response_head(StatusCode::OK, &mut HeaderMap::new());
                routed.first_byte(self.clock.now());
                routed.finish(End::Complete);
            }
            Err(refusal) => {
                let at = earlier.to.as_ref().map_or_else(Spanned::default, |name| name.clone().map(|_| ()));
                notes.push(at.error(format!("a request in `before` was refused: {}", refusal.message)));
            }
        }
    }

    fn verdict(&self, plan: &Plan, routed: Result<Routed, Refusal>) -> Verdict {
        let id = |place: &u32| self.endpoints[*place as usize].id().to_owned();
        let tape = self.tape.lock();
        let profiles = plan.profiles.iter().zip(tape.iter()).map(|(profile, seen)| {
            let filters = profile.filters.iter().zip(&seen.filters).map(|(filter, (given, kept))| FilterVerdict {
                name: filter.name.clone(),
                kind: filter.kind.to_owned(),
                kept: kept.iter().map(id).collect(),
                removed: given.iter().filter(|one| !kept.contains(one)).map(id).collect(),
            });
            let scorers = profile.scorers.iter().map(|one| ExplainedScorer {
                name: one.scorer.name.clone(),
                kind: one.scorer.kind.to_owned(),
                weight: one.weight,
            });
            let mut candidates: Vec<CandidateVerdict> = (0..seen.candidates.len())
                .map(|row| CandidateVerdict {
                    endpoint: id(&seen.candidates[row]),
                    total: seen.totals.get(row).copied().unwrap_or(0.0),
                    scores: seen.scores.iter().filter_map(|scores| scores.get(row).copied()).collect(),
                })
                .collect();
            candidates.sort_by(|one, other| other.total.total_cmp(&one.total));
            ProfileVerdict {
                name: profile.name.clone(),
                ran: seen.ran,
                filters: filters.collect(),
                scorers: scorers.collect(),
                candidates,
                targets: seen.targets.iter().map(id).collect(),
            }
        });
        let mut verdict = Verdict {
            picked: None,
            profile: None,
            refused: None,
            prompt_tokens: None,
            profiles: profiles.collect(),
            request_headers: BTreeMap::new(),
            request_port: None,
            response_headers: BTreeMap::new(),
            unmet: Vec::new(),
        };
        match routed {
            Ok(mut routed) => {
                verdict.picked = Some(routed.endpoint.id().to_owned());
                verdict.profile = routed.profile_name().map(str::to_owned);
                verdict.prompt_tokens = routed.prompt_tokens();
                let mut headers = HeaderMap::new();
                routed.response_head(StatusCode::OK, &mut headers);
                verdict.response_headers = texts(&headers);
                verdict.request_headers = texts(&routed.outgoing.headers);
                verdict.request_port = routed.outgoing.port;
                routed.finish(End::Complete);
            }
            Err(Refusal { outcome, message, .. }) => {
                verdict.refused = Some(Refused { status: outcome.status, reason: outcome.reason.as_str(), message });
            }
        }
        verdict
    }
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(text).collect()
}

fn spec(place: usize, one: &CaseEndpoint, notes: &mut Diagnostics) -> EndpointSpec {
    let (high, low) = ((place + 1) / 250, (place + 1) % 250);
    let mut url = EndpointUrl::http(format!("10.0.{high}.{low}").as_str(), 8_000);
    if let Some(text) = &one.url {
        match text.parse() {
            Ok(parsed) => url = parsed,
            Err(error) => notes.push(text.error(format!("{error}"))),
        }
    }
    let mut spec = EndpointSpec::new(one.name.value.clone(), url);
    (spec.namespace, spec.labels) = (one.namespace.clone(), one.labels.clone());
    spec
}

/// Brings an endpoint into the state that the case describes.
fn fill(one: &CaseEndpoint, endpoint: &Endpoint, in_flight: &mut Vec<Charge>, notes: &mut Diagnostics) {
    if one.ready {
        endpoint.health.probe_succeeded();
    } else {
        endpoint.health.probe_failed();
    }
    endpoint.set_models(one.models.clone());
    for (name, number) in &one.numbers {
        endpoint.numbers.set(name, Some(*number));
    }
    let load = one.in_flight;
    if load.requests > MOST_IN_FLIGHT || (load.requests == 0 && load.tokens > 0) {
        notes.push(one.name.error(format!("inFlight.requests must be between 1 and {MOST_IN_FLIGHT} if there are tokens")));
        return;
    }
    in_flight.extend((0..load.requests).map(|place| endpoint.ledger.charge(if place == 0 { load.tokens } else { 0 }, 0)));
    if let Some(metrics) = &one.metrics {
        let lora = metrics.lora.as_ref();
        let scrape = Scrape {
            waiting: metrics.waiting,
            running: metrics.running,
            kv_usage: metrics.kv_usage,
            block_size_tokens: metrics.block_size_tokens,
            num_blocks: metrics.num_blocks,
            lora: lora.map(|lora| LoraState { active: lora.active.clone(), waiting: lora.waiting.clone(), max: lora.max }),
            custom: Vec::new(),
        };
        let age = Duration::from_millis(metrics.age_ms).min(NOW);
        endpoint.engine.record(&scrape, endpoint.ledger.requests(), Time::ZERO + (NOW - age));
    }
}

fn request(one: &CaseRequest, notes: &mut Diagnostics) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in &one.headers {
        match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => notes.push(value.error(format!("`{name}: {}` is not a header", value.value))),
        }
    }
    let body = match &one.body {
        None => Bytes::new(),
        Some(serde_json::Value::String(text)) => Bytes::from(text.clone()),
        Some(json) => Bytes::from(json.to_string()),
    };
    let default_path = match &one.body {
        None => UNPARSED,
        Some(json) if json.get("messages").is_some() => "/v1/chat/completions",
        Some(_) => "/v1/completions",
    };
    let path = one.path.clone().unwrap_or_else(|| default_path.to_owned());
    Request { id: one.id.clone().unwrap_or_else(|| "case".to_owned()), path, headers, body, priority: one.priority }
}
