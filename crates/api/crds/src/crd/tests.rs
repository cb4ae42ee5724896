use std::{fs, path::Path};

use super::*;
use crate::to_yaml;

fn all() -> Vec<(String, Value)> {
    [crds(Bundle::Current), crds(Bundle::Legacy)].concat()
}

fn schema<'v>(crd: &'v Value, path: &str) -> &'v Value {
    let mut at = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for step in path.split('.').filter(|step| !step.is_empty()) {
        at = match step {
            "[]" => &at["items"],
            "*" => &at["additionalProperties"],
            name => &at["properties"][name],
        };
        assert!(at.is_object(), "{path}: nothing at {step}");
    }
    at
}

/// All that a schema says but what it is made of and what people read.
fn says(crd: &Value, path: &str) -> Value {
    let mut found = schema(crd, path).clone();
    for key in ["description", "properties", "items", "additionalProperties"] {
        found.as_object_mut().unwrap().remove(key);
    }
    found
}

const GROUP: &str = r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const KIND: &str = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";

#[test]
fn names_versions_and_columns_are_upstreams() {
    let found: Vec<Value> = all()
        .iter()
        .map(|(name, crd)| {
            let version = &crd["spec"]["versions"][0];
            assert_eq!(crd["spec"]["versions"].as_array().unwrap().len(), 1);
            assert_eq!((&version["served"], &version["storage"]), (&json!(true), &json!(true)));
            assert_eq!(version["subresources"], json!({"status": {}}));
            assert_eq!(crd["spec"]["scope"], "Namespaced");
            let names = &crd["spec"]["names"];
            let columns: Vec<&Value> =
                version["additionalPrinterColumns"].as_array().into_iter().flatten().map(|column| &column["name"]).collect();
            json!([name, version["name"], names["kind"], names["listKind"], names["singular"], names["shortNames"], columns])
        })
        .collect();
    let objective = ["Inference Pool", "Priority", "Age"];
    let rewrite = ["Inference Pool", "Age"];
    let row = |group: &str, version: &str, kind: &str, short: Value, columns: &[&str]| {
        let singular = kind.to_lowercase();
        json!([format!("{singular}s.{group}"), version, kind, format!("{kind}List"), singular, short, columns])
    };
    let want = [
        row(POOL_GROUP, "v1", "InferencePool", json!(["infpool"]), &[]),
        row(LLM_D_GROUP, "v1alpha2", "InferenceObjective", Value::Null, &objective),
        row(LLM_D_GROUP, "v1alpha2", "InferenceModelRewrite", Value::Null, &rewrite),
        row(LEGACY_GROUP, "v1alpha2", "InferencePool", Value::Null, &[]),
        row(LEGACY_GROUP, "v1alpha2", "InferenceObjective", Value::Null, &objective),
        row(LEGACY_GROUP, "v1alpha2", "InferenceModelRewrite", Value::Null, &rewrite),
    ];
    assert_eq!(found, want);
}

#[test]
fn a_pool_is_validated_as_upstream_does() {
    let (_, pool) = &crds(Bundle::Current)[0];
    let label = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
    for (path, want) in [
        ("", json!({"type": "object", "required": ["spec"]})),
        ("spec", json!({"type": "object", "required": ["selector", "targetPorts"]})),
        ("spec.selector", json!({"type": "object", "required": ["matchLabels"]})),
        ("spec.selector.matchLabels", json!({"type": "object", "minProperties": 1, "maxProperties": 64})),
        ("spec.selector.matchLabels.*", json!({"type": "string", "minLength": 0, "maxLength": 63, "pattern": label})),
        (
            "spec.targetPorts",
            json!({"type": "array", "minItems": 1, "maxItems": 8, "x-kubernetes-list-type": "atomic", "x-kubernetes-validations": [
                {"message": "port number must be unique", "rule": "self.all(p1, self.exists_one(p2, p1.number==p2.number))"}]}),
        ),
        ("spec.targetPorts.[]", json!({"type": "object", "required": ["number"]})),
        ("spec.targetPorts.[].number", json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 65535})),
        ("spec.appProtocol", json!({"type": "string", "enum": ["http", "kubernetes.io/h2c"], "default": "http"})),
        (
            "spec.endpointPickerRef",
            json!({"type": "object", "required": ["name"], "x-kubernetes-validations": [{
                "message": "port is required when kind is 'Service' or unspecified (defaults to 'Service')",
                "rule": "self.kind != 'Service' || has(self.port)"}]}),
        ),
        ("spec.endpointPickerRef.group", json!({"type": "string", "default": "", "maxLength": 253, "pattern": GROUP})),
        (
            "spec.endpointPickerRef.kind",
            json!({"type": "string", "default": "Service", "minLength": 1, "maxLength": 63, "pattern": KIND}),
        ),
        ("spec.endpointPickerRef.name", json!({"type": "string", "minLength": 1, "maxLength": 253})),
        ("spec.endpointPickerRef.port", json!({"type": "object", "required": ["number"]})),
        (
            "spec.endpointPickerRef.failureMode",
            json!({"type": "string", "enum": ["FailOpen", "FailClose"], "default": "FailClose"}),
        ),
        ("status.parents", json!({"type": "array", "maxItems": 32, "x-kubernetes-list-type": "atomic"})),
        ("status.parents.[]", json!({"type": "object", "required": ["parentRef"]})),
        (
            "status.parents.[].conditions",
            json!({"type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
        ),
        (
            "status.parents.[].parentRef.group",
            json!({"type": "string", "default": "gateway.networking.k8s.io", "maxLength": 253, "pattern": GROUP}),
        ),
        (
            "status.parents.[].parentRef.kind",
            json!({"type": "string", "default": "Gateway", "minLength": 1, "maxLength": 63, "pattern": KIND}),
        ),
    ] {
        assert_eq!(says(pool, path), want, "{path}");
    }
    assert!(pool["metadata"]["annotations"]["api-approved.kubernetes.io"].is_string());
}

