//! `session-affinity-scorer`, `session-affinity-filter`, and the latter for whole clusters: keep the requests of one session on one
//! endpoint.

mod bindings;

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use fastrand::Rng;
use http::{HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use weir_api::{Diagnostic, headers};
use weir_plan::{
    Attributes, Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Outgoing, Parts, PluginContext, PluginType,
    PoolView, PreRequest, RequestView, ResponseHeaders, Scorer, Served, Targets,
};

use self::bindings::Bindings;
use crate::declare::{alpha, header_name};

pub(crate) fn plugins() -> [PluginType; 3] {
    let filter = &[ExtensionPoint::Filter, ExtensionPoint::PreRequest, ExtensionPoint::ResponseHeader];
    [
        alpha::<Params>(
            "session-affinity-scorer",
            &[ExtensionPoint::Scorer, ExtensionPoint::PreRequest, ExtensionPoint::ResponseHeader],
            "Scores the endpoint that a session is bound to 1, all others 0.",
            |context| draft(context, score),
        ),
        alpha::<Params>(
            "session-affinity-filter",
            filter,
            "Keeps only the endpoint that a session is bound to; keeps all if there is none or it is not among them.",
            |context| draft(context, filter_by),
        ),
        alpha::<Params>(
            "multicluster-session-affinity-filter",
            filter,
            "The same over endpoints that are whole clusters.",
            |context| draft(context, filter_by),
        ),
    ]
}

/// Finds the endpoint of a session.
trait Affinity: Send + Sync + 'static {
    /// Its place among the candidates; `None` if there is no session, it is bound to nobody, or to nobody among them.
    fn bound(&self, request: &RequestView<'_>, view: &PoolView<'_>) -> Option<usize>;
}

/// Makes a filter or a scorer of an affinity.
type Role = fn(Arc<dyn Affinity>) -> Parts;

fn score(affinity: Arc<dyn Affinity>) -> Parts {
    Parts { scorer: Some(Arc::new(BySession(affinity))), ..Parts::default() }
}

fn filter_by(affinity: Arc<dyn Affinity>) -> Parts {
    Parts { filter: Some(Arc::new(BySession(affinity))), ..Parts::default() }
}

struct BySession(Arc<dyn Affinity>);

impl Scorer for BySession {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS | DataSet::REQUEST_ATTRIBUTES
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        if let Some(place) = self.0.bound(request, view) {
            out[place] = 1.0;
        }
    }
}

impl Filter for BySession {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS | DataSet::REQUEST_ATTRIBUTES
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        match self.0.bound(request, view) {
            Some(place) => view.retain(keep, |i| i == place),
            None => view.retain_all(keep),
        }
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
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
    /// Name of a request attribute, such as `SessionIDDataKey` or `agent-identity`.
    attribute: Option<String>,
    /// Producer of the attribute; empty if its key names none.
    producer: Option<String>,
}

fn draft(context: &mut PluginContext<'_>, role: Role) -> Result<Draft, Diagnostic> {
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
            Ok(Draft::ready(Parts { response_headers: Some(plugin.clone()), ..role(plugin) }))
        }
        Strategy::SessionId => session_id(context, params, role),
    }
}

