//! Changing a parameter changes a decision: every parameter of every plugin has a pair of configurations that shows how.
//!
//! The pairs are in `testdata/parameters`; the page of the plugins' tests is made of them. A parameter without a pair fails here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use weir_api::{EndpointPickerConfig, yaml};
use weir_plan::{CompileOptions, Plan, Registry, compile};
use weir_protocol::Usage;
use weir_router::{Case, Verdict};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
/// Stands for the type whose parameter is shown.
const IT: &str = "\"IT\"";
/// What is said of parameters, alone or all of a section.
const INACTIVE: &str = "ot yet active";

/// Two configurations and a state in which they differ.
struct Pair {
    file: PathBuf,
    kind: String,
    sets: String,
    from: Value,
    to: Value,
    /// What differs.
    changes: String,
    state: Value,
    /// The test that shows it, where no decision can.
    test: Option<String>,
}

impl Pair {
    fn place(&self) -> String {
        format!("{}: {} {}", self.file.display(), self.kind, self.sets)
    }

    /// What comes out with these parameters; an error's text if they are refused.
    fn outcome(&self, parameters: &Value, registry: &Registry) -> Result<BTreeMap<&'static str, String>, String> {
        let mut state = self.state.clone();
        let default = json!({"plugins": [{"type": "IT"}]});
        let config = state.as_object().unwrap().get("config").cloned().unwrap_or(default);
        let mut config: Value = serde_json::from_str(&config.to_string().replace(IT, &format!("{:?}", self.kind))).unwrap();
        if !parameters.is_null() {
            let plugins = config["plugins"].as_array_mut().unwrap();
            let it = |one: &&mut Value| one["type"] == self.kind.as_str() && one.get("name").is_none_or(|name| name == "it");
            plugins.iter_mut().find(it).expect("the configuration has the plugin")["parameters"] = parameters.clone();
        }
        state["config"] = config;
        let case = Case::parse(&repeated(&state.to_string())).map_err(|notes| notes.to_string())?;
        let config = case.config.clone().unwrap_or_else(EndpointPickerConfig::builtin);
        let plan = compile(&config, registry, CompileOptions::default()).map_err(|notes| notes.to_string())?;
        let verdict = case.run(&plan).map_err(|notes| notes.to_string())?;
        Ok(seen(&plan, &verdict))
    }
}

/// `${x*256}` is 256 times x.
fn repeated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inside, after) = after.split_once('}').expect("it is closed");
        let (what, count) = inside.split_once('*').expect("it is a product");
        out.push_str(before);
        out.push_str(&what.repeat(count.parse().expect("a number")));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Everything that a configuration decides, by what it is about.
fn seen(plan: &Plan, verdict: &Verdict) -> BTreeMap<&'static str, String> {
    let profiles = &verdict.profiles;
    let scores = profiles.iter().map(|one| (&one.name, by_endpoint(one)));
    let kept = profiles.iter().map(|one| (&one.name, one.filters.iter().map(|one| (&one.name, &one.kept)).collect::<Vec<_>>()));
    let usage = Usage { prompt_tokens: 100, completion_tokens: 20, total_tokens: 120, ..Usage::default() };
    let reports: Vec<String> = plan.reporters.iter().map(|one| format!("{:?}", one.plugin.report(&usage))).collect();
    BTreeMap::from([
        ("scores", format!("{:?}", scores.collect::<Vec<_>>())),
        ("kept", format!("{:?}", kept.collect::<Vec<_>>())),
        ("picked", format!("{:?}", verdict.picked)),
        ("targets", format!("{:?}", profiles.iter().map(|one| (&one.name, &one.targets)).collect::<Vec<_>>())),
        ("profiles", format!("{:?}", profiles.iter().filter(|one| one.ran).map(|one| &one.name).collect::<Vec<_>>())),
        ("refused", format!("{:?}", verdict.refused)),
        ("requestHeaders", format!("{:?}", verdict.request_headers)),
        ("responseHeaders", format!("{:?}", verdict.response_headers)),
        ("port", format!("{:?}", verdict.request_port)),
        ("report", format!("{reports:?}")),
        ("plan", sources(plan)),
    ])
}

fn by_endpoint(profile: &weir_router::ProfileVerdict) -> BTreeMap<&str, &[f64]> {
    profile.candidates.iter().map(|one| (one.endpoint.as_str(), one.scores.as_slice())).collect()
}

/// What the plan fetches, counts and follows.
fn sources(plan: &Plan) -> String {
    let producers: Vec<_> = plan.producers.iter().map(|one| &one.name).collect();
    let kv_events: Vec<_> = plan.kv_events.iter().map(|one| &one.plugin).collect();
    let fetched = format!("{:?} {:?} {:?} {:?}", plan.metrics, plan.pages, plan.models, plan.discovery);
    format!("{fetched} {:?} {producers:?} {kv_events:?}", plan.in_flight)
}

fn pairs() -> Vec<Pair> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(Path::new(ROOT).join("testdata/parameters")).unwrap().map(|one| one.unwrap().path()).collect();
    files.sort();
    let mut pairs = Vec::new();
    for file in files {
        let groups = yaml::parse(&std::fs::read_to_string(&file).unwrap()).unwrap().to_json();
        for group in groups.as_array().unwrap() {
            for kind in group["plugins"].as_array().unwrap() {
                for case in group["cases"].as_array().unwrap() {
                    pairs.push(pair(&file, group, kind.as_str().unwrap(), case));
                }
            }
        }
    }
    pairs
}

