//! Endpoints, numbers and a request for tests of single plugins, which are made from configurations as everywhere.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use http::HeaderMap;
use weir_api::{Diagnostics, EndpointPickerConfig};
use weir_plan::{
    Attributes, Column, Columns, CompileOptions, Outgoing, PickError, Plan, PoolView, Registry, RequestView, Targets,
};
use weir_pool::{Endpoint, EndpointSpec, EndpointState, EndpointUrl, Time};
use weir_protocol::{Api, Scanned, scan};

use crate::{Scratch, produce, run};

pub(crate) fn compile(text: &str) -> Result<Plan, Diagnostics> {
    let mut registry = Registry::default();
    crate::register(&mut registry);
    let text = format!("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n{text}");
    let config = EndpointPickerConfig::parse(&text)?.value;
    weir_plan::compile(&config, &registry, CompileOptions::default())
}

fn plan_of(kind: &str, parameters: &str) -> Plan {
    compile(&format!("plugins: [{{type: {kind}, parameters: {parameters}}}]")).unwrap()
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

    /// The request was sent to this endpoint.
    pub(crate) fn picked(&self, plan: &Plan, index: u32) -> Outgoing {
        let mut outgoing = Outgoing::default();
        let targets = Targets { endpoints: &self.endpoints, primary: &[index], prefill: &[] };
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
