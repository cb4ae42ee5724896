//! Tests of the router's configuration.

use std::{io, path::Path};

use super::*;
use crate::{EndpointPickerConfig, GoDuration};

const HEAD: &str = "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\n";
const POOL: &str = "pools:\n- name: a\n  endpoints: {static: [{url: http://a:1}]}\n";

fn no_files(_: &Path) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn load(text: &str) -> Result<Loaded, LoadError> {
    RouterConfig::parse("router.yaml", text, Path::new("/base"), &mut no_files)
}

/// Findings of a document.
fn found(text: &str) -> Vec<String> {
    let found = load(text).map_or_else(|e| e.diagnostics, |l| l.warnings);
    found.iter().map(ToString::to_string).collect()
}

/// Findings of a document with good pools whose `body` begins on line 7.
fn with_pool(body: &str) -> Vec<String> {
    found(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{POOL}{body}"))
}

/// Findings of a document with a good listener whose `body` begins on line 4.
fn with_listen(body: &str) -> Vec<String> {
    found(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{body}"))
}

#[test]
fn the_example_parses() {
    let text = include_str!("../../../../testdata/config/router.yaml");
    let loaded = load(text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.warnings.to_string(), "");
    let config = loaded.config;
    assert_eq!(config.listen.http.unwrap().to_string(), "127.0.0.1:8080");
    let chat = &config.pools[0];
    let entries = chat.static_entries().unwrap();
    assert_eq!(entries[1].name, "chat-1");
    assert_eq!(entries[1].url.to_string(), "http://127.0.0.1:8002");
    assert_eq!(entries[0].labels["llm-d.ai/role"], "both");
    assert_eq!(chat.scheduling.config().plugins.len(), 3);
    let embeddings = &config.pools[1];
    assert_eq!(embeddings.models[0].as_str(), "bge-small");
    assert_eq!(embeddings.static_entries(), None);
    let file = embeddings.endpoints.file.as_ref().unwrap();
    assert_eq!((file.path.value.as_path(), file.watch), (Path::new("/base/endpoints.yaml"), true));
    assert_eq!(embeddings.scheduling.config(), &EndpointPickerConfig::builtin());
}

#[test]
fn every_field_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/config/router-full.yaml");
    let Loaded { config, warnings, sources } = RouterConfig::load_file(&path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings.to_string(), "");
    assert_eq!(sources.iter().count(), 2);
    assert_eq!(config.drain_timeout, GoDuration::from_secs(90));
    assert_eq!(config.log, Log { level: LogLevel::Debug, format: LogFormat::Json });
    assert_eq!(config.gateway.limits.max_body_bytes.get(), 16 << 20);
    assert!(!config.gateway.endpoint_header && !config.gateway.access_log);
    let chat = &config.pools[0];
    assert_eq!(chat.scheduling.config().plugins.len(), 5);
    assert_eq!(chat.scheduling.config().plugins[0].at.source, 1);
    assert_eq!(chat.static_entries().unwrap()[1].name, "chat-1");
    assert_eq!(chat.static_entries().unwrap()[0].namespace, "blue");
    assert_eq!(config.files().len(), 9);
    assert!(config.files().iter().all(|f| f.is_absolute()));

    // What is printed reads back as the same, defaults included.
    let printed = serde_json::to_value(&config).unwrap();
    let text = printed.to_string();
    let again =
        RouterConfig::parse("x", &text, Path::new(""), &mut |p| std::fs::read_to_string(p)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(serde_json::to_value(&again.config).unwrap(), printed);
    // The document says something about every field there is.
    let given = crate::yaml::parse(include_str!("../../../../testdata/config/router-full.yaml")).unwrap().to_json();
    let top = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(top(&given), top(&printed));
    assert_eq!(top(&given["gateway"]), top(&printed["gateway"]));
    assert_eq!(top(&given["gateway"]["limits"]), top(&printed["gateway"]["limits"]));
    assert_eq!(top(&given["pools"][0]), top(&printed["pools"][0]));
    assert_eq!(top(&given["pools"][0]["metrics"]), top(&printed["pools"][0]["metrics"]));
}

#[test]
fn defaults() {
    let config = load(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{POOL}")).unwrap().config;
    let g = &config.gateway;
    let times: Vec<String> =
        [&g.timeouts.connect, &g.timeouts.first_byte, &g.timeouts.idle, &g.timeouts.total].map(ToString::to_string).into();
    assert_eq!(times, ["2s", "5m0s", "2m0s", "1h0m0s"]);
    assert_eq!((*g.retry.max_attempts, *g.retry.budget_ratio, g.retry.min_per_second), (3, 0.2, 10));
    assert_eq!((g.limits.max_body_bytes.get(), *g.limits.max_connections), (64 << 20, 65_536));
    assert!(g.endpoint_header && g.access_log && g.cors.allowed_origins.is_empty());
    assert_eq!(config.explain, Explain { max_bytes: crate::Quantity::mib(8), candidates: Spanned::nowhere(16) });
    assert_eq!(config.drain_timeout, GoDuration::from_secs(30));
    let metrics = &config.pools[0].metrics;
    assert_eq!(metrics, &MetricsSpec::default());
    assert_eq!((metrics.interval.to_string(), metrics.idle_interval.to_string()), ("50ms".into(), "1s".into()));
    // Sections without content are as if they were not there.
    let blank = load(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{POOL}gateway:\nauth:\nlog:\n")).unwrap().config;
    assert_eq!(blank.gateway, config.gateway);
}

#[test]
fn a_pool_built_in_code_is_like_one_that_was_read() {
    let read = load(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{POOL}")).unwrap().config;
    let url = "http://a:1".parse().unwrap();
    assert_eq!(read.pools[0], PoolSpec::new("a", vec![StaticEndpoint::new(url)]));
}

#[test]
fn findings_about_the_whole() {
    assert_eq!(
        found("{}"),
        [
            "1:1: error: apiVersion: the field `apiVersion` is missing (write apiVersion: weir.dev/v1alpha1)",
            "1:1: error: kind: the field `kind` is missing (write kind: RouterConfig)",
            "1:1: error: listen: there is nothing to listen on (set at least one of http, https and extProc)",
            "1:1: error: pools: there are no pools (list at least one pool with a name and endpoints)",
        ]
    );
    assert_eq!(
        found("apiVersion: v1\nkind: EndpointPickerConfig\nlisten: {admin: 127.0.0.1:1}\npools: []\n"),
        [
            "1:13: error: apiVersion: the apiVersion `v1` is not supported (write apiVersion: weir.dev/v1alpha1)",
            "2:7: error: kind: the kind `EndpointPickerConfig` is not supported (write kind: RouterConfig)",
            "3:1: error: listen: there is nothing to listen on (set at least one of http, https and extProc)",
            "4:1: error: pools: there are no pools (list at least one pool with a name and endpoints)",
        ]
    );
    assert_eq!(found(""), ["1:1: error: expected a mapping, found nothing"]);
}

#[test]
fn findings_about_listeners() {
    for (listen, want) in [
        (
            "{http: 0.0.0.0:80, admin: 127.0.0.1:80}",
            "3:35: error: listen.admin: 127.0.0.1:80 is taken by `listen.http` on line 3",
        ),
        (
            "{http: 8080}",
            "3:16: error: listen.http: expected an IP address and a port such as 127.0.0.1:8080, found the number 8080",
        ),
        (
            "{http: localhost:80}",
            "3:16: error: listen.http: \"localhost:80\" is not an address to listen on (write an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080)",
        ),
        ("{http: 127.0.0.1:1, htps: 3}", "3:29: error: listen.htps: unknown field `htps` (did you mean `https`?)"),
        ("{https: {address: 127.0.0.1:1, certFile: c}}", "3:17: error: listen.https: the field `keyFile` is missing"),
    ] {
        assert_eq!(found(&format!("{HEAD}listen: {listen}\n{POOL}")), [want], "{listen}");
    }
}

#[test]
fn findings_about_pools() {
    let one = |fields: &str| with_listen(&format!("pools:\n- name: a\n  {fields}\n"));
    for (fields, want) in [
        ("models: []", "5:3: error: pools[0]: the field `endpoints` is missing"),
        (
            "endpoints: {}",
            "6:3: error: pools[0].endpoints: the pool has no source of endpoints (set one of static, file and kubernetes)",
        ),
        (
            "endpoints: {static: [{url: http://a}], file: {path: x}}",
            "6:3: error: pools[0].endpoints: the pool has 2 sources of endpoints (keep one of static, file and kubernetes)",
        ),
        ("endpoints: {static: []}", "6:23: error: pools[0].endpoints.static: the list of endpoints is empty"),
        ("endpoints: {file: {path: ''}}", "6:28: error: pools[0].endpoints.file.path: the path cannot be empty"),
        ("endpoints: {static: [{name: x}]}", "6:24: error: pools[0].endpoints.static[0]: the field `url` is missing"),
        (
            "endpoints: {static: [{url: '1.2.3.4:80'}]}",
            "6:30: error: pools[0].endpoints.static[0].url: the URL \"1.2.3.4:80\" does not begin with http:// or https:// (write http://1.2.3.4:80)",
        ),
        (
            "endpoints: {static: [{url: http://a, name: x}, {url: http://b, name: x}]}",
            "6:72: error: pools[0].endpoints.static[1].name: two endpoints are called `x`; the first is on line 6",
        ),
        (
            "endpoints: {static: [{url: http://a, name: a-1}, {url: http://b}]}",
            "6:58: error: pools[0].endpoints.static[1].url: two endpoints are called `a-1`; the first is on line 6",
        ),
        (
            "endpoints: {static: [{url: http://a/v1}]}",
            "6:30: warning: pools[0].endpoints.static[0].url: requests' paths begin with /v1 already; the /v1 of the URL is left out (write http://a)",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  models: [x, x]",
            "7:15: error: pools[0].models[1]: the model `x` is listed twice",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  models: ['']",
            "7:12: error: pools[0].models[0]: a model's name cannot be empty",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  tls: {certFile: c}",
            "7:19: error: pools[0].tls.certFile: certFile needs keyFile",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  tls: {keyFile: c}",
            "7:18: error: pools[0].tls.keyFile: keyFile needs certFile",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  tls: {serverName: a b}",
            "7:21: error: pools[0].tls.serverName: \"a b\" is neither an IP address nor a host name",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  metrics: {interval: 0s}",
            "7:23: error: pools[0].metrics.interval: the duration must be above zero",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  metrics: {interval: 1us}",
            "7:23: error: pools[0].metrics.interval: the interval must be at least 1ms",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  metrics: {idleInterval: 10ms}",
            "7:27: error: pools[0].metrics.idleInterval: idleInterval 10ms is shorter than interval 50ms",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  metrics: {stalenessThreshold: 50ms}",
            "7:33: error: pools[0].metrics.stalenessThreshold: every reading would be stale: the threshold is not above the interval 50ms",
        ),
        (
            "endpoints: {static: [{url: http://a}]}\n  metrics: {path: metrics}",
            "7:19: error: pools[0].metrics.path: \"metrics\" is not a path; it begins with /",
        ),
    ] {
        assert_eq!(one(fields), [want], "{fields}");
    }
    let two = |a: &str, b: &str| {
        let pool =
            |(name, models)| format!("- name: {name}\n  models: [{models}]\n  endpoints: {{static: [{{url: http://a}}]}}\n");
        let (a, b) = (a.split_once(' ').unwrap(), b.split_once(' ').unwrap());
        with_listen(&format!("pools:\n{}{}", pool(a), pool(b)))
    };
    assert_eq!(two("a x", "a y"), ["8:9: error: pools[1].name: two pools are called `a`; the first is on line 5"]);
    assert_eq!(two("a x", "b x"), ["9:12: error: pools[1].models[0]: the model `x` is claimed by the pool `a` on line 6"]);
    for name in ["A", "''", "a_b", "-a", "a-", "a b"] {
        let found = two(&format!("{} x", name.replace(' ', "/")), "b y");
        assert!(found[0].starts_with("5:9: error: pools[0].name: a pool's name has"), "{name}: {found:?}");
    }
}

#[test]
fn findings_about_the_gateway() {
    for (body, want) in [
        ("gateway: {timeouts: {connect: 0}}", "7:31: error: gateway.timeouts.connect: the duration must be above zero"),
        (
            "gateway: {timeouts: {total: 5}}",
            "7:29: error: gateway.timeouts.total: the duration \"5\" has no unit (write 5ms or 5s)",
        ),
        (
            "gateway: {timeouts: {total: 5d}}",
            "7:29: error: gateway.timeouts.total: the duration \"5d\" has the unknown unit \"d\" (the units are ns, us, ms, s, m and h)",
        ),
        (
            "gateway: {retry: {maxAttempts: 0}}",
            "7:32: error: gateway.retry.maxAttempts: maxAttempts counts the first try too and must be above zero",
        ),
        ("gateway: {retry: {budgetRatio: 2}}", "7:32: error: gateway.retry.budgetRatio: budgetRatio must be from 0 to 1"),
        ("gateway: {retry: {budgetRatio: .nan}}", "7:32: error: gateway.retry.budgetRatio: budgetRatio must be from 0 to 1"),
        (
            "gateway: {circuitBreaker: {openFor: 0s}}",
            "7:37: error: gateway.circuitBreaker.openFor: the duration must be above zero",
        ),
        (
            "gateway: {circuitBreaker: {openFor: 1m, maxOpenFor: 2s}}",
            "7:53: error: gateway.circuitBreaker.maxOpenFor: maxOpenFor 2s is shorter than openFor 1m0s",
        ),
        ("gateway: {limits: {maxBodyBytes: 0}}", "7:34: error: gateway.limits.maxBodyBytes: the limit must be above zero"),
        ("gateway: {limits: {maxHeaders: 0}}", "7:32: error: gateway.limits.maxHeaders: the limit must be above zero"),
        (
            "gateway: {limits: {maxBodyBytes: 64MB}}",
            "7:34: error: gateway.limits.maxBodyBytes: \"64MB\" is not a quantity (write a number with a suffix such as k, M, G, Ki, Mi or Gi, as in 10Gi)",
        ),
        (
            "gateway: {cors: {allowedOrigins: [chat.example.com]}}",
            "7:35: error: gateway.cors.allowedOrigins[0]: \"chat.example.com\" is not an origin (write https://host, without a path, or \"*\")",
        ),
        ("log: {level: inof}", "7:14: error: log.level: unknown value `inof` (did you mean `info`?)"),
        ("log: {format: xml}", "7:15: error: log.format: unknown value `xml` (expected one of `text`, `json`)"),
        ("explain: {candidates: 0}", "7:23: error: explain.candidates: the number of candidates must be above zero"),
        (
            "drainTimeout: soon",
            "7:15: error: drainTimeout: \"soon\" is not a duration (write a number and a unit, such as 250ms, 1.5s, 1m30s or 2h)",
        ),
        ("auht: {}", "7:1: error: auht: unknown field `auht` (did you mean `auth`?)"),
    ] {
        assert_eq!(with_pool(body), [want], "{body}");
    }
}

#[test]
fn findings_in_scheduling_sections() {
    let inline = "pools:\n- name: a\n  endpoints: {static: [{url: http://a}]}\n  scheduling:\n    plugins:\n    - type: x\n    - type: x\n    - nmae: y\n";
    assert_eq!(
        with_listen(inline),
        [
            "11:7: error: pools[0].scheduling.plugins[2]: the field `type` is missing",
            "11:7: error: pools[0].scheduling.plugins[2].nmae: unknown field `nmae` (did you mean `name`?)",
        ]
    );
    assert_eq!(
        with_listen(&inline.replace("    - nmae: y\n", "")),
        [
            "10:13: error: pools[0].scheduling.plugins[1].type: two plugins are called `x`; the first is on line 9 (give one of them a `name` of its own)"
        ]
    );
    let file = format!(
        "{HEAD}listen: {{http: 127.0.0.1:1}}\npools:\n- name: a\n  endpoints: {{static: [{{url: http://a}}]}}\n  scheduling: {{path: s.yaml}}\n"
    );
    let missing = found(&file);
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("7:22: error: pools[0].scheduling.path: /base/s.yaml cannot be read: "), "{missing:?}");
    assert_eq!(
        found(&file.replace("s.yaml}", "s.yaml, plugins: []}")),
        ["7:30: error: pools[0].scheduling.plugins: unknown field `plugins` (known here: `path`)"]
    );
    let mut read = |path: &Path| {
        assert_eq!(path, Path::new("/base/s.yaml"));
        Ok("plugins:\n- tpye: x\n".to_owned())
    };
    let error = RouterConfig::parse("router.yaml", &file, Path::new("/base"), &mut read).unwrap_err();
    assert_eq!(
        error.to_string(),
        "error: the field `type` is missing\n --> /base/s.yaml:2:3 (plugins[0])\n  |\n2 | - tpye: x\n  |   ^\n\nerror: unknown field `tpye`\n --> /base/s.yaml:2:3 (plugins[0].tpye)\n  |\n2 | - tpye: x\n  |   ^^^^\n  = help: did you mean `type`?\n"
    );
}

#[test]
fn errors_of_several_kinds_come_together() {
    let found = found(&format!(
        "{HEAD}listen: {{http: 127.0.0.1:1}}\npools:\n- name: a\n  endpoints: {{static: [{{url: ftp://a}}]}}\n- name: b\n  modles: [x]\n  endpoints: {{static: [{{url: http://a:0}}]}}\ngateway: {{timeouts: {{idle: x}}, accessLog: 1}}\n"
    ));
    let places: Vec<&str> = found.iter().map(|f| f.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["6:30", "8:3", "9:30", "10:28", "10:43"], "{found:#?}");
}

#[test]
fn a_file_that_is_not_there() {
    let error = RouterConfig::load_file(Path::new("/nonexistent/router.yaml")).unwrap_err();
    assert!(error.to_string().starts_with("error: cannot be read: "), "{error}");
    assert!(error.to_string().contains("--> /nonexistent/router.yaml"));
}

#[test]
fn the_schema_describes_every_field() {
    let schema = schema();
    let mut bare = Vec::new();
    let mut named = 0;
    let defs = schema["$defs"].as_object().unwrap();
    for (name, def) in defs.iter().chain([(&"RouterConfig".to_owned(), &schema)]) {
        for (field, property) in def.get("properties").and_then(|p| p.as_object()).into_iter().flatten() {
            named += 1;
            if property.get("description").is_none() {
                bare.push(format!("{name}.{field}"));
            }
        }
    }
    assert_eq!(bare, [""; 0]);
    assert!(named > 80, "{named}");
    assert_eq!(defs["Pool"]["additionalProperties"], false);
    assert_eq!(defs["Pool"]["required"], serde_json::json!(["name", "endpoints"]));
    assert_eq!(defs["Timeouts"]["properties"]["connect"]["default"], "2s");
    assert!(defs["Plugin"]["properties"]["type"].is_object(), "{:#}", defs["Plugin"]);
    assert!(defs["Endpoints"]["properties"]["static"].is_object());
}

#[test]
fn findings_about_clusters() {
    let of = |kubernetes: &str| {
        let text = format!("{HEAD}listen: {{http: 127.0.0.1:1}}\npools:\n- name: a\n  endpoints: {{kubernetes: {kubernetes}}}\n");
        found(&text)
    };
    for good in [
        "{pool: vllm.qwen, namespace: team, group: inference.networking.x-k8s.io, scheme: https}",
        "{pools: [a, b]}",
        "{poolSelector: \"team in (a,b)\"}",
        "{podSelector: app=vllm, ports: [8000, 8001]}",
        "{service: vllm}",
    ] {
        assert_eq!(of(good), [""; 0], "{good}");
    }
    for (wrong, want) in [
        (
            "{}",
            "it does not say which endpoints are meant (set exactly one of pool, pools, poolSelector, podSelector and service)",
        ),
        ("{pool: a, service: b}", "it does not say which endpoints are meant"),
        ("{pool: A}", "\"A\" is no name of an object in Kubernetes"),
        ("{pool: a, ports: [1]}", "an InferencePool says its ports itself"),
        ("{pool: a, group: inference.networking.k8s.iO}", "did you mean `inference.networking.k8s.io`?"),
        ("{podSelector: app=vllm}", "podSelector needs ports (write ports: [8000])"),
        ("{podSelector: \"app=\u{e9}\", ports: [1]}", "has a value that no label can have"),
        ("{podSelector: a, ports: [1, 1]}", "the port 1 is listed twice"),
        ("{podSelector: a, ports: [0]}", "0 is no port"),
        ("{podSelector: a, ports: [1, 2, 3, 4, 5, 6, 7, 8, 9]}", "at most 8 ports can be endpoints"),
    ] {
        let found = of(wrong);
        assert!(found.iter().any(|one| one.contains(want)), "{wrong}: {found:?}");
    }
}

#[test]
fn findings_about_elections() {
    let of = |election: &str| found(&format!("{HEAD}listen: {{http: 127.0.0.1:1}}\n{POOL}leaderElection: {election}\n"));
    assert_eq!(of("{}"), [""; 0]);
    assert_eq!(of("{leaseDuration: 6s, renewDeadline: 4s, retryPeriod: 1s, lease: l, namespace: n}"), [""; 0]);
    for (wrong, want) in [
        ("{leaseDuration: 10s}", "leaseDuration must be above renewDeadline 10s"),
        ("{renewDeadline: 2s}", "renewDeadline must be above retryPeriod 2s"),
        ("{retryPeriod: 0s}", "the duration must be above zero"),
        ("{lease: A_b}", "is no name of an object in Kubernetes"),
    ] {
        let found = of(wrong);
        assert!(found.iter().any(|one| one.contains(want)), "{wrong}: {found:?}");
    }
}