fn pair(file: &Path, group: &Value, kind: &str, case: &Value) -> Pair {
    let mut state = group.get("state").cloned().unwrap_or_else(|| json!({}));
    for (key, value) in case.get("state").and_then(Value::as_object).into_iter().flatten() {
        state[key] = value.clone();
    }
    let text = |key: &str| case[key].as_str().unwrap_or_else(|| panic!("{kind}: `{key}` is missing: {case}")).to_owned();
    Pair {
        file: file.file_name().unwrap().into(),
        kind: kind.to_owned(),
        sets: text("sets"),
        from: case.get("from").cloned().unwrap_or(Value::Null),
        to: case.get("to").cloned().unwrap_or(Value::Null),
        changes: text("changes"),
        state,
        test: case.get("test").and_then(Value::as_str).map(str::to_owned),
    }
}

fn registry() -> Registry {
    let mut registry = Registry::default();
    weir_schedule::register(&mut registry);
    registry
}

/// Parameters that have no parameters of their own, with what is said of them.
fn leaves(schema: &Value, definitions: &Value, before: &str, of_all: &str, out: &mut Vec<(String, String)>) {
    for (field, inner) in schema["properties"].as_object().into_iter().flatten() {
        let mut about = inner["description"].as_str().unwrap_or_default().to_owned();
        let (mut target, mut path) = (inner, format!("{before}{field}"));
        for _ in 0..4 {
            let reference = [&target["$ref"], &target["anyOf"][0]["$ref"], &target["allOf"][0]["$ref"]];
            if let Some(name) = reference.iter().find_map(|one| one.as_str()) {
                target = &definitions[name.rsplit('/').next().unwrap()];
            } else if target["items"].is_object() {
                target = &target["items"];
                path.push_str("[]");
            } else {
                break;
            }
            if about.is_empty() {
                about = target["description"].as_str().unwrap_or_default().to_owned();
            }
        }
        about.push_str(of_all);
        let own = out.len();
        let inactive = if about.contains(INACTIVE) { INACTIVE } else { "" };
        leaves(target, definitions, &format!("{path}."), inactive, out);
        if out.len() == own {
            out.push((path, about));
        }
    }
}

fn parameters(registry: &Registry) -> Vec<(&'static str, String, String)> {
    let mut all = Vec::new();
    for one in registry.types().filter(|one| one.active) {
        let schema = serde_json::to_value((one.parameters)()).unwrap();
        let mut own = Vec::new();
        leaves(&schema, &schema["$defs"], "", "", &mut own);
        all.extend(own.into_iter().map(|(parameter, about)| (one.name, parameter, about)));
    }
    all
}

#[test]
fn every_parameter_has_a_pair() {
    let registry = registry();
    let parameters = parameters(&registry);
    let pairs = pairs();
    let shown: BTreeSet<(&str, &str)> = pairs.iter().map(|one| (one.kind.as_str(), one.sets.as_str())).collect();
    let wanted: BTreeSet<(&str, &str)> = parameters.iter().map(|(kind, parameter, _)| (*kind, parameter.as_str())).collect();
    let missing: Vec<_> = wanted.difference(&shown).collect();
    assert!(missing.is_empty(), "no pair in testdata/parameters: {missing:#?}");
    let unknown: Vec<_> = shown.difference(&wanted).collect();
    assert!(unknown.is_empty(), "no active plugin has these parameters: {unknown:#?}");
    assert!(wanted.len() > 200, "{} parameters", wanted.len());
}

#[test]
fn changing_a_parameter_changes_what_it_says() {
    let registry = registry();
    let about: BTreeMap<(&str, &str), &str> = parameters(&registry)
        .leak()
        .iter()
        .map(|(kind, parameter, about)| ((*kind, parameter.as_str()), about.as_str()))
        .collect();
    let mut wrong = Vec::new();
    for pair in pairs() {
        if pair.changes == "elsewhere" {
            let (file, test) = pair.test.as_deref().and_then(|test| test.split_once(' ')).expect("a file and a test");
            let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {test}(")) {
                wrong.push(format!("{}: there is no {test} in {file}", pair.place()));
            }
            continue;
        }
        let from = match pair.outcome(&pair.from, &registry) {
            Ok(from) => from,
            Err(error) => {
                wrong.push(format!("{}: {error}", pair.place()));
                continue;
            }
        };
        match (pair.changes.as_str(), pair.outcome(&pair.to, &registry)) {
            ("error", Err(error)) if !error.is_empty() => {}
            ("nothing", Ok(to)) => {
                let said = about.get(&(pair.kind.as_str(), pair.sets.as_str())).copied().unwrap_or_default();
                let admitted = ["gnored", "no effect", INACTIVE, "Its name in messages"].iter().any(|word| said.contains(word));
                if to != from || !admitted {
                    wrong.push(format!("{}: changes something, or is not said to change nothing ({said})", pair.place()));
                }
            }
            (what, Ok(to)) if from.get(what).is_some_and(|from| *from != to[what]) => {}
            (what, to) => wrong.push(format!("{}: `{what}` is not changed: {:?} and {to:?}", pair.place(), from.get(what))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_page_can_be_made() {
    assert_eq!(repeated("a${xy*2}b${c*0}"), "axyxyb");
    for pair in pairs().iter().filter(|pair| pair.changes != "elsewhere") {
        assert_ne!(pair.from, pair.to, "{}", pair.place());
    }
}
