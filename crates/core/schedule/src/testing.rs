//! Endpoints, numbers and a request for tests of single plugins, which are made from configurations as everywhere.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use http::HeaderMap;
use weir_api::{Diagnostics, EndpointPickerConfig};
use weir_plan::{
    Attributes, Column, Columns, CompileOptions, LatencyPrediction, Outgoing, PickError, Plan, PoolView, ProfileResult, Registry,
    RequestView, Targets,
};
use weir_pool::{Endpoint, EndpointSpec, EndpointState, EndpointUrl, Time};
use weir_protocol::{Api, Scanned, scan};

use crate::{Picked, Scratch, produce, run};

pub(crate) fn compile(text: &str) -> Result<Plan, Diagnostics> {
    let mut registry = Registry::default();
    crate::register(&mut registry);
    let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}");
    let config = EndpointPickerConfig::parse(&text)?.value;
    weir_plan::compile(&config, &registry, CompileOptions::default())
}

/// Who finds the numbers that tests of attributes make up.
const FINDERS: &str = "
- {type: core-metrics-extractor, parameters: {engineConfigs: [{name: x, customMetrics: [{attributeKey: Rate, metricSpec: r}]}]}}
- {type: core-metrics-extractor, name: mine, parameters: {engineConfigs: [{name: x, customMetrics: [{attributeKey: Rate, metricSpec: r}]}]}}
- {type: core-metrics-extractor, name: other, parameters: {engineConfigs: [{name: x, customMetrics: [{attributeKey: RunningRequestsSize, metricSpec: r}]}]}}
- {type: multicluster-metrics-extractor}";

fn plan_of(kind: &str, parameters: &str) -> Plan {
    let finders = if kind.starts_with("endpoint-attribute-") { FINDERS } else { "" };
    compile(&format!("plugins:\n- {{type: {kind}, parameters: {parameters}}}{finders}")).unwrap()
}

/// Why parameters are refused.
pub(crate) fn refused(kind: &str, parameters: &str) -> String {
    let notes = compile(&format!("plugins: [{{type: {kind}, parameters: {parameters}}}]")).unwrap_err();
    notes.errors().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(crate) struct Fixture {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) states: Vec<EndpointState>,
    pub(crate) candidates: Vec<u32>,
    pub(crate) attributes: Attributes,
    pub(crate) headers: HeaderMap,
    pub(crate) model: String,
    pub(crate) now: Time,
    pub(crate) priority: i32,
    body: Vec<u8>,
    scanned: Option<Scanned>,
}

impl Fixture {
    /// Endpoints `default/e0`, `default/e1`, … of which nothing is known.
    pub(crate) fn new(count: usize) -> Self {
        Self::labelled(&vec![&[][..]; count])
    }

    /// The same with labels.
    pub(crate) fn labelled(labels: &[&[(&str, &str)]]) -> Self {
        let endpoint = |(i, labels): (usize, &&[(&str, &str)])| {
            let mut spec = EndpointSpec::new(format!("e{i}"), EndpointUrl::http("10.0.0.1", 8_000 + i as u16));
            spec.labels = labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            Arc::new(Endpoint::with_serial(spec, 10 + i as u32))
        };
        let mut attributes = Attributes::default();
        attributes.reset(&Columns { prefix: vec!["p".to_owned()], latency: vec!["l".to_owned()], encoder: vec!["e".to_owned()] });
        Self {
            endpoints: labels.iter().enumerate().map(endpoint).collect(),
            states: vec![EndpointState::default(); labels.len()],
            candidates: (0..labels.len() as u32).collect(),
            attributes,
            headers: HeaderMap::new(),
            model: "m".to_owned(),
            now: Time::from_millis(1_000),
            priority: 0,
            body: Vec::new(),
            scanned: None,
        }
    }

    /// Endpoints that were scraped just now.
    pub(crate) fn scraped(count: usize, state: impl Fn(usize, &mut EndpointState)) -> Self {
        let mut fixture = Self::new(count);
        for (i, one) in fixture.states.iter_mut().enumerate() {
            one.age = Some(Duration::ZERO);
            state(i, one);
        }
        fixture
    }

    /// The request's body.
    pub(crate) fn body(&mut self, api: Api, body: &str) {
        let mut scanned = Scanned::default();
        scan(api, body.as_bytes(), &mut scanned).unwrap();
        self.body = body.as_bytes().to_vec();
        self.scanned = Some(scanned);
    }

