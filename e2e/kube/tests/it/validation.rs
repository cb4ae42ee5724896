//! What a real API server says of pools: the definitions' own rules.

use kube::{
    Api,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::cluster::{Cluster, LLM_D, POOL};

#[tokio::test]
#[ignore = "needs a real API server: ./test kube"]
async fn definitions_refuse_what_is_wrong_and_fill_in_what_is_missing() {
    let cluster = Cluster::real("validation").await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("inference.networking.k8s.io", "v1", "InferencePool"));
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.admin.clone(), &cluster.namespace, &kind);
    let picker = json!({"name": "epp", "port": {"number": 9002}});
    let spec = |ports: &[u32], picker: Value| {
        let ports: Vec<Value> = ports.iter().map(|number| json!({"number": number})).collect();
        json!({"selector": {"matchLabels": {"app": "vllm"}}, "targetPorts": ports, "endpointPickerRef": picker})
    };
    let with = |key: &str, value: Value| {
        let mut spec = spec(&[8000], picker.clone());
        spec[key] = value;
        spec
    };
    let port_required = "port is required when kind is 'Service' or unspecified (defaults to 'Service')";
    let vectors: Vec<(Value, Option<&str>)> = vec![
        (spec(&[8000], picker.clone()), None),
        (with("appProtocol", json!("kubernetes.io/h2c")), None),
        (with("appProtocol", json!("grpc")), Some("Unsupported value")),
        (spec(&[8000], json!({"name": "epp"})), Some(port_required)),
        (spec(&[8000], json!({"name": "epp", "kind": "Service"})), Some(port_required)),
        (spec(&[8000], json!({"name": "epp", "kind": "Other"})), None),
        (spec(&[8000, 80, 8081, 443], picker.clone()), None),
        (spec(&[8000, 80, 8000, 443], picker.clone()), Some("port number must be unique")),
        (spec(&[], picker.clone()), Some("at least 1 items")),
        (spec(&[0], picker.clone()), Some("should be greater than or equal to 1")),
        (spec(&[1, 2, 3, 4, 5, 6, 7, 8, 9], picker.clone()), Some("at most 8 items")),
        (spec(&[8000], json!({"name": "epp", "port": {"number": 9002}, "failureMode": "FailClosed"})), Some("Unsupported value")),
        (with("selector", json!({"matchLabels": {}})), Some("at least 1 properties")),
        (with("selector", json!({"matchLabels": {"a": "-"}})), Some("should match")),
    ];
    for (number, (spec, want)) in vectors.into_iter().enumerate() {
        let object =
            json!({"apiVersion": POOL, "kind": "InferencePool", "metadata": {"name": format!("p{number}")}, "spec": spec});
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        match (made, want) {
            (Ok(made), None) => {
                let spec = &made.data["spec"];
                assert!(spec["appProtocol"].is_string(), "{number}: {spec}");
                assert_eq!(spec["endpointPickerRef"]["failureMode"], "FailClose", "{number}");
            }
            (Err(kube::Error::Api(status)), Some(want)) => {
                assert!(status.code == 422 && status.message.contains(want), "{number}: {}", status.message);
            }
            (made, want) => panic!("{number}: wanted {want:?}, got {made:?}"),
        }
    }
}

#[tokio::test]
#[ignore = "needs a real API server: ./test kube"]
async fn references_to_pools_are_filled_in() {
    let cluster = Cluster::real("references").await;
    for (kind, spec) in [
        ("InferenceObjective", json!({"poolRef": {"name": "chat"}})),
        ("InferenceModelRewrite", json!({"poolRef": {"name": "chat"}, "rules": [{"targets": [{"modelRewrite": "m"}]}]})),
    ] {
        let made = cluster.create(LLM_D, kind, json!({"metadata": {"name": "one"}, "spec": spec})).await;
        let reference = json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "chat"});
        assert_eq!(made.data["spec"]["poolRef"], reference);
    }
}
