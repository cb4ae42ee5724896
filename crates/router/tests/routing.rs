//! Requests through a compiled plan, without sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use weir_api::{EndpointPickerConfig, Reason};
use weir_plan::{CompileOptions, Plan, Registry, compile};
use weir_pool::{BreakerConfig, EndpointSpec, EndpointUrl, Pool, Scrape, Time};
use weir_protocol::{Api, Scanner};
use weir_router::{
    Clock, DecisionLog, DecisionLogConfig, End, PoolRuntime, Refusal, RequestHead, Routed, Router, RouterMetrics, Shared,
};

fn plan(text: Option<&str>) -> Arc<Plan> {
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    let config = match text {
        None => EndpointPickerConfig::builtin(),
        Some(text) => {
            let head = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";
            EndpointPickerConfig::parse(&format!("{head}{text}")).unwrap().value
        }
    };
    Arc::new(compile(&config, &registry, CompileOptions::default()).unwrap())
}

fn shared() -> Arc<Shared> {
    let metrics = RouterMetrics::register(&mut prometheus_client::registry::Registry::default());
    Shared::new(Clock::default(), DecisionLog::new(DecisionLogConfig::default()), metrics)
}

fn pool(name: &str, endpoints: usize) -> Arc<Pool> {
    let pool = Arc::new(Pool::new(name));
    let specs: Vec<_> = (0..endpoints)
        .map(|i| EndpointSpec::new(format!("{name}-{i}"), EndpointUrl::http("10.0.0.1", 8000 + i as u16)))
        .collect();
    pool.reconcile(&specs);
    for endpoint in &pool.snapshot().endpoints {
        endpoint.health.probe_succeeded();
    }
    pool
}

struct Fixture {
    router: Router,
    pool: Arc<Pool>,
    shared: Arc<Shared>,
}

fn fixture(endpoints: usize, config: Option<&str>) -> Fixture {
    let shared = shared();
    let pool = pool("p", endpoints);
    let runtime = PoolRuntime::new(Arc::clone(&pool), plan(config), vec![], Duration::from_secs(2), &shared);
    Fixture { router: Router::new(vec![runtime], Arc::clone(&shared)), pool, shared }
}

fn chat(model: &str, content: &str) -> Bytes {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"{content}"}}]}}"#).into()
}

fn head<'a>(id: &'a str, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead {
        id,
        method: &Method::POST,
        path: "/v1/chat/completions",
        headers,
        received: Time::ZERO,
        api: Some(Api::ChatCompletions),
        priority: 0,
        within: None,
        wants_scores: false,
        trace: None,
    }
}

fn route(router: &Router, id: &str, body: &Bytes) -> Result<Routed, Refusal> {
    router.route(&head(id, &HeaderMap::new()), body)
}

fn name(routed: &Routed) -> String {
    routed.endpoint.spec().name.clone()
}

#[test]
fn a_conversation_returns_to_the_endpoint_that_holds_it() {
    let fixture = fixture(8, None);
    let long = "tell me more ".repeat(100);
    let first = route(&fixture.router, "1", &chat("m", &long)).unwrap();
    let home = name(&first);
    first.finish(End::Complete);
    for turn in 2..10 {
        let next = route(&fixture.router, "n", &chat("m", &format!("{long}{}", "and more ".repeat(turn * 40)))).unwrap();
        assert_eq!(name(&next), home, "turn {turn}");
        next.finish(End::Complete);
    }
}

#[test]
fn every_end_takes_the_request_out_of_the_ledger() {
    let fixture = fixture(1, None);
    let endpoint = Arc::clone(&fixture.pool.snapshot().endpoints[0]);
    for end in [Some(End::Complete), Some(End::ClientGone), Some(End::Failed(Reason::UpstreamReset)), None] {
        let mut routed = route(&fixture.router, "r", &chat("m", &"words ".repeat(500))).unwrap();
        assert_eq!(endpoint.ledger.requests(), 1);
        routed.response_head(StatusCode::OK, &mut HeaderMap::new());
        routed.first_byte(fixture.router.now());
        if let Some(end) = end {
            routed.finish(end);
        } else {
            drop(routed);
        }
        assert_eq!((endpoint.ledger.requests(), endpoint.ledger.tokens()), (0, 0), "{end:?}");
    }
}

