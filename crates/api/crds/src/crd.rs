//! The definitions, as an API server takes them.

use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

use crate::{
    InferenceModelRewrite, InferenceObjective, InferencePool, LegacyInferencePool,
    reference::{LEGACY_GROUP, LLM_D_GROUP, POOL_GROUP},
};

/// Release of the Gateway API Inference Extension that the pools are equal to.
const POOL_BUNDLE: &str = "v1.5.0";
/// Release of llm-d's router that objectives and rewrites are equal to.
const LLM_D_BUNDLE: &str = "v0.10.0";

/// A set of definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// `InferencePool` v1, objectives and rewrites of `llm-d.ai`.
    Current,
    /// `InferencePool` v1alpha2, objectives and rewrites of the group that they were in before.
    Legacy,
}

/// The definitions of a bundle, each with its name, such as `inferencepools.inference.networking.k8s.io`.
///
/// # Panics
/// Never: the types are fixed, and a test makes all of them.
pub fn crds(bundle: Bundle) -> Vec<(String, Value)> {
    let objective = || serde_json::to_value(InferenceObjective::crd());
    let rewrite = || serde_json::to_value(InferenceModelRewrite::crd());
    let made = match bundle {
        Bundle::Current => [
            (serde_json::to_value(InferencePool::crd()), POOL_GROUP, POOL_BUNDLE),
            (objective(), LLM_D_GROUP, LLM_D_BUNDLE),
            (rewrite(), LLM_D_GROUP, LLM_D_BUNDLE),
        ],
        Bundle::Legacy => [
            (serde_json::to_value(LegacyInferencePool::crd()), LEGACY_GROUP, POOL_BUNDLE),
            (objective(), LEGACY_GROUP, POOL_BUNDLE),
            (rewrite(), LEGACY_GROUP, POOL_BUNDLE),
        ],
    };
    made.into_iter().filter_map(|(made, group, bundle)| Some(finish(made.ok()?, group, bundle))).collect()
}

fn finish(mut crd: Value, group: &str, bundle: &str) -> (String, Value) {
    let name = format!("{}.{group}", crd["spec"]["names"]["plural"].as_str().unwrap_or_default());
    crd["metadata"]["name"] = json!(name);
    crd["spec"]["group"] = json!(group);
    crd["metadata"]["annotations"][format!("{group}/bundle-version")] = json!(bundle);
    let names = &mut crd["spec"]["names"];
    names["listKind"] = json!(format!("{}List", names["kind"].as_str().unwrap_or_default()));
    if let Some(root) = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].as_object_mut() {
        root.remove("title");
        if group != POOL_GROUP {
            // Upstream takes these without a spec, too.
            root.remove("required");
        }
    }
    tidy(&mut crd);
    (name, crd)
}

/// Drops what says nothing, and what would make an API server differ from upstream's: `null` is not a value of any field.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("nullable") == Some(&json!(true)) {
                map.remove("nullable");
            }
            // Only what the definition itself holds; a property may bear one of these names.
            let is_names = map.contains_key("plural");
            let is_version = map.contains_key("served");
            let empty = |map: &Map<String, Value>, key| map.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty);
            for key in ["categories", "shortNames", "additionalPrinterColumns", "selectableFields"] {
                if (is_names || is_version) && empty(map, key) {
                    map.remove(key);
                }
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        // Bounds come as fractions.
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e15) {
                *number = (whole as i64).into();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
