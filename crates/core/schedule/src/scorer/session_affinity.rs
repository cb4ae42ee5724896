//! `session-affinity-scorer`: keeps the requests of one session on one endpoint.

mod bindings;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers};
use weir_plan::{
    Attributes, DataSet, Draft, ExtensionPoint, Outgoing, Parts, PluginContext, PluginType, PoolView, PreRequest, RequestView,
    ResponseHeaders, Scorer, Served, Stability, Targets,
};

use self::bindings::Bindings;
use crate::declare::{beta, header_name};

pub(crate) fn plugin() -> PluginType {
    PluginType {
        stability: Stability::Alpha,
        ..beta::<Params>(
            "session-affinity-scorer",
            &[ExtensionPoint::Scorer, ExtensionPoint::PreRequest, ExtensionPoint::ResponseHeader],
            "Scores the endpoint that a session is bound to 1, all others 0.",
            draft,
        )
    }
}

/// How a session is recognised.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Who remembers the endpoint: the client or this router.
    strategy: Strategy,
    /// For `encoded_endpoint_header`.
    encoded_endpoint_header_config: HeaderParams,
    /// For `session_id`.
    session_id_config: SessionIdParams,
    /// For `session_id`: profile whose target a session is bound to; empty means the one that gets the request.
    profile_name: String,
}

/// Who remembers the endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    /// The client: each answer names the endpoint in a header that the client sends back. Works across replicas.
    #[default]
    EncodedEndpointHeader,
    /// This router, by a session id that the client sends. Lost on restart.
    SessionId,
}

/// The header in which the endpoint goes to the client and comes back.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct HeaderParams {
    /// Its name.
    header: String,
}

impl Default for HeaderParams {
    fn default() -> Self {
        Self { header: headers::SESSION_TOKEN.to_owned() }
    }
}

/// Where session ids come from and how long a session lasts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct SessionIdParams {
    /// The first of these that gives an id counts. Default: header `x-session-id`.
    sources: Vec<Source>,
    /// Seconds after which an unused session is forgotten.
    eviction_ttl_seconds: f64,
    /// Seconds between searches for unused sessions.
    eviction_sweep_seconds: f64,
}

impl Default for SessionIdParams {
    fn default() -> Self {
        Self { sources: Vec::new(), eviction_ttl_seconds: 300.0, eviction_sweep_seconds: 10.0 }
    }
}

/// A header, or an attribute that a producer sets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Source {
    /// Name of a request header.
    header: Option<String>,
    /// Name of a request attribute. Not yet active.
    attribute: Option<String>,
    /// Producer of the attribute.
    producer: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    match params.strategy {
        Strategy::EncodedEndpointHeader => {
            let header =
                header_name(context, "encodedEndpointHeaderConfig.header", &params.encoded_endpoint_header_config.header)?;
            if !params.profile_name.is_empty() {
                context.warn(
                    "`profileName` has no effect with strategy `encoded_endpoint_header`: the endpoint that answers counts",
                );
            }
            let plugin = Arc::new(EncodedEndpoint { header });
            Ok(Draft::ready(Parts { scorer: Some(plugin.clone()), response_headers: Some(plugin), ..Parts::default() }))
        }
        Strategy::SessionId => session_id(context, params),
    }
}

fn session_id(
    context: &mut PluginContext<'_>,
    Params { session_id_config: config, profile_name, .. }: Params,
) -> Result<Draft, Diagnostic> {
    let mut names = Vec::new();
    for source in &config.sources {
        match (&source.header, &source.attribute) {
            (Some(header), None) if source.producer.is_none() => {
                names.push(header_name(context, "sessionIdConfig.sources", header)?);
            }
            (None, Some(attribute)) => {
                context.warn(format!("session ids from attributes are not yet active: `{attribute}` is skipped"));
            }
            _ => return Err(context.error_at("sessionIdConfig.sources", "a source is either {header} or {attribute, producer}")),
        }
    }
    if config.sources.is_empty() {
        names.push(HeaderName::from_static(headers::SESSION_ID));
    }
    let seconds = |field: &str, value: f64| {
        let duration = Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| context.error_at(field, format!("must be a number of seconds above 0, is {value}")))
    };
    let ttl = seconds("sessionIdConfig.evictionTtlSeconds", config.eviction_ttl_seconds)?;
    let sweep = seconds("sessionIdConfig.evictionSweepSeconds", config.eviction_sweep_seconds)?;
    let unknown = context.error_at("profileName", format!("no profile is named `{profile_name}`"));
    Ok(Draft::wired(Vec::new(), Vec::new(), move |wiring| {
        if !profile_name.is_empty() && !wiring.profiles().contains(&profile_name) {
            return Err(unknown);
        }
        let prefill = profile_name == "prefill" && wiring.profiles().len() > 1;
        let plugin = Arc::new(SessionId { names, prefill, bindings: Bindings::new(ttl, sweep) });
        Ok(Parts { scorer: Some(plugin.clone()), pre_request: Some(plugin), ..Parts::default() })
    }))
}

/// The client carries base64 of `namespace/name`. What cannot be decoded or is not among the candidates has no effect.
struct EncodedEndpoint {
    header: HeaderName,
}

/// Longest id that is decoded: a Kubernetes namespace and name, with room.
const MAX_ID: usize = 512;

impl Scorer for EncodedEndpoint {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let Some(token) = request.headers.get(&self.header) else { return };
        let mut buffer = [0; MAX_ID];
        let Ok(len) = STANDARD.decode_slice(token.as_bytes(), &mut buffer) else { return };
        let id = &buffer[..len];
        if let Some(place) = (0..view.len()).find(|i| view.endpoint(*i).id().as_bytes() == id) {
            out[place] = 1.0;
        }
    }
}

impl ResponseHeaders for EncodedEndpoint {
    fn respond(&self, served: &Served<'_>, headers: &mut HeaderMap) {
        if let Ok(token) = HeaderValue::from_str(&STANDARD.encode(served.endpoint.id())) {
            headers.insert(self.header.clone(), token);
        }
    }
}

/// This router remembers which endpoint a session is bound to. A session moves only when its endpoint is not among the
/// candidates.
struct SessionId {
    names: Vec<HeaderName>,
    /// Whether sessions are bound to the target of the profile `prefill`.
    prefill: bool,
    bindings: Bindings,
}

impl SessionId {
    fn id<'r>(&self, request: &RequestView<'r>) -> Option<&'r [u8]> {
        let values = self.names.iter().filter_map(|name| request.headers.get(name));
        values.map(HeaderValue::as_bytes).find(|id| !id.is_empty() && id.len() <= MAX_ID)
    }
}

impl Scorer for SessionId {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let Some(id) = self.id(request) else { return };
        let Some(bound) = self.bindings.find(id, request.now) else { return };
        match (0..view.len()).find(|i| view.endpoint(*i).serial() == bound) {
            Some(place) => out[place] = 1.0,
            None => self.bindings.forget(id),
        }
    }
}

impl PreRequest for SessionId {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, _: &Attributes, _: &mut Outgoing) {
        let Some(id) = self.id(request) else { return };
        let index = if self.prefill { targets.prefill.first() } else { targets.primary.first() };
        if let Some(endpoint) = index.and_then(|index| targets.endpoints.get(*index as usize)) {
            self.bindings.bind(id, endpoint.serial(), request.now);
        }
    }
}

#[cfg(test)]
mod tests;