#[test]
fn usage_is_found_in_whatever_form_an_answer_has() {
    let usage =
        r#""usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}"#;
    let events = format!("data: {{\"choices\":[]}}\r\n\r\ndata:{{\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n");
    let document = format!("{{\"choices\":[],{usage}}}");
    let claude = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":9,\"cache_read_input_tokens\":4}}}\n\n\
                  event: message_delta\ndata: {\"usage\":{\"output_tokens\":3}}\n\n";
    let found = Some((9, 3, Some(4)));
    let fixture = fixture(1, None);
    let headers = HeaderMap::new();
    for (api, kind, body, status, want) in [
        (Api::ChatCompletions, "text/event-stream; charset=utf-8", events.as_str(), 200, found),
        (Api::ChatCompletions, "application/json", &document, 200, found),
        (Api::Messages, "text/event-stream", claude, 200, found),
        // An error was not computed, and what is compressed or something else is not read.
        (Api::ChatCompletions, "application/json", &document, 400, None),
        (Api::ChatCompletions, "text/html", &document, 200, None),
    ] {
        for size in [1, 7, 1000] {
            let head = RequestHead { api: Some(api), ..head("r", &headers) };
            let mut routed = fixture.router.route(&head, &chat("m", "x")).unwrap();
            let mut answer = HeaderMap::new();
            answer.insert("content-type", kind.parse().unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            routed.response_form(status, &answer);
            routed.response_head(status, &mut answer);
            body.as_bytes().chunks(size).for_each(|piece| routed.observe(piece, fixture.router.now()));
            routed.body_ended();
            let seen = routed.usage.map(|usage| (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens));
            assert_eq!(seen, want, "{api:?} {kind} {status} in {size}");
            routed.finish(End::Complete);
        }
    }
}

#[test]
fn a_retry_goes_elsewhere_until_nobody_is_left() {
    let fixture = fixture(3, None);
    let headers = HeaderMap::new();
    let body = chat("m", "hello");
    let mut routed = route(&fixture.router, "r", &body).unwrap();
    let mut seen = vec![name(&routed)];
    for attempt in 2..=3 {
        routed = fixture.router.reroute(routed, Reason::UpstreamReset, &head("r", &headers), &body).unwrap();
        assert_eq!(routed.attempts(), attempt);
        assert!(!seen.contains(&name(&routed)));
        seen.push(name(&routed));
    }
    let (stuck, refusal) = *fixture.router.reroute(routed, Reason::UpstreamReset, &head("r", &headers), &body).unwrap_err();
    assert_eq!((refusal.outcome.status, refusal.outcome.reason), (503, Reason::NoEndpoints));
    assert!(refusal.retry_after.is_some());
    assert!(fixture.pool.snapshot().endpoints.iter().all(|one| one.ledger.requests() == 0));
    stuck.finish(End::Failed(Reason::UpstreamConnectFailed));
    let told: Vec<_> = fixture
        .shared
        .decisions
        .explain("r")
        .into_iter()
        .map(|one| (one.attempt, one.outcome.unwrap().reason.unwrap()))
        .collect();
    let (reset, connect) = ("upstream_reset".to_owned(), "upstream_connect_failed".to_owned());
    assert_eq!(told, [(1, reset.clone()), (2, reset), (3, connect)]);
}

#[test]
fn endpoints_that_cannot_serve_are_left_out() {
    let fixture = fixture(3, None);
    let endpoints = fixture.pool.snapshot().endpoints.clone();
    for _ in 0..3 {
        endpoints[0].health.probe_failed();
    }
    let breaker = BreakerConfig { consecutive_failures: 1, ..BreakerConfig::default() };
    endpoints[1].health.breaker.failure(&breaker, fixture.router.now());
    for _ in 0..20 {
        assert_eq!(name(&route(&fixture.router, "r", &chat("m", "x")).unwrap()), "p-2");
    }
    endpoints[2].health.drain();
    let refusal = route(&fixture.router, "r", &chat("m", "x")).unwrap_err();
    assert_eq!(refusal.outcome.reason, Reason::NoEndpoints);
    assert!(refusal.message.contains("3 known"), "{}", refusal.message);
}

#[test]
fn models_choose_pools() {
    let shared = shared();
    let (chat_pool, embed_pool) = (pool("chat", 1), pool("embed", 1));
    chat_pool.snapshot().endpoints[0].set_models(vec!["llama".into(), "llama-lora".into()]);
    let runtime = |pool: &Arc<Pool>, models: &[&str]| {
        let models = models.iter().map(|one| (*one).to_owned()).collect();
        PoolRuntime::new(Arc::clone(pool), plan(None), models, Duration::from_secs(2), &shared)
    };
    let router = Router::new(vec![runtime(&chat_pool, &[]), runtime(&embed_pool, &["bge"])], Arc::clone(&shared));
    let pool_of = |model: &str| route(&router, "r", &chat(model, "x")).map(|routed| routed.pool_index);
    assert_eq!(pool_of("llama").unwrap(), 0);
    assert_eq!(pool_of("llama-lora").unwrap(), 0);
    assert_eq!(pool_of("bge").unwrap(), 1);
    let unknown = pool_of("gpt").unwrap_err();
    assert_eq!((unknown.outcome.status, unknown.outcome.reason, unknown.param), (404, Reason::ModelNotFound, Some("model")));
    let none = route(&router, "r", &Bytes::from_static(br#"{"messages":[{"role":"user","content":"x"}]}"#)).unwrap_err();
    assert_eq!((none.outcome.status, none.outcome.reason), (400, Reason::InvalidRequest));

    chat_pool.snapshot().endpoints[0].set_models(vec!["qwen".into()]);
    router.refresh_models();
    assert_eq!(pool_of("qwen").unwrap(), 0);
    assert!(pool_of("llama").is_err());
}

#[test]
fn every_pool_reads_what_its_own_parsers_read() {
    let shared = shared();
    let runtime = |name: &str, config: &str| {
        PoolRuntime::new(pool(name, 1), plan(Some(config)), vec![name.to_owned()], Duration::from_secs(2), &shared)
    };
    let parsers = |list: &str| format!("plugins: [{{type: queue-scorer}}]\nrequestHandler: {{parsers: {list}}}");
    let router = Router::new(
        vec![
            runtime("all", "plugins: [{type: queue-scorer}]"),
            runtime("blind", &parsers("[{pluginRef: passthrough-parser}]")),
            runtime("claude", &parsers("[{pluginRef: anthropic-parser}]")),
        ],
        Arc::clone(&shared),
    );
    assert_eq!(router.parsers().kinds(), weir_protocol::ParserKind::DEFAULT);
    let tokens = |model: &str| {
        let routed = route(&router, model, &chat(model, &"x".repeat(400)));
        let explained = shared.decisions.explain(model);
        (routed.map(|routed| routed.pool_index).map_err(|refusal| refusal.outcome.reason), explained.len())
    };
    assert_eq!(tokens("all"), (Ok(0), 1));
    assert_eq!(tokens("blind"), (Ok(1), 1));
    assert_eq!(tokens("claude"), (Err(Reason::NoParser), 0));
    let headers = HeaderMap::new();
    let messages = RequestHead { api: Some(Api::Messages), path: "/v1/messages", ..head("r", &headers) };
    assert_eq!(router.route(&messages, &chat("claude", "x")).unwrap().pool_index, 2);
    // Token ids name no model: they go where paths go that are not read.
    let grpc = RequestHead { api: Some(Api::SglangGenerate), path: "/generate", ..head("r", &headers) };
    assert_eq!(router.route(&grpc, &Bytes::from_static(b"{\"input_ids\":[1]}")).unwrap().pool_index, 0);
}

#[test]
fn a_request_that_was_read_while_it_came_goes_the_same_way() {
    let fixture = fixture(8, None);
    let body = chat("m", &"tell me more ".repeat(100));
    let home = route(&fixture.router, "1", &body).map(|routed| name(&routed)).unwrap();
    let mut scanner = Scanner::new(Api::ChatCompletions);
    for end in (0..body.len()).step_by(100) {
        scanner.feed(&body[..end]).unwrap();
    }
    let headers = HeaderMap::new();
    let routed = fixture.router.route_read(&head("2", &headers), &body, scanner).unwrap();
    assert_eq!(name(&routed), home);
    let blocks: Vec<u32> = ["1", "2"].map(|id| fixture.shared.decisions.explain(id)[0].prompt_blocks).into();
    assert!(blocks[0] > 1 && blocks[0] == blocks[1], "{blocks:?}");
}

#[test]
fn a_broken_body_is_the_clients_fault() {
    let fixture = fixture(1, None);
    for (body, reason) in [
        (r#"{"model":"m","messages":["#, Reason::InvalidJson),
        (r#"{"model":"m"}"#, Reason::InvalidRequest),
        (r#"{"model":5,"messages":[]}"#, Reason::InvalidRequest),
        ("[]", Reason::InvalidRequest),
    ] {
        let refusal = route(&fixture.router, "r", &Bytes::from(body)).unwrap_err();
        assert_eq!((refusal.outcome.status, refusal.outcome.reason), (400, reason), "{body}");
    }
}

#[test]
fn the_explained_total_is_the_formula_over_the_state_it_shows() {
    let fixture = fixture(4, None);
    let now = fixture.router.now();
    for (i, endpoint) in fixture.pool.snapshot().endpoints.iter().enumerate() {
        let scrape = Scrape {
            waiting: Some([3, 0, 7, 1][i]),
            running: Some(i as u32),
            kv_usage: Some([0.2, 0.9, 0.5, 0.4][i]),
            ..Scrape::default()
        };
        endpoint.engine.record(&scrape, 0, now);
    }
    let body = chat("m", &"a shared beginning ".repeat(60));
    for id in ["first", "second"] {
        route(&fixture.router, id, &body).unwrap().finish(End::Complete);
    }
    let decision = fixture.shared.decisions.explain("second").remove(0);
    assert_eq!(decision.candidates.len(), 4);
    assert!(decision.prompt_blocks > 1);
    let queues: Vec<f64> = decision.candidates.iter().map(|one| f64::from(one.waiting)).collect();
    let (min, max) = queues.iter().fold((f64::MAX, f64::MIN), |(min, max), q| (min.min(*q), max.max(*q)));
    for one in &decision.candidates {
        let queue = (max - f64::from(one.waiting)) / (max - min);
        let kv = 1.0 - one.kv_usage;
        let prefix = f64::from(one.matched_blocks) / f64::from(decision.prompt_blocks);
        assert_eq!(one.scores, [queue, kv, prefix]);
        let total: f64 = decision.scorers.iter().zip([queue, kv, prefix]).map(|(scorer, score)| scorer.weight * score).sum();
        assert!((one.total - total).abs() < 1e-12);
    }
    assert!(decision.candidates.windows(2).all(|pair| pair[0].total >= pair[1].total));
    assert!(decision.candidates[0].chosen && decision.candidates[1].runner_up);
    assert_eq!(decision.candidates[0].matched_blocks, decision.prompt_blocks);
    assert!(decision.outcome.is_some());
}

#[test]
fn a_path_that_is_not_parsed_is_routed_by_load() {
    let fixture = fixture(2, Some("plugins: [{type: active-request-scorer}]"));
    let headers = HeaderMap::new();
    let unparsed = RequestHead { api: None, path: "/v1/audio/transcriptions", ..head("r", &headers) };
    let first = fixture.router.route(&unparsed, &Bytes::new()).unwrap();
    let second = fixture.router.route(&unparsed, &Bytes::new()).unwrap();
    assert_ne!(name(&first), name(&second));
}

#[test]
fn an_admitter_refuses_with_its_own_status() {
    let fixture = fixture(
        2,
        Some(
            "plugins: [{type: probabilistic-admitter, parameters: {power: 1, k: 1000}}, {type: concurrency-detector}, {type: \
             queue-scorer}]\nflowControl: {saturationDetector: {pluginRef: concurrency-detector}}",
        ),
    );
    for endpoint in &fixture.pool.snapshot().endpoints {
        endpoint.engine.record(&Scrape { waiting: Some(9), ..Scrape::default() }, 0, fixture.router.now());
    }
    let headers = HeaderMap::new();
    let shed = RequestHead { priority: -1, ..head("r", &headers) };
    let refusal = fixture.router.route(&shed, &chat("m", "hello")).unwrap_err();
    assert_eq!((refusal.outcome.status, refusal.outcome.reason), (429, Reason::RejectedSaturated));
    assert!(refusal.message.contains("probabilistic-admitter") && refusal.retry_after.is_some(), "{}", refusal.message);
    assert!(route(&fixture.router, "r", &chat("m", "hello")).is_ok(), "priority 0 is never shed");
}

#[test]
fn if_available_wants_an_endpoint_that_holds_the_prompt() {
    let fixture = fixture(2, None);
    let mut headers = HeaderMap::new();
    headers.insert("prefer", "respond-async, If-Available;x=1".parse().unwrap());
    let body = chat("m", &"tell me more ".repeat(100));
    let refusal = fixture.router.route(&head("r", &headers), &body).unwrap_err();
    assert_eq!((refusal.outcome.status, refusal.outcome.reason), (412, Reason::PreconditionFailed));
    let first = route(&fixture.router, "r", &body).unwrap();
    let again = fixture.router.route(&head("r", &headers), &body).unwrap();
    assert_eq!(name(&first), name(&again));
}

#[test]
fn a_saturated_pool_sheds_what_may_be_shed() {
    let fixture = fixture(1, None);
    let headers = HeaderMap::new();
    let shed = RequestHead { priority: -1, ..head("r", &headers) };
    let refusal = fixture.router.route(&shed, &chat("m", "hello")).unwrap_err();
    assert_eq!((refusal.outcome.status, refusal.outcome.reason), (429, Reason::RejectedSaturated));
    assert!(refusal.message.contains("saturated"), "nothing is known of the endpoint, so it counts as full: {}", refusal.message);
    assert!(route(&fixture.router, "r", &chat("m", "hello")).is_ok());
}

const OBJECTS: &str = "\
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: batch}
spec: {poolRef: {name: p}, priority: -5}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceModelRewrite
metadata: {name: canary}
spec:
  poolRef: {name: p}
  rules:
  - matches: [{model: {value: chat}}]
    targets: [{modelRewrite: chat-v1, weight: 50}, {modelRewrite: chat-v2, weight: 50}]
";

fn with_objects(fixture: &Fixture, text: &str) {
    let objects = weir_api::Objects::parse(text).unwrap().value;
    let (compiled, found) = weir_router::ObjectsInForce::compile(&objects.objectives, &objects.rewrites);
    assert_eq!(found, []);
    fixture.router.pools()[0].objects.set(compiled);
    fixture.router.refresh_models();
}

#[test]
fn a_rewrite_changes_the_body_and_stays_the_same_for_every_try() {
    let fixture = fixture(4, None);
    let model = |routed: &Routed| {
        let body: serde_json::Value = serde_json::from_slice(&routed.body).unwrap();
        assert_eq!(body["messages"][0]["content"], "hi");
        body["model"].as_str().unwrap().to_owned()
    };
    // What endpoints list decides which models there are; the rule adds one.
    for endpoint in &fixture.pool.snapshot().endpoints {
        endpoint.set_models(vec!["chat-v1".to_owned(), "chat-v2".to_owned()]);
    }
    fixture.router.refresh_models();
    assert_eq!(route(&fixture.router, "0", &chat("chat", "hi")).unwrap_err().outcome.reason, Reason::ModelNotFound);
    with_objects(&fixture, OBJECTS);
    assert!(fixture.router.model_names().iter().any(|(name, _)| name == "chat"));
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..32 {
        let body = chat("chat", "hi");
        let headers = HeaderMap::new();
        let first = route(&fixture.router, &format!("r{number}"), &body).unwrap();
        let served = model(&first);
        assert_eq!(first.rewritten(), Some((served.as_str(), "chat")));
        let head = head("again", &headers);
        let second = fixture.router.reroute(first, Reason::UpstreamReset, &head, &body).unwrap();
        assert_eq!(model(&second), served);
        seen.insert(served);
        second.finish(End::Complete);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["chat-v1", "chat-v2"]);
    let untouched = chat("chat-v1", "hi");
    let routed = route(&fixture.router, "last", &untouched).unwrap();
    assert_eq!((routed.rewritten(), &routed.body), (None, &untouched));
    let explained = &fixture.shared.decisions.explain("r0")[0];
    assert_eq!(explained.rewrite_rule.as_deref(), Some("default/canary rule 1"));
    assert!(explained.served_model.as_deref().is_some_and(|model| model.starts_with("chat-v")));
}

#[test]
fn an_objective_gives_its_priority() {
    let fixture = fixture(1, None);
    // An engine of which nothing is known counts as saturated, and this priority may be shed then.
    fixture.pool.snapshot().endpoints[0].engine.record(&Scrape::default(), 0, fixture.router.now());
    with_objects(&fixture, OBJECTS);
    let priority = |objective: &'static str| {
        let headers = HeaderMap::from_iter([("x-llm-d-inference-objective".parse().unwrap(), objective.parse().unwrap())]);
        let routed = fixture.router.route(&head("p", &headers), &chat("m", "hi")).unwrap();
        let explained = fixture.shared.decisions.explain("p").pop().unwrap();
        assert_eq!(explained.priority, routed.priority());
        (routed.priority(), explained.objective)
    };
    assert_eq!(priority("batch"), (-5, Some("batch".to_owned())));
    assert_eq!(priority("unknown"), (0, None));
}
