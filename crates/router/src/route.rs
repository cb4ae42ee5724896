//! From a request to its endpoint.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Method};
use serde::Serialize;
use weir_api::Reason;
use weir_plan::{Outgoing, Plan};
use weir_pool::{Endpoint, Pool, Readiness, Snapshot, Subset, Time};
use weir_protocol::{Api, Parsers, Reading, Scanner, scan, splice_model};
use weir_traces::{Parent, Tracer};

use crate::{
    Clock, DecisionLog, Refusal, Routed, RouterMetrics,
    decide::{self, Incoming},
    decisions::{Candidate, Context},
    llm_d::{self, EncoderHits, Labels, LlmD, PrefixHits, Running, Splits, weighted},
    metrics::PoolMetrics,
    models::{ModelIndex, Resolved},
    observed::Observed,
    pool_objects::{PoolObjects, Resolution, wanted_model},
    routed::Proxy,
    scratch::{self, Scratch},
    trace::{self, Orchestration},
};

/// What survives a reload.
#[derive(Debug)]
pub struct Shared {
    /// The process's clock.
    pub clock: Clock,
    /// The last decisions.
    pub decisions: DecisionLog,
    /// What the router counts.
    pub metrics: Arc<RouterMetrics>,
    /// The same under llm-d's names.
    pub(crate) llm_d: LlmD,
}

/// Routers made by this process. Threads keep their generators by it, so it counts over all that share nothing else.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

impl Shared {
    /// A clock, a log and counters.
    pub fn new(clock: Clock, decisions: DecisionLog, metrics: Arc<RouterMetrics>) -> Arc<Self> {
        let llm_d = LlmD::new(Arc::clone(&metrics.pinned));
        Arc::new(Self { clock, decisions, metrics, llm_d })
    }
}

/// A pool with its plan.
#[derive(Debug)]
pub struct PoolRuntime {
    /// Its endpoints.
    pub pool: Arc<Pool>,
    /// How it schedules.
    pub plan: Arc<Plan>,
    /// Models that it serves; empty: what its endpoints list.
    pub models: Vec<String>,
    /// Age from which engine metrics count as stale.
    pub stale_after: Duration,
    /// Its objectives and rewrites.
    pub objects: Arc<PoolObjects>,
    name: Arc<str>,
    metrics: Arc<PoolMetrics>,
    /// For each column of prefix matches, how much was hit.
    prefix_hits: Vec<Arc<PrefixHits>>,
    /// For each column of encoder-cache matches, how much was hit.
    encoder_hits: Vec<Arc<EncoderHits>>,
    /// Name of the producer that counts what is in flight.
    in_flight: Option<Arc<str>>,
    /// What the profile handler made of requests.
    splits: Arc<Splits>,
}

impl PoolRuntime {
    /// A pool whose metrics are registered in `shared`, and whose plugins are timed.
    pub fn new(pool: Arc<Pool>, plan: Arc<Plan>, models: Vec<String>, stale_after: Duration, shared: &Shared) -> Self {
        let metrics = Arc::new(shared.metrics.pool(pool.name()));
        let kind = |name: &str| plan.effective.plugins.iter().find(|one| one.name == name).map_or("", |one| one.kind);
        let prefix_hits = plan.columns.prefix.iter().map(|name| shared.llm_d.prefix_hits(name, kind(name))).collect();
        let encoder_hits = plan.columns.encoder.iter().map(|name| shared.llm_d.encoder_hits(name, kind(name))).collect();
        let counts = |one: &&weir_plan::EffectivePlugin| one.kind == "inflight-load-producer";
        let in_flight = plan.effective.plugins.iter().find(counts).map(|one| one.name.as_str().into());
        let splits = shared.llm_d.splits(&plan.handler.name, plan.handler.kind);
        let plan = Arc::new(llm_d::timed(&plan, &shared.llm_d));
        let objects = Arc::new(PoolObjects::new(pool.name(), Arc::clone(&shared.metrics)));
        for one in &plan.endpoint_events {
            pool.subscribe(&one.plugin);
        }
        let name = pool.name().into();
        Self { name, pool, plan, models, stale_after, objects, metrics, prefix_hits, encoder_hits, in_flight, splits }
    }

    /// With these objectives and rewrites.
    #[must_use]
    pub fn with_objects(self, objects: Arc<PoolObjects>) -> Self {
        Self { objects, ..self }
    }
}

