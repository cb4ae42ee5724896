//! Tests of the picker's configuration.

use super::*;

macro_rules! samples {
    ($($n:literal),*) => { [$(($n, include_str!(concat!("../../../../testdata/config/sample-12-", $n, ".yaml")))),*] };
}

fn sample(number: u32) -> EndpointPickerConfig {
    let all = samples!(1, 2, 3, 4, 5, 6, 7, 8, 9);
    let (_, text) = all[number as usize - 1];
    EndpointPickerConfig::parse(text).unwrap().value
}

const HEAD: &str = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

/// Findings of a document whose first line here is its third.
fn found(body: &str) -> Vec<String> {
    found_whole(&format!("{HEAD}{body}"))
}

fn found_whole(text: &str) -> Vec<String> {
    let found = match EndpointPickerConfig::parse(text) {
        Ok(checked) => checked.warnings,
        Err(found) => found,
    };
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn samples_parse_without_a_finding() {
    for (number, text) in samples!(1, 2, 3, 4, 5, 6, 7, 8, 9) {
        let checked = EndpointPickerConfig::parse(text).unwrap_or_else(|found| panic!("sample {number}:\n{found}"));
        assert!(checked.warnings.is_empty(), "sample {number}:\n{}", checked.warnings);
    }
}

#[test]
fn samples_read_back_what_they_print() {
    for (number, text) in samples!(1, 2, 3, 4, 5, 6, 7, 8, 9) {
        let config = EndpointPickerConfig::parse(text).unwrap().value;
        let json = serde_json::to_string(&config).unwrap();
        let again = EndpointPickerConfig::parse(&json).unwrap_or_else(|found| panic!("sample {number}:\n{found}")).value;
        let plugin = |c: &EndpointPickerConfig| serde_json::to_value(c).unwrap();
        assert_eq!(plugin(&again), plugin(&config), "sample {number}");
    }
}

#[test]
fn builtin_is_the_first_sample() {
    let mut builtin = EndpointPickerConfig::builtin();
    let mut first = sample(1);
    assert_eq!(builtin.plugins.len(), 5);
    for plugin in builtin.plugins.iter_mut().chain(&mut first.plugins) {
        plugin.at = Span::default();
    }
    assert_eq!(builtin, first);
}

#[test]
fn what_samples_say_is_what_is_read() {
    let six = sample(6);
    assert!(six.gates().unwrap().flow_control);
    let flow = six.flow_control.unwrap();
    assert_eq!(flow.max_bytes.unwrap().get(), 10 << 30);
    assert_eq!(flow.max_requests.unwrap().get(), 1_000);
    assert_eq!(flow.no_endpoint_ttl(), GoDuration::from_secs(300));
    assert!(flow.enable_eviction);
    assert_eq!(flow.priority_bands.iter().map(|b| b.priority.value).collect::<Vec<_>>(), [100, 0, -10]);
    assert_eq!(flow.default_negative_priority_band.unwrap().max_bytes(), 100_000_000);

    let five = sample(5);
    let names: Vec<&str> = five.plugins.iter().map(PluginSpec::name).collect();
    assert_eq!(names[3..6], ["strict-affinity", "loose-affinity", "slo-headroom-tier-filter"]);
    assert_eq!(five.plugins[3].plugin_type.as_str(), "prefix-cache-affinity-filter");

    let first = sample(1);
    let weights: Vec<Option<f64>> = first.scheduling_profiles[0].plugins.iter().map(|p| p.weight).collect();
    assert_eq!(weights, [Some(2.0), Some(2.0), Some(3.0)]);
    assert!(first.data_layer.unwrap().inject_defaults);
}

#[test]
fn entries_know_their_places() {
    let config =
        EndpointPickerConfig::parse(&format!("{HEAD}plugins:\n- type: a\n- name: b\n  type: a\n  parameters:\n    x: 1\n"))
            .unwrap()
            .value;
    let place = |p: &PluginSpec| (p.at.line, p.at.column, p.path.clone());
    assert_eq!(place(&config.plugins[0]), (4, 3, "plugins[0]".into()));
    assert_eq!(place(&config.plugins[1]), (5, 3, "plugins[1]".into()));
    assert_eq!(config.plugins[1].parameters.at().line, 8);
    assert_eq!(config.plugins[1].parameters.path(), "plugins[1].parameters");
    let none = &config.plugins[0].parameters;
    assert_eq!((none.at().line, none.path(), none.node()), (4, "plugins[0].parameters", None));
}

#[test]
fn findings_say_where() {
    for (body, want) in [
        ("plugin: []", "3:1: error: plugin: unknown field `plugin` (did you mean `plugins`?)"),
        ("plugins:\n- name: a", "4:3: error: plugins[0]: the field `type` is missing"),
        ("plugins:\n- type: ''", "4:9: error: plugins[0].type: a plugin's type cannot be empty"),
        (
            "plugins:\n- type: a\n- type: a",
            "5:9: error: plugins[1].type: two plugins are called `a`; the first is on line 4 (give one of them a `name` of its own)",
        ),
        (
            "plugins:\n- type: a\n- {type: b, name: a}",
            "5:19: error: plugins[1].name: two plugins are called `a`; the first is on line 4",
        ),
        (
            "plugins:\n- {type: a, params: {}}",
            "4:13: error: plugins[0].params: unknown field `params` (known here: `name`, `type`, `parameters`)",
        ),
        (
            "plugins:\n- {type: a, Parameters: {}}",
            "4:13: error: plugins[0].Parameters: unknown field `Parameters` (did you mean `parameters`?)",
        ),
        ("plugins:\n- type: a\n  type: b", "5:3: error: plugins[0]: the key `type` is already set on line 4"),
        ("schedulingProfiles:\n- plugins: []", "4:3: error: schedulingProfiles[0]: the field `name` is missing"),
        ("schedulingProfiles:\n- name: ''", "4:9: error: schedulingProfiles[0].name: a profile's name cannot be empty"),
        (
            "schedulingProfiles:\n- name: p\n- name: p",
            "5:9: error: schedulingProfiles[1].name: two profiles are called `p`; the first is on line 4",
        ),
        (
            "schedulingProfiles:\n- name: p\n  plugins:\n  - weight: 1",
            "6:5: error: schedulingProfiles[0].plugins[0]: the field `pluginRef` is missing",
        ),
        (
            "schedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: ''}",
            "6:17: error: schedulingProfiles[0].plugins[0].pluginRef: the reference to a plugin cannot be empty",
        ),
        (
            "schedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: a, weight: heavy}",
            "6:28: error: schedulingProfiles[0].plugins[0].weight: expected a number, found the string \"heavy\"",
        ),
        (
            "schedulingProfiles:\n- name: p\n  plugins:\n  - {pluginRef: a, weight: .nan}",
            "6:17: error: schedulingProfiles[0].plugins[0].pluginRef: the weight must be a finite number",
        ),
        (
            "featureGates: [flowcontrol]",
            "3:16: error: featureGates[0]: unknown feature gate `flowcontrol` (did you mean `flowControl`?)",
        ),
        (
            "featureGates: [flowControl=maybe]",
            "3:16: error: featureGates[0]: the feature gate `flowControl` cannot be \"maybe\" (write flowControl=true or flowControl=false)",
        ),
        (
            "featureGates: [flowControl]\nflowControl: {maxBytes: -1Gi}",
            "4:25: error: flowControl.maxBytes: the quantity \"-1Gi\" is negative",
        ),
        (
            "featureGates: [flowControl]\nflowControl: {defaultRequestTTL: 60}",
            "4:34: error: flowControl.defaultRequestTTL: the duration \"60\" has no unit (write 60ms or 60s)",
        ),
        (
            "featureGates: [flowControl]\nflowControl:\n  priorityBands:\n  - {priority: 1}\n  - {priority: 1}",
            "7:16: error: flowControl.priorityBands[1].priority: two bands have the priority 1; the first is on line 6",
        ),
        (
            "flowControl: {maxRequests: 5}",
            "3:1: warning: flowControl: flowControl is ignored: the feature gate `flowControl` is closed (write featureGates: [flowControl])",
        ),
        (
            "saturationDetector: {pluginRef: x}",
            "3:33: warning: saturationDetector.pluginRef: `saturationDetector` is deprecated (move it to `flowControl.saturationDetector`)",
        ),
        (
            "parser: {pluginRef: x}",
            "3:21: warning: parser.pluginRef: `parser` is deprecated (move it to `requestHandler.parsers`)",
        ),
        (
            "dataLayer:\n  sources:\n  - pluginRef: a\n    extractors: [{pluginRef: ' '}]",
            "6:30: error: dataLayer.sources[0].extractors[0].pluginRef: the reference to a plugin cannot be empty",
        ),
    ] {
        assert_eq!(found(body), [want], "{body}");
    }
}

#[test]
fn versions() {
    assert_eq!(
        found_whole("apiVersion: inference.networking.x-k8s.io/v1alpha1\nkind: EndpointPickerConfig\n"),
        [
            "1:13: warning: apiVersion: the apiVersion `inference.networking.x-k8s.io/v1alpha1` is deprecated (write llm-d.ai/v1alpha1)"
        ]
    );
    assert_eq!(
        found_whole("apiVersion: llm-d.ai/v2\nkind: Pod\n"),
        [
            "1:13: error: apiVersion: the apiVersion `llm-d.ai/v2` is not supported (write llm-d.ai/v1alpha1)",
            "2:7: error: kind: the kind `Pod` is not supported (write EndpointPickerConfig)",
        ]
    );
    assert_eq!(
        found_whole("plugins: []"),
        [
            "1:1: error: apiVersion: the field `apiVersion` is missing (write apiVersion: llm-d.ai/v1alpha1)",
            "1:1: error: kind: the field `kind` is missing (write kind: EndpointPickerConfig)",
        ]
    );
    let inside = EndpointPickerConfig::from_node(&yaml::parse("plugins: []").unwrap(), "pools[0].scheduling", Standing::Inside);
    assert!(inside.unwrap().warnings.is_empty());
}

#[test]
fn deprecated_fields_move_and_the_new_ones_win() {
    let read = |body: &str| EndpointPickerConfig::parse(&format!("{HEAD}{body}")).unwrap().value;
    let moved = read("saturationDetector: {pluginRef: old}\nparser: {pluginRef: p}");
    assert_eq!(moved.flow_control.unwrap().saturation_detector.unwrap().plugin_ref.as_str(), "old");
    assert_eq!(moved.request_handler.unwrap().parsers[0].plugin_ref.as_str(), "p");
    assert!(moved.saturation_detector.is_none() && moved.parser.is_none());
    let kept = read(
        "saturationDetector: {pluginRef: old}\nflowControl: {saturationDetector: {pluginRef: new}}\nparser: {pluginRef: p}\nrequestHandler: {parsers: [{pluginRef: q}]}",
    );
    assert_eq!(kept.flow_control.unwrap().saturation_detector.unwrap().plugin_ref.as_str(), "new");
    assert_eq!(kept.request_handler.unwrap().parsers.len(), 1);
}

#[test]
fn gates() {
    let parse = |list: &[&str]| FeatureGates::parse(&list.iter().map(|s| Spanned::nowhere((*s).to_owned())).collect::<Vec<_>>());
    assert_eq!(parse(&[]).unwrap(), FeatureGates { flow_control: false, ha_populate_non_leader_datastore: true });
    for text in ["flowControl", "flowControl=true", " flowControl = TRUE ", "flowControl=1", "flowControl=T"] {
        assert!(parse(&[text]).unwrap().flow_control, "{text}");
    }
    for text in ["flowControl=false", "flowControl=F", "flowControl=0"] {
        assert!(!parse(&["flowControl", text]).unwrap().flow_control, "{text}");
    }
    assert!(!parse(&["haPopulateNonLeaderDatastore=false"]).unwrap().ha_populate_non_leader_datastore);
    assert_eq!(parse(&["nope", "flowControl=", "FLOWCONTROL"]).unwrap_err().len(), 3);
}

#[test]
fn a_closed_gate_is_mentioned_only_when_it_matters() {
    for body in [
        "flowControl: {saturationDetector: {pluginRef: x}}",
        "flowControl: {enableEviction: true}",
        "flowControl: {}",
        "flowControl: {defaultPriorityBand: {}}",
        "featureGates: [flowControl]\nflowControl: {maxRequests: 5}",
    ] {
        assert_eq!(found(body), [""; 0], "{body}");
    }
    for body in [
        "featureGates: [flowControl=false]\nflowControl: {maxRequests: 5}",
        "flowControl: {defaultPriorityBand: {maxRequests: 1}}",
    ] {
        assert_eq!(found(body).len(), 1, "{body}");
    }
}

#[test]
fn defaults_of_flow_control() {
    let flow = |body: &str| {
        let text = format!("{HEAD}featureGates: [flowControl]\nflowControl: {body}");
        EndpointPickerConfig::parse(&text).unwrap().value.flow_control.unwrap()
    };
    let secs = GoDuration::from_secs;
    assert_eq!((flow("{}").request_ttl(), flow("{}").no_endpoint_ttl()), (secs(60), secs(60)));
    let short = flow("{defaultRequestTTL: 30s}");
    assert_eq!((short.request_ttl(), short.no_endpoint_ttl()), (secs(30), secs(30)));
    assert_eq!(flow("{noEndpointRequestTTL: 0s}").no_endpoint_ttl(), GoDuration::ZERO);
    for band in ["{}", "{maxBytes: 0, maxRequests: '0'}"] {
        let band = flow(&format!("{{defaultPriorityBand: {band}}}")).default_priority_band.unwrap();
        assert_eq!((band.max_bytes(), band.max_requests()), (1_000_000_000, 5_000));
    }
}