#[test]
fn objectives_and_rewrites_are_validated_as_upstream_does() {
    for bundle in [Bundle::Current, Bundle::Legacy] {
        let made = crds(bundle);
        let (objective, rewrite) = (&made[1].1, &made[2].1);
        let pending = |kind: &str| {
            json!({"type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                "default": [{"type": kind, "status": "Unknown", "reason": "Pending", "message": "Waiting for controller",
                    "lastTransitionTime": "1970-01-01T00:00:00Z"}]})
        };
        for (crd, path, want) in [
            (objective, "", json!({"type": "object"})),
            (objective, "spec", json!({"type": "object", "required": ["poolRef"]})),
            (objective, "spec.priority", json!({"type": "integer", "format": "int32"})),
            (objective, "status.conditions", pending("Ready")),
            (rewrite, "spec", json!({"type": "object", "required": ["poolRef", "rules"]})),
            (rewrite, "spec.poolRef", json!({"type": "object", "required": ["name"]})),
            (
                rewrite,
                "spec.poolRef.group",
                json!({"type": "string", "default": "inference.networking.k8s.io", "maxLength": 253, "pattern": GROUP}),
            ),
            (
                rewrite,
                "spec.poolRef.kind",
                json!({"type": "string", "default": "InferencePool", "minLength": 1, "maxLength": 63, "pattern": KIND}),
            ),
            (rewrite, "spec.poolRef.name", json!({"type": "string", "minLength": 1, "maxLength": 253})),
            (rewrite, "spec.rules.[]", json!({"type": "object"})),
            (rewrite, "spec.rules.[].matches", json!({"type": "array"})),
            (rewrite, "spec.rules.[].matches.[]", json!({"type": "object", "required": ["model"]})),
            (rewrite, "spec.rules.[].matches.[].model", json!({"type": "object", "required": ["value"]})),
            (rewrite, "spec.rules.[].matches.[].model.type", json!({"type": "string", "enum": ["Exact"], "default": "Exact"})),
            (rewrite, "spec.rules.[].matches.[].model.value", json!({"type": "string", "minLength": 1})),
            (rewrite, "spec.rules.[].targets", json!({"type": "array", "minItems": 1})),
            (rewrite, "spec.rules.[].targets.[]", json!({"type": "object", "required": ["modelRewrite"]})),
            (
                rewrite,
                "spec.rules.[].targets.[].weight",
                json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": 1_000_000}),
            ),
            (rewrite, "status.conditions", pending("Accepted")),
        ] {
            assert_eq!(says(crd, path), want, "{path}");
        }
    }
}

#[test]
fn the_old_pool_becomes_the_new_one() {
    let old = json!({"selector": {"app": "vllm"}, "targetPortNumber": 8000, "extensionRef": {"name": "epp"}});
    let old: crate::LegacyInferencePoolSpec = serde_json::from_value(old).unwrap();
    let want = json!({"selector": {"matchLabels": {"app": "vllm"}}, "targetPorts": [{"number": 8000}], "appProtocol": "http",
        "endpointPickerRef": {"group": "", "kind": "Service", "name": "epp", "port": {"number": 9002}, "failureMode": "FailClose"}});
    assert_eq!(serde_json::to_value(crate::InferencePoolSpec::from(old)).unwrap(), want);
    let (_, crd) = &crds(Bundle::Legacy)[0];
    assert_eq!(schema(crd, "spec")["required"], json!(["extensionRef", "selector", "targetPortNumber"]));
    assert_eq!(schema(crd, "status")["default"]["parent"][0]["parentRef"], json!({"kind": "Status", "name": "default"}));
}

/// `weir crds --dir deploy/kubernetes/crds --legacy` writes them.
#[test]
fn the_checked_in_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/kubernetes/crds");
    for (name, crd) in all() {
        let path = folder.join(format!("{name}.yaml"));
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == to_yaml(&crd), "{} is stale: run `weir crds --legacy --dir deploy/kubernetes/crds`", path.display());
    }
}