    /// A chat of one user message.
    pub(crate) fn chat(&mut self, text: &str) {
        self.body(Api::ChatCompletions, &format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#));
    }

    /// What a prefix producer found.
    pub(crate) fn prefix(&mut self, matched: &[u32], total: u32, block: u32) {
        let found = self.attributes.prefix_mut(Column::for_tests(0)).unwrap();
        found.matched_blocks = matched.to_vec();
        (found.total_blocks, found.block_size_tokens) = (total, block);
    }

    /// Predicted times to the first token and per token, in milliseconds.
    pub(crate) fn latency(&mut self, predicted: &[Option<(f64, f64)>]) {
        let prediction = |(ttft_ms, tpot_ms)| LatencyPrediction { ttft_ms, tpot_ms, ..LatencyPrediction::default() };
        let found = self.attributes.latencies_mut(Column::for_tests(0)).unwrap();
        *found = predicted.iter().map(|one| one.map(prediction)).collect();
    }

    /// Predicted headrooms of the first token and of the others, in milliseconds.
    pub(crate) fn headroom(&mut self, predicted: &[Option<(f64, f64)>]) {
        let prediction = |(ttft, tpot): (f64, f64)| LatencyPrediction {
            ttft_headroom_ms: ttft,
            tpot_headroom_ms: tpot,
            ttft_valid: ttft >= 0.0,
            tpot_valid: tpot >= 0.0,
            ..LatencyPrediction::default()
        };
        let found = self.attributes.latencies_mut(Column::for_tests(0)).unwrap();
        *found = predicted.iter().map(|one| one.map(prediction)).collect();
    }

    /// Requests that run on the endpoints whose latency is predicted.
    pub(crate) fn dispatched(&mut self, requests: &[u64]) {
        let found = self.attributes.latencies_mut(Column::for_tests(0)).unwrap();
        for (one, requests) in found.iter_mut().zip(requests) {
            one.iter_mut().for_each(|one| one.dispatched_requests = *requests);
        }
    }

    pub(crate) fn request(&self) -> RequestView<'_> {
        RequestView {
            id: "test",
            now: self.now,
            priority: self.priority,
            fairness_id: "default-flow",
            api: self.scanned.as_ref().map(Scanned::api),
            model: &self.model,
            headers: &self.headers,
            body: &self.body,
            scanned: self.scanned.as_ref(),
        }
    }

    pub(crate) fn produce(&mut self, plan: &Plan) {
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.reset(&plan.columns);
        produce(plan, &self.request(), &self.endpoints, &mut attributes);
        self.attributes = attributes;
    }

    pub(crate) fn run(&self, plan: &Plan) -> Scratch {
        let (mut scratch, mut random) = (Scratch::default(), Rng::with_seed(7));
        let attributes = &self.attributes;
        // A plan whose filters leave nothing is a result like any other here.
        let _picked =
            run(plan, &self.request(), &self.endpoints, &self.states, &self.candidates, attributes, &mut scratch, &mut random);
        scratch
    }

    /// What the plan decides.
    pub(crate) fn cycle(&self, plan: &Plan) -> Result<Picked, PickError> {
        let (mut scratch, mut random) = (Scratch::default(), Rng::with_seed(7));
        let attributes = &self.attributes;
        run(plan, &self.request(), &self.endpoints, &self.states, &self.candidates, attributes, &mut scratch, &mut random)
    }

    /// The request was sent to this endpoint.
    pub(crate) fn picked(&self, plan: &Plan, index: u32) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let targets = Targets { endpoints: &self.endpoints, primary: &[index], prefill: &[], results: &[] };
        for plugin in &plan.pre_request {
            plugin.plugin.picked(&self.request(), &targets, &self.attributes, &mut outgoing);
        }
        outgoing
    }

    /// The request was sent to `primary`, while profiles chose these.
    pub(crate) fn picked_by_profile(&self, plan: &Plan, primary: &[u32], profiles: &[&[u32]]) -> Outgoing {
        let result = |targets: &&[u32]| ProfileResult { ran: !targets.is_empty(), targets: targets.to_vec(), error: None };
        let results: Vec<ProfileResult> = profiles.iter().map(result).collect();
        let prefill = plan.profiles.iter().position(|one| one.name == "prefill").map_or(&[][..], |place| profiles[place]);
        let targets = Targets { endpoints: &self.endpoints, primary, prefill, results: &results };
        let mut outgoing = Outgoing::default();
        for plugin in &plan.pre_request {
            plugin.plugin.picked(&self.request(), &targets, &self.attributes, &mut outgoing);
        }
        outgoing
    }

    /// What the plan's first admitter says.
    pub(crate) fn admit(&self, plan: &Plan, random: &mut Rng) -> Result<(), PickError> {
        let view = PoolView::new(&self.endpoints, &self.states, &self.candidates, &self.attributes);
        plan.admitters[0].plugin.admit(&self.request(), &view, random)
    }

    /// How full the pool is.
    pub(crate) fn saturation(&self, kind: &str, parameters: &str) -> f64 {
        let text = format!(
            "plugins: [{{type: {kind}, parameters: {parameters}}}]\nflowControl: {{saturationDetector: {{pluginRef: {kind}}}}}"
        );
        let plan = compile(&text).unwrap();
        let view = PoolView::new(&self.endpoints, &self.states, &self.candidates, &self.attributes);
        plan.detector.unwrap().plugin.saturation(&view)
    }

    pub(crate) fn score(&self, kind: &str, parameters: &str) -> Vec<f64> {
        self.score_with(&plan_of(kind, parameters))
    }

    pub(crate) fn score_with(&self, plan: &Plan) -> Vec<f64> {
        self.run(plan).scores(0, 0).to_vec()
    }

    pub(crate) fn filter(&self, kind: &str, parameters: &str) -> Vec<u32> {
        self.filter_with(&plan_of(kind, parameters))
    }

    pub(crate) fn filter_with(&self, plan: &Plan) -> Vec<u32> {
        self.run(plan).candidates(0).to_vec()
    }
}