/// What is known of a request before its body is read.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// Its `x-request-id`.
    pub id: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its path with query.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// When they came: what a request takes is counted from here on.
    pub received: Time,
    /// Its API; `None` if its path is not parsed, so that it is routed by load alone.
    pub api: Option<Api>,
    /// Its priority without an objective: usually 0; negative if it may be shed.
    pub priority: i32,
    /// The only endpoints that it may go to; `None`: any.
    pub within: Option<&'a Subset>,
    /// Whether the front wants to know every candidate's score.
    pub wants_scores: bool,
    /// The span of the request, if requests are traced.
    pub trace: Option<&'a Parent>,
}

/// How many endpoints a pool has, for `/readyz` and the status line.
#[derive(Clone, Debug, Serialize)]
pub struct PoolStatus {
    /// The pool's name.
    pub name: String,
    /// Endpoints.
    pub endpoints: usize,
    /// Endpoints that may be given requests.
    pub ready: usize,
    /// Requests in flight.
    pub inflight_requests: u64,
}

/// Routes requests by compiled plans. Immutable but for the index of models.
#[derive(Debug)]
pub struct Router {
    pools: Vec<PoolRuntime>,
    /// Those of all pools.
    parsers: Parsers,
    models: ArcSwap<ModelIndex>,
    shared: Arc<Shared>,
    /// Tells threads that their random generator belongs to an older router.
    generation: u64,
    tracer: Option<Tracer>,
}

impl Router {
    /// A router over `pools`.
    pub fn new(pools: Vec<PoolRuntime>, shared: Arc<Shared>) -> Self {
        let generation = GENERATIONS.fetch_add(1, Relaxed) + 1;
        let models = ArcSwap::from_pointee(ModelIndex::build(&pools));
        let all = pools.iter().map(|one| one.plan.parsers.clone()).reduce(|all, more| all.union(&more));
        Self { parsers: all.unwrap_or_default(), pools, models, shared, generation, tracer: None }
    }

    /// The same, whose fronts trace requests.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// What makes the span of a request, if requests are traced.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.as_ref()
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Its pools.
    pub fn pools(&self) -> &[PoolRuntime] {
        &self.pools
    }

    /// The parsers of all pools: how a request's body is read before its pool is known.
    pub fn parsers(&self) -> &Parsers {
        &self.parsers
    }

    /// Whether there are pools, and each of them has a parser for what its endpoints speak.
    pub fn reads_every_pool(&self) -> bool {
        let reads = |one: &PoolRuntime| one.plan.parsers.claims_protocol(&one.pool.app_protocol());
        !self.pools.is_empty() && self.pools.iter().all(reads)
    }

    /// The last decisions, and what else survives a reload.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Reads the endpoints' model lists again. Call it when endpoints or their models have changed.
    pub fn refresh_models(&self) {
        let built = ModelIndex::build(&self.pools);
        if **self.models.load() != built {
            self.models.store(Arc::new(built));
        }
    }

    /// Models and adapters that the router serves, in order, each with its pool's name.
    pub fn model_names(&self) -> Vec<(String, String)> {
        let models = self.models.load();
        models.names().into_iter().map(|(model, pool)| (model.to_owned(), self.pools[pool].name.to_string())).collect()
    }

    /// How many endpoints each pool has.
    pub fn status(&self) -> Vec<PoolStatus> {
        let now = self.now();
        self.pools
            .iter()
            .map(|runtime| {
                let snapshot = runtime.pool.load();
                let ready = |e: &&Arc<Endpoint>| e.health.readiness() == Readiness::Ready && e.health.may_serve(now);
                PoolStatus {
                    name: runtime.name.to_string(),
                    endpoints: snapshot.endpoints.len(),
                    ready: snapshot.endpoints.iter().filter(ready).count(),
                    inflight_requests: snapshot.endpoints.iter().map(|e| e.ledger.requests()).sum(),
                }
            })
            .collect()
    }

    /// Gives a request its endpoint. `body` is the whole body if the path is parsed, and may be empty otherwise.
    ///
    /// # Errors
    /// The body is not what its API takes, nobody serves the model, or no endpoint can take the request.
    pub fn route(&self, head: &RequestHead<'_>, body: &Bytes) -> Result<Routed, Refusal> {
        self.attempt(head, body, None, &mut Vec::new(), None)
    }

