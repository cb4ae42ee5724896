//! A plan whose plugins are timed. What a plan does, it does not change.

use std::{sync::Arc, time::Instant};

use fastrand::Rng;
use http::HeaderMap;
use weir_plan::{
    Admitter, Attributes, Candidates, DataSet, Figure, Filter, HeaderProcessor, Named, Outgoing, PickError, Picker, Plan,
    PoolView, PreRequest, Producer, ProfileHandler, ProfileResult, RequestAttributes, RequestView, ResponseHeaders, Scorer,
    Scores, Screener, Served, Targets,
};
use weir_pool::Endpoint;

use super::{Histogram, LlmD, sampling::weight};

/// A plugin, and what its calls took.
struct Timed<T: ?Sized> {
    inner: Arc<T>,
    spent: Arc<Histogram>,
}

impl<T: ?Sized> Timed<T> {
    fn time<R>(&self, call: impl FnOnce(&T) -> R) -> R {
        time(&self.spent, || call(&self.inner))
    }
}

fn time<R>(spent: &Histogram, call: impl FnOnce() -> R) -> R {
    let weight = weight();
    if weight == 0 {
        return call();
    }
    let started = Instant::now();
    let result = call();
    spent.observe_times(started.elapsed().as_secs_f64(), weight);
    result
}

/// The plan with a clock around each plugin, labelled as llm-d does.
pub(crate) fn timed(plan: &Plan, llm_d: &LlmD) -> Plan {
    let mut plan = plan.clone();
    fn wrap<T: ?Sized>(llm_d: &LlmD, point: &'static str, one: &Named<Arc<T>>) -> Timed<T> {
        Timed { inner: Arc::clone(&one.plugin), spent: llm_d.plugin(point, one.kind, &one.name) }
    }
    for one in &mut plan.header_processors {
        one.plugin = Arc::new(wrap(llm_d, "RequestHeader", one));
    }
    for one in &mut plan.screeners {
        one.plugin = Arc::new(wrap(llm_d, "Screener", one));
    }
    for one in &mut plan.producers {
        one.plugin = Arc::new(wrap(llm_d, "DataProducer", one));
    }
    for one in &mut plan.admitters {
        one.plugin = Arc::new(wrap(llm_d, "Admission", one));
    }
    for profile in &mut plan.profiles {
        for one in &mut profile.filters {
            one.plugin = Arc::new(wrap(llm_d, "Filter", one));
        }
        for one in &mut profile.scorers {
            one.scorer.plugin = Arc::new(wrap(llm_d, "Scorer", &one.scorer));
        }
        profile.picker.plugin = Arc::new(wrap(llm_d, "Picker", &profile.picker));
    }
    let results = llm_d.plugin("ProcessProfilesResults", plan.handler.kind, &plan.handler.name);
    plan.handler.plugin = Arc::new(TimedHandler { picking: wrap(llm_d, "ProfilePicker", &plan.handler), results });
    for one in &mut plan.pre_request {
        one.plugin = Arc::new(wrap(llm_d, "PreRequest", one));
    }
    for one in &mut plan.response_headers {
        one.plugin = Arc::new(wrap(llm_d, "ResponseReceived", one));
    }
    plan
}

impl HeaderProcessor for Timed<dyn HeaderProcessor> {
    fn process(&self, headers: &HeaderMap, out: &mut RequestAttributes) {
        self.time(|inner| inner.process(headers, out));
    }
}

impl Screener for Timed<dyn Screener> {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn screen(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        self.time(|inner| inner.screen(request, view, random, keep));
    }

    fn figures(&self) -> Vec<Figure> {
        self.inner.figures()
    }
}

impl Admitter for Timed<dyn Admitter> {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn admit(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng) -> Result<(), PickError> {
        self.time(|inner| inner.admit(request, view, random))
    }
}

impl Filter for Timed<dyn Filter> {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, random: &mut Rng, keep: &mut Candidates) {
        self.time(|inner| inner.filter(request, view, random, keep));
    }
}

impl Scorer for Timed<dyn Scorer> {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        self.time(|inner| inner.score(request, view, out));
    }
}

impl Picker for Timed<dyn Picker> {
    fn pick(&self, scores: Scores<'_>, random: &mut Rng, out: &mut Vec<u32>) {
        self.time(|inner| inner.pick(scores, random, out));
    }
}

impl Producer for Timed<dyn Producer> {
    fn reads(&self) -> DataSet {
        self.inner.reads()
    }

    fn produce(&self, request: &RequestView<'_>, endpoints: &[Arc<Endpoint>], out: &mut Attributes) {
        self.time(|inner| inner.produce(request, endpoints, out));
    }

    fn memory(&self) -> Option<(usize, usize)> {
        self.inner.memory()
    }

    fn entries(&self) -> Option<usize> {
        self.inner.entries()
    }
}

impl PreRequest for Timed<dyn PreRequest> {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, outgoing: &mut Outgoing) {
        self.time(|inner| inner.picked(request, targets, attributes, outgoing));
    }
}

impl ResponseHeaders for Timed<dyn ResponseHeaders> {
    fn respond(&self, served: &Served<'_>, headers: &mut HeaderMap) {
        self.time(|inner| inner.respond(served, headers));
    }
}

/// A handler takes part at two points.
struct TimedHandler {
    picking: Timed<dyn ProfileHandler>,
    results: Arc<Histogram>,
}

impl ProfileHandler for TimedHandler {
    fn next(&self, request: &RequestView<'_>, view: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        self.picking.time(|inner| inner.next(request, view, results))
    }

    fn primary(&self, request: &RequestView<'_>, results: &[ProfileResult]) -> Result<usize, PickError> {
        time(&self.results, || self.picking.inner.primary(request, results))
    }

    fn peer(&self, results: &[ProfileResult]) -> Option<u32> {
        self.picking.inner.peer(results)
    }

    fn prefill(&self) -> Option<usize> {
        self.picking.inner.prefill()
    }

    fn split(&self, results: &[ProfileResult]) -> Option<&'static str> {
        self.picking.inner.split(results)
    }
}
