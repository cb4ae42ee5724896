//! `core-metrics-extractor`: which metric families mean what, per kind of engine.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Draft, EngineSpec, ExtensionPoint, Parts, Payload, PluginContext, PluginType, SourceConfig};

use crate::declare::beta;

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "core-metrics-extractor",
        &[ExtensionPoint::Extractor],
        "Reads queue, batch, KV cache and adapters from engines' metrics pages.",
        draft,
    )
}

/// How an endpoint's engine is known, and engines of one's own.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Label of endpoints that names their engine.
    engine_label_key: String,
    /// Engine of endpoints without that label.
    default_engine: String,
    /// Engines of one's own; one with the name of a built-in engine replaces it entirely.
    engine_configs: Vec<EngineParams>,
}

impl Default for Params {
    fn default() -> Self {
        let (engine_label_key, default_engine) = ("llm-d.ai/engine-type".to_owned(), "vllm".to_owned());
        Self { engine_label_key, default_engine, engine_configs: Vec::new() }
    }
}

/// One engine: specs of the form `family` or `family{label=value}`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct EngineParams {
    /// Its name. Required; `default` is reserved.
    name: String,
    /// Requests in the queue.
    queued_requests_spec: Option<String>,
    /// Requests in the batch.
    running_requests_spec: Option<String>,
    /// Used share of the KV cache, 0 to 1.
    kv_usage_spec: Option<String>,
    /// Adapters.
    lora_spec: Option<String>,
    /// Family whose labels tell block size and number of blocks.
    cache_info_spec: Option<String>,
    /// Label of the block size.
    cache_block_size_label_name: Option<String>,
    /// Label of the number of blocks.
    cache_num_blocks_label_name: Option<String>,
    /// Gauge of the block size.
    cache_block_size_spec: Option<String>,
    /// Gauge of the number of blocks.
    cache_num_blocks_spec: Option<String>,
    /// Metrics for filters and scorers on attributes, at most 32.
    custom_metrics: Vec<CustomMetric>,
}

/// A metric for scorers and filters on attributes.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CustomMetric {
    /// Name of the attribute.
    attribute_key: String,
    /// Where its value stands.
    metric_spec: String,
}

/// Custom metrics of one engine.
const MAX_CUSTOM: usize = 32;

const BUILT_IN: [&str; 5] = ["vllm", "sglang", "trtllm-serve", "triton-tensorrt-llm", "triton"];

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let mut engines: Vec<EngineSpec> = Vec::with_capacity(params.engine_configs.len());
    for one in params.engine_configs {
        let problem = match one.name.as_str() {
            "" => Some("an engine needs a `name`".to_owned()),
            "default" => Some("the name `default` is reserved; set `defaultEngine`".to_owned()),
            name if engines.iter().any(|other| other.name == name) => Some(format!("two engines are named `{name}`")),
            _ => None,
        };
        if let Some(problem) = problem {
            return Err(context.error_at("engineConfigs", problem));
        }
        if one.custom_metrics.len() > MAX_CUSTOM {
            return Err(context.error_at("engineConfigs", format!("`{}` has more than {MAX_CUSTOM} custom metrics", one.name)));
        }
        if one.custom_metrics.iter().any(|custom| custom.attribute_key.is_empty() || custom.metric_spec.is_empty()) {
            return Err(context.error_at("engineConfigs", "a custom metric needs `attributeKey` and `metricSpec`"));
        }
        engines.push(EngineSpec {
            name: one.name,
            queued: one.queued_requests_spec,
            running: one.running_requests_spec,
            kv_usage: one.kv_usage_spec,
            lora: one.lora_spec,
            cache_info: one.cache_info_spec,
            cache_block_size_label: one.cache_block_size_label_name,
            cache_num_blocks_label: one.cache_num_blocks_label_name,
            cache_block_size: one.cache_block_size_spec,
            cache_num_blocks: one.cache_num_blocks_spec,
            custom: one
                .custom_metrics
                .into_iter()
                .map(|custom| (format!("{}/{}", custom.attribute_key, context.name), custom.metric_spec))
                .collect(),
        });
    }
    let names = || engines.iter().map(|one| one.name.as_str()).chain(BUILT_IN);
    if !names().any(|name| name == params.default_engine) {
        let error = context.error_at("defaultEngine", format!("no engine is named `{}`", params.default_engine));
        return Err(error.with_nearest(&params.default_engine, names()));
    }
    let custom = engines.iter().flat_map(|one| &one.custom).map(|(key, _)| key.clone()).collect();
    let source =
        SourceConfig::CoreMetrics { engine_label_key: params.engine_label_key, default_engine: params.default_engine, engines };
    Ok(Draft::ready(Parts { source: Some(source), ..Parts::default() }).taking(&[Payload::MetricsPage]).finding(custom))
}

#[cfg(test)]
mod tests {
    use crate::testing::{compile, refused};

    const KIND: &str = "core-metrics-extractor";

    #[test]
    fn parameters_reach_the_plan() {
        let plan = compile(
            "plugins:\n- type: queue-scorer\n- type: core-metrics-extractor\n  parameters:\n    defaultEngine: mine\n    \
             engineConfigs: [{name: mine, queuedRequestsSpec: 'q{a=b}', customMetrics: [{attributeKey: x, metricSpec: y}]}]",
        )
        .unwrap();
        let metrics = plan.metrics.unwrap();
        assert_eq!((metrics.default_engine.as_str(), metrics.engine_label_key.as_str()), ("mine", "llm-d.ai/engine-type"));
        assert_eq!(metrics.engines[0].queued.as_deref(), Some("q{a=b}"));
        assert_eq!(metrics.engines[0].custom, [("x/core-metrics-extractor".to_owned(), "y".to_owned())]);
    }

    #[test]
    fn every_spec_of_an_engine_reaches_the_plan() {
        let plan = compile(
            "plugins:\n- type: kv-cache-utilization-scorer\n- type: core-metrics-extractor\n  parameters:\n    engineLabelKey: \
             engine\n    engineConfigs:\n    - {name: vllm, runningRequestsSpec: r, kvUsageSpec: k, loraSpec: l, cacheInfoSpec: i, \
             cacheBlockSizeLabelName: bl, cacheNumBlocksLabelName: nl, cacheBlockSizeSpec: b, cacheNumBlocksSpec: n}\n",
        )
        .unwrap();
        let metrics = plan.metrics.unwrap();
        assert_eq!(metrics.engine_label_key, "engine");
        let one = &metrics.engines[0];
        let specs = [&one.running, &one.kv_usage, &one.lora, &one.cache_info, &one.cache_block_size_label];
        assert_eq!(specs.map(|spec| spec.as_deref().unwrap_or_default()), ["r", "k", "l", "i", "bl"]);
        let specs = [&one.cache_num_blocks_label, &one.cache_block_size, &one.cache_num_blocks, &one.queued];
        assert_eq!(specs.map(|spec| spec.as_deref().unwrap_or_default()), ["nl", "b", "n", ""], "nothing is inherited");
    }

    #[test]
    fn parameters_that_are_refused() {
        assert!(refused(KIND, "{engineConfigs: [{name: default}]}").contains("reserved"));
        assert!(refused(KIND, "{engineConfigs: [{}]}").contains("`name`"));
        assert!(refused(KIND, "{engineConfigs: [{name: a, customMetrics: [{attributeKey: x}]}]}").contains("metricSpec"));
        assert!(refused(KIND, "{engineConfigs: [{name: a}, {name: a}]}").contains("two engines"));
        assert!(refused(KIND, "{defaultEngine: vlm}").contains("did you mean `vllm`"));
    }
}
