//! A request that has its endpoint.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use weir_api::Reason;
use weir_plan::{Outgoing, Plan, Report, Served, Told};
use weir_pool::{Charge, Endpoint, Pool, Subset, Time};
use weir_protocol::Usage;
use weir_traces::Span;

use crate::{
    Shared,
    decisions::Outcome,
    llm_d::{self, InFlightEntry, MODEL_SERVER_ERROR, Running, weighted},
    metrics::PoolMetrics,
    observed::Observed,
    pool_objects::Resolution,
    trace,
};

/// How a routed request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The whole response went to the client.
    Complete,
    /// The client left.
    ClientGone,
    /// It failed, and the client was told why.
    Failed(Reason),
}

/// Who carries the request to its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// This process.
    #[default]
    Ourselves,
    /// A proxy, whose metadata names the endpoint that answered.
    Named(String),
    /// A proxy, whose metadata does not name it.
    NotNamed,
    /// A proxy that sent no metadata.
    Silent,
}

/// A request that has its endpoint. It is entered in that endpoint's ledger until it is finished or dropped; dropping it
/// unfinished means that the client left.
#[derive(Debug)]
pub struct Routed {
    /// The pool's place in the router.
    pub pool_index: usize,
    /// Where the request goes.
    pub endpoint: Arc<Endpoint>,
    /// Where it may go if that endpoint fails, best first: what the picker chose besides.
    pub alternates: Vec<Arc<Endpoint>>,
    /// The sum of scores of every candidate, if the front wanted to know.
    pub scores: Vec<(Arc<Endpoint>, f64)>,
    /// The body to send.
    pub body: Bytes,
    /// What plugins change of the request on its way.
    pub outgoing: Outgoing,
    /// Who carries it.
    pub proxy: Proxy,
    /// What the engine says of the tokens it used, as far as it is known.
    pub usage: Option<Usage>,
    pub(crate) resolution: Resolution,
    pub(crate) profile: usize,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<PoolMetrics>,
    pub(crate) charge: Option<Charge>,
    /// Moves to the next try with the request.
    pub(crate) running: Option<Running>,
    pub(crate) in_flight: Option<InFlightEntry>,
    /// A stream was asked for.
    pub(crate) streaming: bool,
    pub(crate) observed: Observed,
    pub(crate) tried: Vec<Arc<Endpoint>>,
    pub(crate) decided: Time,
    pub(crate) first_byte: Option<Time>,
    pub(crate) status: u16,
    pub(crate) record: Option<u64>,
    /// Which workers serve it, if its profile handler divides requests.
    pub(crate) split: Option<&'static str>,
    /// The span of this try.
    pub(crate) trace: Option<Box<Span>>,
    pub(crate) finished: bool,
}

impl Routed {
    /// Name of the profile that chose the endpoint.
    pub fn profile_name(&self) -> Option<&str> {
        self.plan.profiles.get(self.profile).map(|one| one.name.as_str())
    }

    /// Tokens of the prompt, exact or estimated; `None` if nobody counted.
    pub fn prompt_tokens(&self) -> Option<u64> {
        self.prompt_tokens
    }

    /// Its priority: that of its objective, or what the caller said.
    pub fn priority(&self) -> i32 {
        self.resolution.priority
    }

    /// The model that is really served and the one that the client asked for, if they are not the same: `body` names the first, and
    /// responses are to name the second. The second is empty if the client named none.
    pub fn rewritten(&self) -> Option<(&str, &str)> {
        self.resolution.served.as_deref().map(|served| (served, &*self.resolution.asked))
    }

    /// Tries so far, this one included.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Somebody else sent the request to the endpoint at `address` (`ip:port`) instead: it is accounted there from now on. Returns
    /// whether that changed anything.
    pub fn served_at(&mut self, address: &str) -> bool {
        let there = Subset::new([address]);
        if there.contains(&self.endpoint) {
            return false;
        }
        let found = self.alternates.iter().find(|one| there.contains(one)).cloned();
        let found = found.or_else(|| self.pool.load().endpoints.iter().find(|one| there.contains(one)).cloned());
        let Some(endpoint) = found else { return false };
        if let Some(charge) = &mut self.charge {
            charge.move_to(&endpoint.ledger);
        }
        self.endpoint = endpoint;
        true
    }

    /// The endpoint answered with this head, which tells how the body is to be read. Without this call it is guessed from the body's
    /// beginning.
    pub fn response_form(&mut self, status: StatusCode, headers: &HeaderMap) {
        let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        // What an error says of tokens is nothing that was computed.
        self.observed.form(kind, headers.contains_key(CONTENT_ENCODING) || !status.is_success());
    }

    /// The endpoint answered with this head; plugins add their headers to what the client will see.
    pub fn response_head(&mut self, status: StatusCode, headers: &mut HeaderMap) {
        self.status = status.as_u16();
        let told = match &self.proxy {
            Proxy::Ourselves => Told::Directly,
            Proxy::Named(name) => Told::ByProxy(name),
            Proxy::NotNamed => Told::NotNamed,
            Proxy::Silent => Told::NotTold,
        };
        let served = Served { endpoint: &self.endpoint, told };
        let started = self.shared.clock.now();
        let weight = self.metrics.timed_responses.weigh(started);
        weighted(weight, || {
            for plugin in &self.plan.response_headers {
                plugin.plugin.respond(&served, headers);
            }
        });
        if weight > 0 {
            let spent = self.shared.clock.now().since(started);
            self.shared.llm_d.response_processing.observe_times(spent.as_secs_f64(), weight);
        }
    }