fn session_id(
    context: &mut PluginContext<'_>,
    Params { session_id_config: config, profile_name, .. }: Params,
    role: Role,
) -> Result<Draft, Diagnostic> {
    let mut sources = Vec::new();
    let mut needs = Vec::new();
    for source in &config.sources {
        match (&source.header, &source.attribute) {
            (Some(header), None) if source.producer.is_none() => {
                sources.push(IdSource::Header(header_name(context, "sessionIdConfig.sources", header)?));
            }
            (None, Some(attribute)) => {
                let producer = source.producer.as_deref().unwrap_or_default();
                if *attribute == DataKey::SessionId.to_string() {
                    needs.push(Need::required(DataKey::SessionId, Some(producer).filter(|name| !name.is_empty())));
                }
                sources.push(IdSource::Attribute(format!("{attribute}/{producer}")));
            }
            _ => return Err(context.error_at("sessionIdConfig.sources", "a source is either {header} or {attribute, producer}")),
        }
    }
    if config.sources.is_empty() {
        sources.push(IdSource::Header(HeaderName::from_static(headers::SESSION_ID)));
    }
    let seconds = |field: &str, value: f64| {
        let duration = Duration::try_from_secs_f64(value).ok().filter(|duration| !duration.is_zero());
        duration.ok_or_else(|| context.error_at(field, format!("must be a number of seconds above 0, is {value}")))
    };
    let ttl = seconds("sessionIdConfig.evictionTtlSeconds", config.eviction_ttl_seconds)?;
    let sweep = seconds("sessionIdConfig.evictionSweepSeconds", config.eviction_sweep_seconds)?;
    let unknown = context.error_at("profileName", format!("no profile is named `{profile_name}`"));
    Ok(Draft::wired(needs, Vec::new(), move |wiring| {
        if !profile_name.is_empty() && !wiring.profiles().contains(&profile_name) {
            return Err(unknown);
        }
        let profile = wiring.profiles().iter().position(|name| *name == profile_name);
        let plugin = Arc::new(SessionId { sources, profile, bindings: Bindings::new(ttl, sweep) });
        Ok(Parts { pre_request: Some(plugin.clone()), ..role(plugin) })
    }))
}

/// The client carries base64 of `namespace/name`. What cannot be decoded or is not among the candidates has no effect.
struct EncodedEndpoint {
    header: HeaderName,
}

/// Longest id that is decoded: a Kubernetes namespace and name, with room.
const MAX_ID: usize = 512;

impl Affinity for EncodedEndpoint {
    fn bound(&self, request: &RequestView<'_>, view: &PoolView<'_>) -> Option<usize> {
        let token = request.headers.get(&self.header)?;
        let mut buffer = [0; MAX_ID];
        let len = STANDARD.decode_slice(token.as_bytes(), &mut buffer).ok()?;
        let id = &buffer[..len];
        (0..view.len()).find(|i| view.endpoint(*i).id().as_bytes() == id)
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
    sources: Vec<IdSource>,
    /// Place of the profile whose target a session is bound to; `None`: the one that gets the request.
    profile: Option<usize>,
    bindings: Bindings,
}

/// Where a session's id stands.
enum IdSource {
    Header(HeaderName),
    /// A request attribute, by its key.
    Attribute(String),
}

impl SessionId {
    /// What the first source says that says something.
    fn id<'r>(&self, request: &RequestView<'r>, attributes: &'r Attributes) -> Option<&'r [u8]> {
        let values = self.sources.iter().filter_map(|source| match source {
            IdSource::Header(name) => request.headers.get(name).map(HeaderValue::as_bytes),
            IdSource::Attribute(key) => attributes.request.get(key).map(str::as_bytes),
        });
        values.into_iter().find(|id| !id.is_empty() && id.len() <= MAX_ID)
    }
}

impl Affinity for SessionId {
    fn bound(&self, request: &RequestView<'_>, view: &PoolView<'_>) -> Option<usize> {
        let id = self.id(request, view.attributes())?;
        let bound = self.bindings.find(id, request.now)?;
        let place = (0..view.len()).find(|i| view.endpoint(*i).serial() == bound);
        if place.is_none() {
            self.bindings.forget(id);
        }
        place
    }
}

impl PreRequest for SessionId {
    fn picked(&self, request: &RequestView<'_>, targets: &Targets<'_>, attributes: &Attributes, _: &mut Outgoing) {
        let Some(id) = self.id(request, attributes) else { return };
        let index = self.profile.map_or(targets.primary, |profile| targets.of(profile)).first();
        if let Some(endpoint) = index.and_then(|index| targets.endpoints.get(*index as usize)) {
            self.bindings.bind(id, endpoint.serial(), request.now);
        }
    }
}

#[cfg(test)]
mod tests;
