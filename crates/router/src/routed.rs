//! A request that has its endpoint.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use weir_api::Reason;
use weir_plan::{Outgoing, Plan, Report, Served, Told};
use weir_pool::{Charge, Endpoint, Pool, Subset, Time};
use weir_protocol::Usage;

use crate::{Shared, decisions::Outcome, metrics::PoolMetrics, pool_objects::Resolution};

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
    pub(crate) tried: Vec<Arc<Endpoint>>,
    pub(crate) decided: Time,
    pub(crate) first_byte: Option<Time>,
    pub(crate) status: u16,
    pub(crate) record: Option<u64>,
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
        for plugin in &self.plan.response_headers {
            plugin.plugin.respond(&served, headers);
        }
    }

    /// Whether somebody wants to know the tokens used, so that responses must be looked at.
    pub fn wants_usage(&self) -> bool {
        !self.plan.reporters.is_empty()
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
        let total = self.shared.clock.now().since(self.decided);
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

    /// The request went to another endpoint: this try is no end of it.
    pub(crate) fn moved_on(mut self, failed: Reason) {
        self.finished = true;
        self.metrics.retries.inc();
        self.note(Some(failed.as_str()), self.shared.clock.now().since(self.decided));
    }

    fn note(&self, reason: Option<&'static str>, total: Duration) {
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