    /// The same for a request whose body was read while it came: `scanner` is one of the head's API that was fed with the beginning
    /// of `body`, and found nothing wrong with it.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub fn route_read(&self, head: &RequestHead<'_>, body: &Bytes, scanner: Scanner) -> Result<Routed, Refusal> {
        self.attempt(head, body, Some(scanner), &mut Vec::new(), None)
    }

    /// Gives a request another endpoint than those that it was sent to already, the last of which failed it for the reason
    /// `failed`. Its entry in that one's ledger ends now, whatever comes of it.
    ///
    /// # Errors
    /// As [`Router::route`]; the request is then handed back, to be finished.
    pub fn reroute(
        &self,
        mut routed: Routed,
        failed: Reason,
        head: &RequestHead<'_>,
        body: &Bytes,
    ) -> Result<Routed, Box<(Routed, Refusal)>> {
        routed.charge = None;
        routed.tried.push(Arc::clone(&routed.endpoint));
        match self.attempt(head, body, None, &mut routed.tried, Some(&routed.resolution)) {
            Ok(mut next) => {
                next.running = routed.running.take();
                routed.moved_on(failed);
                Ok(next)
            }
            Err(refusal) => Err(Box::new((routed, refusal))),
        }
    }

    /// `tried` goes into the result, or stays as it is. What objects made of the request the first time holds for all tries.
    fn attempt(
        &self,
        head: &RequestHead<'_>,
        body: &Bytes,
        read: Option<Scanner>,
        tried: &mut Vec<Arc<Endpoint>>,
        before: Option<&Resolution>,
    ) -> Result<Routed, Refusal> {
        let mut spans = head.trace.and_then(Orchestration::begin);
        let first = tried.is_empty();
        let result = scratch::with(|scratch| {
            let started = self.now();
            let (pool_index, is_read) = self.resolve(head, body, read, scratch)?;
            let unread = RequestHead { api: None, ..*head };
            let head = if is_read { head } else { &unread };
            let runtime = &self.pools[pool_index];
            let resolution = before.cloned().unwrap_or_else(|| self.apply_objects(runtime, head, body, scratch));
            let head = &RequestHead { priority: resolution.priority, ..*head };
            let scheduling = self.now();
            if let Some(spans) = &mut spans {
                let asked = head.api.and_then(|_| scratch.scanned.model(body)).unwrap_or_default();
                spans.of(&asked, resolution.served.as_deref(), head.priority, &runtime.name);
            }
            let weight = runtime.metrics.timed_decisions.weigh(scheduling);
            let decided =
                weighted(weight, || self.decide(runtime, head, body, resolution, tried, started, scratch, spans.as_mut()));
            let now = self.now();
            self.shared.llm_d.scheduling.observe(now.since(scheduling).as_secs_f64());
            match decided {
                Ok(decision) => {
                    let tried = std::mem::take(tried);
                    Ok(self.send_to(decision, runtime, pool_index, head, body, tried, now, scratch))
                }
                Err(refusal) => {
                    if tried.is_empty() {
                        runtime.metrics.refused(refusal.outcome.reason.as_str());
                        let model = head.api.and_then(|_| scratch.scanned.model(body)).unwrap_or_default();
                        let fairness_id = &scratch.decide.fairness_id;
                        let labels = Labels { model: &model, target: &model, fairness_id, priority: head.priority };
                        self.shared.llm_d.series.get(labels).failed(llm_d::error_code(refusal.outcome.status));
                        self.shared.llm_d.attempts.failed(&model);
                    }
                    Err(refusal)
                }
            }
        });
        if first {
            self.shared.llm_d.request_processing.observe(self.now().since(head.received).as_secs_f64());
        }
        if let Some(spans) = spans {
            spans.end(head.id, &result);
        }
        result
    }

    /// Gives a request its priority, and the model that is really served.
    fn apply_objects(&self, runtime: &PoolRuntime, head: &RequestHead<'_>, body: &Bytes, scratch: &mut Scratch) -> Resolution {
        let mut found = Resolution::default();
        let objects = runtime.objects.load();
        objects.prioritize(head.headers, head.priority, &mut found);
        // Other bodies have no place for another model.
        if head.api.is_some_and(Api::rewrites_model) {
            let asked = scratch.scanned.model(body);
            let random = random_of(&mut scratch.random, self.generation, runtime.plan.seed);
            objects.rewrite(asked.as_deref(), head.headers, &self.shared.metrics, random, &mut found);
        }
        found
    }

    /// Reads the body, and finds the pool and whether its plan wants the body read.
    fn resolve(
        &self,
        head: &RequestHead<'_>,
        body: &Bytes,
        read: Option<Scanner>,
        scratch: &mut Scratch,
    ) -> Result<(usize, bool), Refusal> {
        let Some(api) = head.api else {
            return match self.models.load().resolve(None) {
                Resolved::Pool(pool) => Ok((pool, false)),
                // Paths that are not parsed go to the first pool.
                Resolved::Unknown | Resolved::Ambiguous if !self.pools.is_empty() => Ok((0, false)),
                Resolved::Unknown | Resolved::Ambiguous => Err(Refusal::no_model()),
            };
        };
        let known = match read {
            Some(mut scanner) => {
                let finished = scanner.finish(body);
                scratch.scanned = scanner.into_scanned();
                finished.map_err(Refusal::from)
            }
            None => scan(api, body, &mut scratch.scanned).map_err(Refusal::from),
        };
        let resolved = known.and_then(|()| {
            let model = scratch.scanned.model(body);
            let models = self.models.load();
            let wanted = wanted_model(head.headers).map(|wanted| models.resolve(Some(wanted)));
            match wanted.filter(|found| *found != Resolved::Unknown).unwrap_or_else(|| models.resolve(model.as_deref())) {
                Resolved::Pool(pool) => self.reading(pool, api, head.path),
                Resolved::Unknown => Err(Refusal::unknown_model(model.as_deref().unwrap_or_default())),
                // An API that names no model goes where paths go that are not parsed.
                Resolved::Ambiguous if !api.rewrites_model() => self.reading(0, api, head.path),
                Resolved::Ambiguous => Err(Refusal::no_model()),
            }
        });
        resolved.inspect_err(|refusal| {
            self.shared.metrics.refused("", refusal.outcome.reason.as_str());
            // A model that nobody serves has no name here: clients would choose the names of series.
            let labels = Labels { model: "", target: "", fairness_id: "", priority: head.priority };
            self.shared.llm_d.series.get(labels).failed(llm_d::error_code(refusal.outcome.status));
        })
    }

    /// Whether the pool's own parsers read this path, too.
    fn reading(&self, pool: usize, api: Api, path: &str) -> Result<(usize, bool), Refusal> {
        if self.pools.len() == 1 {
            return Ok((pool, true));
        }
        match self.pools[pool].plan.parsers.reading(path) {
            Reading::As(own) => Ok((pool, own == api)),
            Reading::Refused => Err(Refusal::no_parser(path)),
            _ => Ok((pool, false)),
        }
    }

    /// Runs the plan until a chosen endpoint's circuit lets the request through.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request, borrowed separately")]
    fn decide(
        &self,
        runtime: &PoolRuntime,
        head: &RequestHead<'_>,
        body: &Bytes,
        resolution: Resolution,
        tried: &[Arc<Endpoint>],
        started: Time,
        scratch: &mut Scratch,
        spans: Option<&mut Orchestration>,
    ) -> Result<Decision, Refusal> {
        let Scratch { scanned, random, decide, .. } = scratch;
        let snapshot = runtime.pool.snapshot();
        let random = random_of(random, self.generation, runtime.plan.seed);
        let scanned = head.api.map(|_| &*scanned);
        let served = resolution.served.as_deref();
        let incoming = Incoming { head, body, scanned, served, now: started, stale_after: runtime.stale_after, tried };
        let picked = match spans {
            None => decide::decide(&runtime.plan, &incoming, &snapshot.endpoints, decide, random, &mut ())?,
            Some(spans) => {
                let watch = &mut spans.watch(&runtime.plan, &snapshot.endpoints);
                decide::decide(&runtime.plan, &incoming, &snapshot.endpoints, decide, random, watch)?
            }
        };
        let max_tokens = scanned.and_then(|found| found.max_tokens());
        let (profile, chosen) = (picked.profile, picked.primary);
        let outgoing = std::mem::take(&mut decide.outgoing);
        Ok(Decision { snapshot, profile, chosen, started, max_tokens, outgoing, resolution })
    }

    /// Enters the request in the ledger and the decision log.
    #[expect(clippy::too_many_arguments, reason = "the parts of one request, borrowed separately")]
    fn send_to(
        &self,
        mut decision: Decision,
        runtime: &PoolRuntime,
        pool_index: usize,
        head: &RequestHead<'_>,
        body: &Bytes,
        tried: Vec<Arc<Endpoint>>,
        decided: Time,
        scratch: &mut Scratch,
    ) -> Routed {
        let endpoint = Arc::clone(&decision.snapshot.endpoints[decision.chosen as usize]);
        let attributes = &scratch.decide.attributes;
        let prompt_tokens = attributes.prompt_tokens.unwrap_or(0);
        let uncached = attributes.uncached_tokens.get(decision.chosen as usize).copied().unwrap_or(prompt_tokens);
        let output = runtime.plan.in_flight.map_or(0, |policy| policy.output_tokens(prompt_tokens, decision.max_tokens));
        let charge = endpoint.ledger.charge(if runtime.plan.in_flight.is_some() { uncached } else { 0 }, output);
        let metrics = &runtime.metrics;
        metrics.decision.observe(decided.since(decision.started).as_secs_f64());
        if tried.is_empty() {
            metrics.prompt_tokens.inc_by(prompt_tokens);
            runtime.objects.load().count(decision.resolution.priority);
        }
        let model = head.api.and_then(|_| scratch.scanned.model(body)).unwrap_or_default();
        let fairness_id = &scratch.decide.fairness_id;
        let target = decision.resolution.served.as_deref().unwrap_or(&model);
        let labels = Labels { model: &model, target, fairness_id, priority: head.priority };
        let llm_d = &self.shared.llm_d;
        let series = llm_d.series.get_again(labels, &mut scratch.last_series);
        llm_d.attempts.succeeded(target, &endpoint);
        let producer = runtime.in_flight.as_ref();
        let in_flight = producer.map(|producer| llm_d.in_flight.enter(&endpoint, &series, producer, uncached, output));
        let running = tried.is_empty().then(|| Running::new(series, body.len(), head.received));
        for (hits, found) in runtime.prefix_hits.iter().zip(attributes.prefixes()) {
            hits.observe(found.matched(decision.chosen as usize), found.total_blocks, found.block_size_tokens);
        }
        for (hits, found) in runtime.encoder_hits.iter().zip(attributes.encoders()) {
            hits.observe(found, &decision.snapshot.endpoints, decision.chosen as usize);
        }
        if let Some(prefix) = attributes.prefixes().first() {
            metrics.prefix_blocks.inc_by(u64::from(prefix.total_blocks));
            metrics.prefix_blocks_matched.inc_by(u64::from(prefix.matched(decision.chosen as usize)));
        }
        let attempt = u32::try_from(tried.len()).unwrap_or(u32::MAX).saturating_add(1);
        let record = self.record(&decision, runtime, head.id, attempt, decided, scratch);
        let split = runtime.plan.handler.plugin.split(scratch.decide.cycle.results());
        if let Some(split) = split.filter(|_| attempt == 1) {
            runtime.splits.count(&model, split);
        }
        let mut outgoing = std::mem::take(&mut decision.outgoing);
        let trace = head.trace.and_then(|parent| trace::attempt(parent, &endpoint, head, attempt, &mut outgoing));
        let named = |index: &u32| Arc::clone(&decision.snapshot.endpoints[*index as usize]);
        let others = scratch.decide.cycle.targets(decision.profile).iter().filter(|index| **index != decision.chosen);
        let alternates = others.map(named).collect();
        let scores = if head.wants_scores { scores(&decision, &scratch.decide.cycle) } else { Vec::new() };
        let body = match &decision.resolution.served {
            Some(served) => Bytes::from(splice_model(body, &scratch.scanned, served).concat()),
            None => body.clone(),
        };
        Routed {
            pool_index,
            profile: decision.profile,
            prompt_tokens: attributes.prompt_tokens,
            endpoint,
            alternates,
            scores,
            body,
            pool: Arc::clone(&runtime.pool),
            plan: Arc::clone(&runtime.plan),
            shared: Arc::clone(&self.shared),
            metrics: Arc::clone(metrics),
            charge: Some(charge),
            outgoing,
            proxy: Proxy::Ourselves,
            usage: None,
            resolution: decision.resolution,
            running,
            in_flight,
            streaming: head.api.is_some() && scratch.scanned.stream(),
            observed: Observed::new(head.api),
            tried,
            decided,
            first_byte: None,
            status: 0,
            record,
            split,
            trace,
            finished: false,
        }
    }

    fn record(
        &self,
        decision: &Decision,
        runtime: &PoolRuntime,
        id: &str,
        attempt: u32,
        decided: Time,
        scratch: &Scratch,
    ) -> Option<u64> {
        let profile = runtime.plan.profiles.get(decision.profile)?;
        let log = &self.shared.decisions;
        let seen = scratch.decide.cycle.candidates(decision.profile);
        let totals = scratch.decide.cycle.totals(decision.profile);
        let keep = log.candidates_for(profile.scorers.len());
        log.write(id, |record| {
            record.at = Some(SystemTime::now());
            record.context = Some(Context {
                pool: Arc::clone(&runtime.name),
                plan: Arc::clone(&runtime.plan),
                snapshot: Arc::clone(&decision.snapshot),
            });
            record.attempt = attempt;
            let resolution = &decision.resolution;
            record.priority = resolution.priority;
            record.objective.clone_from(&resolution.objective);
            record.served.clone_from(&resolution.served);
            record.rule.clone_from(&resolution.rule);
            record.decided = decided;
            record.decision_us = u32::try_from(decided.since(decision.started).as_micros()).unwrap_or(u32::MAX);
            record.known = decision.snapshot.endpoints.len() as u32;
            record.candidates_seen = seen.len() as u32;
            record.prompt_tokens = scratch.decide.attributes.prompt_tokens;
            let prefix = scratch.decide.attributes.prefixes().first();
            record.total_blocks = prefix.map_or(0, |found| found.total_blocks);
            record.block_size_tokens = prefix.map_or(0, |found| found.block_size_tokens);
            record.chosen = decision.chosen;
            record.profile = decision.profile as u32;
            for (row, (index, total)) in seen.iter().zip(totals).enumerate() {
                insert_best(
                    &mut record.candidates,
                    keep,
                    Candidate {
                        index: *index,
                        row: row as u32,
                        total: *total,
                        matched_blocks: prefix.map_or(0, |found| found.matched(*index as usize)),
                        state: scratch.decide.states[*index as usize],
                    },
                    decision.chosen,
                );
            }
            for scorer in 0..profile.scorers.len() {
                let scores = scratch.decide.cycle.scores(decision.profile, scorer);
                record.scores.extend(record.candidates.iter().map(|one| scores.get(one.row as usize).copied().unwrap_or(0.0)));
            }
        })
    }
}

