//! `predicted-latency-producer`: parameters of the latency predictor, which is not yet active: it predicts nothing.

use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, GoDuration};
use weir_plan::{DataKey, Draft, ExtensionPoint, Need, Parts, PluginContext, PluginType};

use crate::declare::beta;

pub(super) fn plugin() -> PluginType {
    PluginType {
        active: false,
        ..beta::<Params>(
            "predicted-latency-producer",
            &[ExtensionPoint::DataProducer, ExtensionPoint::PreRequest],
            "Predicts the times to the first token and per token at each endpoint, and learns from responses.",
            draft,
        )
    }
}

/// What is predicted and learned.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Share of a latency objective that predictions are held against.
    slo_buffer_factor: f64,
    /// How long what is known of a request is kept: a Go duration, or nanoseconds.
    #[serde(rename = "contextTTL", deserialize_with = "GoDuration::or_nanos")]
    context_ttl: GoDuration,
    /// Whether responses are streamed, so that tokens have times of their own.
    streaming_mode: bool,
    /// Label of endpoints that names their role.
    endpoint_role_label: String,
    /// Whether predictions are made before a request is scheduled.
    predict_in_produce: bool,
    /// Name of the producer of the match. Default: `approx-prefix-cache-producer`.
    prefix_match_info_producer_name: Option<String>,
    /// Name of the `inflight-load-producer`.
    in_flight_load_producer_name: Option<String>,
    /// Whether the encoder cache counts.
    use_encoder_cache_features: bool,
    /// Name of the `mm-embeddings-cache-producer`.
    encoder_cache_match_info_producer_name: Option<String>,
    /// Ignored, as in llm-d.
    sampling_mean: Option<f64>,
    /// Ignored, as in llm-d.
    max_decode_token_samples_for_prediction: Option<i64>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            slo_buffer_factor: 1.0,
            context_ttl: GoDuration::from_secs(300),
            streaming_mode: false,
            endpoint_role_label: String::new(),
            predict_in_produce: true,
            prefix_match_info_producer_name: None,
            in_flight_load_producer_name: None,
            use_encoder_cache_features: false,
            encoder_cache_match_info_producer_name: None,
            sampling_mean: None,
            max_decode_token_samples_for_prediction: None,
        }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if !params.slo_buffer_factor.is_finite() || params.slo_buffer_factor <= 0.0 {
        return Err(context.error_at("sloBufferFactor", format!("must be above 0, is {}", params.slo_buffer_factor)));
    }
    if params.sampling_mean.is_some() || params.max_decode_token_samples_for_prediction.is_some() {
        context.warn("`samplingMean` and `maxDecodeTokenSamplesForPrediction` do nothing, as in llm-d");
    }
    let given = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
    let mut needs = vec![
        Need::required(DataKey::TokenizedPrompt, None),
        Need::required(DataKey::PrefixCacheMatchInfo, given(&params.prefix_match_info_producer_name).as_deref()),
        Need::required(DataKey::InFlightLoad, given(&params.in_flight_load_producer_name).as_deref()),
    ];
    if params.use_encoder_cache_features {
        let name = given(&params.encoder_cache_match_info_producer_name);
        needs.push(Need::required(DataKey::EncoderCacheMatchInfo, name.as_deref()));
    }
    Ok(Draft::wired(needs, vec![DataKey::LatencyPredictionInfo], |_| Ok(Parts::default())))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "predicted-latency-producer";

    #[test]
    fn it_predicts_nothing_yet_and_says_so() {
        let plan = compile(&format!("plugins: [{{type: {KIND}}}, {{type: latency-scorer}}]")).unwrap();
        assert!(plan.inactive().any(|one| one == format!("{KIND}/{KIND}")));
        let mut fixture = Fixture::scraped(2, |i, state| (state.kv_usage, state.waiting) = ([0.2, 0.8][i], [0, 5][i]));
        fixture.produce(&plan);
        assert_eq!(fixture.score_with(&plan), [0.6, 0.07], "as without predictions");
    }

    #[test]
    fn parameters() {
        for parameters in ["{contextTTL: 300000000000}", "{contextTTL: 5m, streamingMode: true, endpointRoleLabel: x}"] {
            compile(&format!("plugins: [{{type: {KIND}, parameters: {parameters}}}, {{type: queue-scorer}}]")).unwrap();
        }
        let plan =
            compile(&format!("plugins: [{{type: {KIND}, parameters: {{useEncoderCacheFeatures: true, samplingMean: 3}}}}]"))
                .unwrap();
        assert_eq!(plan.columns.encoder, ["mm-embeddings-cache-producer"]);
        assert!(plan.warnings.iter().any(|one| one.message.contains("samplingMean")));
        assert!(refused(KIND, "{sloBufferFactor: 0}").contains("above 0"));
        assert!(refused(KIND, "{contextTTL: soon}").contains("soon"));
    }
}
