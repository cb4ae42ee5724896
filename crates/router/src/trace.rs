//! Spans of a request's way through the router, named and labelled as llm-d's are.
//!
//! ```text
//! gateway.request                      the front's, from the request's head to the end of its answer
//! ├─ gateway.request_orchestration     from the body to the endpoint
//! │  ├─ pick_disagg_profile            what a handler of several profiles decided
//! │  ├─ run_scheduler_profile
//! │  │  ├─ filter_endpoints
//! │  │  ├─ llm_d.epp.scoring
//! │  │  │  └─ llm_d.epp.scorer.TYPE
//! │  │  └─ pick_endpoints
//! │  └─ prepare_disaggregation
//! └─ gateway.attempt                   one try at one endpoint, whose own spans hang on it
//! ```

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use http::header::HeaderName;
use weir_api::headers::{ENCODER_HOSTS_PORTS, PREFILLER_HOST_PORT};
use weir_plan::{Outgoing, Plan, Profile};
use weir_pool::Endpoint;
use weir_protocol::Usage;
use weir_schedule::{Step, Watch};
use weir_traces::{Parent, Span, SpanKind};

use crate::{Refusal, RequestHead, Routed};

/// Handlers that decide about several workers.
const DIVIDING: [(&str, &str); 2] =
    [("disagg-profile-handler", "pick_disagg_profile"), ("pd-profile-handler", "pick_pd_profile")];
/// Candidates that a picker's span names.
const TOP: usize = 5;

/// The span of a decision, which is recorded.
pub(crate) struct Orchestration {
    span: Span,
    parent: Parent,
}

impl Orchestration {
    pub(crate) fn begin(request: &Parent) -> Option<Self> {
        let span = request.child("gateway.request_orchestration", SpanKind::Internal, None)?;
        Some(Self { parent: span.parent(), span })
    }

    /// What makes spans of the steps of a cycle.
    pub(crate) fn watch<'a>(&self, plan: &'a Plan, endpoints: &'a [Arc<Endpoint>]) -> Cycle<'a> {
        let dividing = DIVIDING.iter().find(|(kind, _)| *kind == plan.handler.kind).map(|(_, span)| *span);
        let parent = self.parent.clone();
        Cycle { plan, endpoints, parent, dividing, since: SystemTime::now(), profile: None, scoring: None }
    }

    /// Whose request it is.
    pub(crate) fn of(&mut self, model: &str, served: Option<&str>, priority: i32, pool: &str) {
        self.span.set("gen_ai.request.model", model.to_owned());
        self.span.set("target_model", served.unwrap_or(model).to_owned());
        self.span.set("request_prio", i64::from(priority));
        self.span.set("weir.pool", pool.to_owned());
    }

    pub(crate) fn end(mut self, id: &str, result: &Result<Routed, Refusal>) {
        self.span.set("gen_ai.request.id", id.to_owned());
        match result {
            Ok(routed) => self.prepared(routed),
            Err(refusal) => {
                self.span.set("error.type", refusal.outcome.reason.as_str());
                self.span.fail(refusal.message.clone());
            }
        }
    }

    /// What a handler of several profiles told the workers.
    fn prepared(&self, routed: &Routed) {
        let Some(split) = routed.split else { return };
        let Some(mut span) = self.parent.child("prepare_disaggregation", SpanKind::Internal, None) else { return };
        let header =
            |name: &'static str| routed.outgoing.headers.get(HeaderName::from_static(name)).and_then(|value| value.to_str().ok());
        let (prefill, encode) = (header(PREFILLER_HOST_PORT), header(ENCODER_HOSTS_PORTS));
        span.set("llm_d.epp.pd.disaggregation_used", prefill.is_some());
        span.set("llm_d.epp.pd.reason", split);
        if let Some((address, port)) = prefill.and_then(|authority| authority.rsplit_once(':')) {
            span.set("llm_d.epp.pd.prefill_pod_address", address.to_owned());
            span.set("llm_d.epp.pd.prefill_pod_port", port.to_owned());
        }
        span.set("llm_d.epp.encode.disaggregation_used", encode.is_some());
        if let Some(endpoints) = encode {
            span.set("llm_d.epp.encode.endpoints", endpoints.to_owned());
        }
    }
}

/// Spans of the steps of a cycle.
pub(crate) struct Cycle<'a> {
    plan: &'a Plan,
    endpoints: &'a [Arc<Endpoint>],
    parent: Parent,
    /// Name of the spans of a handler that divides requests.
    dividing: Option<&'static str>,
    /// When the last step ended.
    since: SystemTime,
    profile: Option<(&'a Profile, Span, Parent)>,
    scoring: Option<(Span, Parent)>,
}

impl Watch for Cycle<'_> {
    fn done(&mut self, step: Step<'_>) {
        let since = std::mem::replace(&mut self.since, SystemTime::now());
        let now = self.since;
        match step {
            Step::Asked { next } => self.asked(next, since, now),
            Step::Filtered { before, after } => self.filtered(before, after, since, now),
            Step::Scored { scorer, scores } => self.scored(scorer, scores, since, now),
            Step::Picked { candidates, totals } => self.picked(candidates, totals, since, now),
            Step::Ended { error } => {
                if let Some((_, mut span, _)) = self.profile.take() {
                    if let Some(error) = error {
                        span.fail(error.to_string());
                    }
                    span.end_at(now);
                }
            }
        }
    }
}