    /// A piece of the response's body is here. It is searched for the tokens used, which are in [`usage`](Self::usage) from the
    /// end on.
    pub fn observe(&mut self, piece: &[u8], now: Time) {
        if piece.is_empty() {
            return;
        }
        self.first_byte(now);
        let before = self.observed.piece(piece, self.streaming, now);
        let Some(running) = self.running.as_ref().filter(|_| self.streaming && self.status < 400) else { return };
        match before {
            None => running.series.ttft[1].observe(now.since(running.received).as_secs_f64()),
            Some(before) => running.series.itl.observe(now.since(before).as_secs_f64()),
        }
    }

    /// The body has ended: what was reported of the tokens used is in [`usage`](Self::usage).
    pub fn body_ended(&mut self) {
        if self.usage.is_none() {
            self.usage = self.observed.usage();
        }
    }

    /// What the plan's reporters make of the tokens used: numbers for the proxy's metadata. Empty while the usage is not known.
    pub fn reports(&self) -> impl Iterator<Item = Report> {
        let usage = self.usage.as_ref();
        self.plan.reporters.iter().filter_map(move |one| one.plugin.report(usage?))
    }

    /// The first byte of the response's body is here. Calling it again does nothing.
    pub fn first_byte(&mut self, now: Time) {
        if self.first_byte.is_none() {
            self.first_byte = Some(now);
            self.metrics.first_byte.observe(now.since(self.decided).as_secs_f64());
            if let Some(charge) = &mut self.charge {
                charge.prompt_done();
            }
            if let Some(entry) = &mut self.in_flight {
                entry.prompt_done();
            }
            if let Some(span) = &mut self.trace {
                span.event("first_byte");
            }
        }
    }

    /// The end. Exactly one end counts: the first.
    pub fn finish(mut self, end: End) {
        self.end(end);
    }

    fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        self.charge = None;
        self.in_flight = None;
        self.body_ended();
        let now = self.shared.clock.now();
        self.count(end, now);
        let total = now.since(self.decided);
        self.metrics.duration.observe(total.as_secs_f64());
        let reason = match end {
            End::Complete => {
                self.metrics.complete.inc();
                None
            }
            End::ClientGone => {
                self.metrics.client_gone.inc();
                Some(Reason::ClientDisconnected.as_str())
            }
            End::Failed(reason) => {
                self.metrics.failed(reason.as_str());
                Some(reason.as_str())
            }
        };
        self.note(reason, total);
    }

    /// The same under llm-d's names.
    fn count(&mut self, end: End, now: Time) {
        let Some(running) = self.running.take() else { return };
        let series = &running.series;
        let duration = now.since(running.received).as_secs_f64();
        if end == End::Complete {
            series.duration.observe(duration);
        }
        match end {
            End::ClientGone => return,
            End::Failed(reason) => {
                let status = reason.status();
                series.failed(if matches!(status, 502 | 504) { MODEL_SERVER_ERROR } else { llm_d::error_code(status) });
                return;
            }
            End::Complete if self.status >= 400 => {
                series.failed(MODEL_SERVER_ERROR);
                return;
            }
            End::Complete => {}
        }
        if self.observed.bytes > 0 {
            series.response_bytes.observe(self.observed.bytes as f64);
        }
        if !self.streaming {
            series.ttft[0].observe(duration);
        }
        let Some(usage) = &self.usage else { return };
        series.input_tokens.observe(usage.prompt_tokens as f64);
        if let Some(cached) = usage.cached_tokens {
            series.cached_tokens.observe(cached as f64);
        }
        let output = usage.completion_tokens;
        series.output_tokens.observe(output as f64);
        if output > 0 {
            series.ntpot.observe(duration / output as f64);
        }
        if let (true, Some(first), Some(last), 2..) = (self.streaming, self.observed.first, self.observed.last, output) {
            series.tpot.observe(last.since(first).as_secs_f64() / (output - 1) as f64);
        }
    }

    /// The request went to another endpoint: this try is no end of it.
    pub(crate) fn moved_on(mut self, failed: Reason) {
        self.finished = true;
        self.metrics.retries.inc();
        self.note(Some(failed.as_str()), self.shared.clock.now().since(self.decided));
    }

    fn note(&mut self, reason: Option<&'static str>, total: Duration) {
        if let Some(span) = self.trace.take() {
            trace::answered(*span, self.status, reason, self.usage.as_ref());
        }
        let Some(record) = self.record else { return };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let first_byte_us = self.first_byte.map(|at| micros(at.since(self.decided)));
        let outcome = Outcome { status: self.status, reason, first_byte_us, total_us: micros(total) };
        self.shared.decisions.note(record, outcome);
    }
}

impl Drop for Routed {
    fn drop(&mut self) {
        self.end(End::ClientGone);
    }
}