fn scores(decision: &Decision, cycle: &weir_schedule::Scratch) -> Vec<(Arc<Endpoint>, f64)> {
    let seen = cycle.candidates(decision.profile).iter().zip(cycle.totals(decision.profile));
    seen.map(|(index, total)| (Arc::clone(&decision.snapshot.endpoints[*index as usize]), *total)).collect()
}

/// The thread's generator of this router.
fn random_of(slot: &mut Option<(u64, Rng)>, generation: u64, seed: u64) -> &mut Rng {
    let (known, random) = slot.get_or_insert_with(|| (generation, Rng::with_seed(seed)));
    if *known != generation {
        (*known, *random) = (generation, Rng::with_seed(seed));
    }
    random
}

struct Decision {
    snapshot: Arc<Snapshot>,
    profile: usize,
    chosen: u32,
    started: Time,
    max_tokens: Option<u64>,
    outgoing: Outgoing,
    resolution: Resolution,
}

/// Keeps the `keep` best by total, best first, and the chosen one whatever its total.
fn insert_best(best: &mut Vec<Candidate>, keep: usize, one: Candidate, chosen: u32) {
    let place = best.partition_point(|other| other.total >= one.total);
    if best.len() < keep {
        return best.insert(place, one);
    }
    // The chosen one stays at the end if its total would not keep it here.
    let guarded = best.last().is_some_and(|last| last.index == chosen);
    let last = if guarded && one.index != chosen { keep.saturating_sub(2) } else { keep - 1 };
    let fits = place <= last && !(guarded && keep == 1);
    if fits || one.index == chosen {
        best.remove(last);
        best.insert(place.min(last), one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(index: u32, total: f64) -> Candidate {
        Candidate { index, total, ..Candidate::default() }
    }

    #[test]
    fn the_record_keeps_the_best_and_always_the_chosen_one() {
        let mut best = Vec::new();
        for (index, total) in [(0, 0.1), (1, 0.9), (2, 0.0), (3, 0.5), (4, 0.7)] {
            insert_best(&mut best, 3, candidate(index, total), 2);
        }
        assert_eq!(best.iter().map(|one| one.index).collect::<Vec<_>>(), [1, 4, 2]);
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut best = Vec::new();
            for index in order {
                insert_best(&mut best, 2, candidate(index, [0.3, 0.2, 0.9, 0.1][index as usize]), 1);
            }
            assert_eq!(best.iter().map(|one| one.index).collect::<Vec<_>>(), [2, 1], "{order:?}");
        }
    }
}