impl Cycle<'_> {
    fn asked(&mut self, next: Option<usize>, since: SystemTime, now: SystemTime) {
        let profile = next.and_then(|place| self.plan.profiles.get(place));
        if let Some(name) = self.dividing
            && let Some(mut span) = self.parent.child(name, SpanKind::Internal, Some(since))
        {
            let decision = profile.map_or(Cow::Borrowed("complete"), |profile| format!("run_{}", profile.name).into());
            span.set("llm_d.epp.profile_handler.decision", decision.into_owned());
            span.end_at(now);
        }
        let Some(profile) = profile else { return };
        let Some(mut span) = self.parent.child("run_scheduler_profile", SpanKind::Internal, Some(now)) else { return };
        span.set("llm_d.epp.scheduling.profile.name", profile.name.clone());
        let parent = span.parent();
        self.profile = Some((profile, span, parent));
    }

    fn filtered(&mut self, before: usize, after: usize, since: SystemTime, now: SystemTime) {
        let Some((profile, _, parent)) = &self.profile else { return };
        if let Some(mut span) = parent.child("filter_endpoints", SpanKind::Internal, Some(since)) {
            span.set("llm_d.epp.filter.candidate_endpoints", before as i64);
            span.set("llm_d.epp.filter.filtered_endpoints", after as i64);
            span.end_at(now);
        }
        if after > 0
            && !profile.scorers.is_empty()
            && let Some(mut span) = parent.child("llm_d.epp.scoring", SpanKind::Internal, Some(now))
        {
            span.set("llm_d.epp.scorer.count", profile.scorers.len() as i64);
            span.set("llm_d.epp.scorer.candidate_endpoints", after as i64);
            let parent = span.parent();
            self.scoring = Some((span, parent));
        }
    }

    fn scored(&mut self, scorer: usize, scores: &[f64], since: SystemTime, now: SystemTime) {
        let (Some((profile, ..)), Some((_, parent))) = (&self.profile, &self.scoring) else { return };
        let Some(scored) = profile.scorers.get(scorer) else { return };
        let name = format!("llm_d.epp.scorer.{}", scored.scorer.kind);
        if let Some(mut span) = parent.child(name, SpanKind::Internal, Some(since)) {
            span.set("llm_d.epp.scorer.type", scored.scorer.kind);
            span.set("llm_d.epp.scorer.name", scored.scorer.name.clone());
            span.set("llm_d.epp.scorer.weight", scored.weight);
            span.set("llm_d.epp.scorer.candidate_endpoints", scores.len() as i64);
            span.set("llm_d.epp.scorer.endpoints_scored", scores.len() as i64);
            span.set("llm_d.epp.scorer.score.max", scores.iter().copied().fold(0.0, f64::max));
            span.set("llm_d.epp.scorer.score.avg", scores.iter().sum::<f64>() / scores.len().max(1) as f64);
            span.end_at(now);
        }
        if scorer + 1 == profile.scorers.len()
            && let Some((span, _)) = self.scoring.take()
        {
            span.end_at(now);
        }
    }

    fn picked(&mut self, candidates: &[u32], totals: &[f64], since: SystemTime, now: SystemTime) {
        let Some((_, _, parent)) = &self.profile else { return };
        let Some(mut span) = parent.child("pick_endpoints", SpanKind::Internal, Some(since)) else { return };
        let mut best: Vec<(u32, f64)> = candidates.iter().copied().zip(totals.iter().copied()).collect();
        best.sort_by(|one, other| other.1.total_cmp(&one.1));
        best.truncate(TOP);
        let names = best.iter().filter_map(|(index, _)| self.endpoints.get(*index as usize)).map(|one| one.id().to_owned());
        span.set("llm_d.epp.picker.candidate_endpoints", candidates.len() as i64);
        span.set("llm_d.epp.picker.top_endpoints", names.collect::<Vec<_>>().join(","));
        span.set("llm_d.epp.picker.top_scores", weir_traces::numbers(best.iter().map(|(_, total)| *total)));
        span.end_at(now);
    }
}

/// The span of one try. What hangs on it at the endpoint is told in a header.
pub(crate) fn attempt(
    parent: &Parent,
    endpoint: &Endpoint,
    head: &RequestHead<'_>,
    attempt: u32,
    outgoing: &mut Outgoing,
) -> Option<Box<Span>> {
    let mut span = parent.child("gateway.attempt", SpanKind::Client, None);
    if let Some(span) = &mut span {
        span.set("http.request.method", head.method.as_str().to_owned());
        span.set("server.address", endpoint.spec().url.host.bare().into_owned());
        span.set("server.port", i64::from(endpoint.spec().url.port));
        span.set("weir.endpoint", endpoint.id().to_owned());
        if attempt > 1 {
            span.set("http.request.resend_count", i64::from(attempt) - 1);
        }
    }
    let told = span.as_ref().map_or_else(|| parent.header(), |span| span.parent().header());
    if let Some((name, value)) = told {
        outgoing.set(name, value);
    }
    span.map(Box::new)
}

/// A try is over.
pub(crate) fn answered(mut span: Span, status: u16, reason: Option<&'static str>, usage: Option<&Usage>) {
    if let Some(usage) = usage {
        span.set("gen_ai.usage.input_tokens", usage.prompt_tokens as i64);
        span.set("gen_ai.usage.output_tokens", usage.completion_tokens as i64);
    }
    span.answered(status, reason);
}
