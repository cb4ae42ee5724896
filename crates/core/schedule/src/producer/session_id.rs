//! `session-id-producer`: notes the session that a request belongs to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header::COOKIE};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{Attributes, DataKey, DataSet, Draft, ExtensionPoint, Parts, PluginContext, PluginType, Producer, RequestView};
use weir_pool::Endpoint;

use crate::declare::{beta, header_name};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "session-id-producer",
        &[ExtensionPoint::DataProducer],
        "Notes the session id of a request, from a header or a cookie, for plugins that keep sessions together.",
        draft,
    )
}

/// Where session ids stand: exactly one of the two.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of a header.
    header_name: Option<String>,
    /// Name of a cookie.
    cookie_name: Option<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let set = |name: Option<String>| name.filter(|name| !name.is_empty());
    let place = match (set(params.header_name), set(params.cookie_name)) {
        (Some(header), None) => Place::Header(header_name(context, "headerName", &header)?),
        (None, Some(cookie)) => Place::Cookie(cookie),
        _ => return Err(context.error("exactly one of `headerName` and `cookieName` must be set")),
    };
    let key = format!("{}/{}", DataKey::SessionId, context.name).into();
    Ok(Draft::wired(Vec::new(), vec![DataKey::SessionId], |_| {
        Ok(Parts { producer: Some(Arc::new(SessionIds { place, key })), ..Parts::default() })
    }))
}

enum Place {
    Header(HeaderName),
    Cookie(String),
}

struct SessionIds {
    place: Place,
    key: Arc<str>,
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

impl Producer for SessionIds {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS
    }

    fn produce(&self, request: &RequestView<'_>, _: &[Arc<Endpoint>], out: &mut Attributes) {
        let id = match &self.place {
            Place::Header(name) => request.headers.get(name).and_then(|value| value.to_str().ok()),
            Place::Cookie(name) => cookie(request.headers, name),
        };
        if let Some(id) = id {
            out.request.set(&self.key, id);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const KIND: &str = "session-id-producer";

    fn noted(parameters: &str) -> Option<String> {
        let plan = compile(&format!("plugins: [{{type: {KIND}, name: mine, parameters: {parameters}}}, {{type: queue-scorer}}]"))
            .unwrap();
        let mut fixture = Fixture::new(1);
        fixture.headers.insert("x-user", "u1".parse().unwrap());
        fixture.headers.insert("cookie", "a=1; sid=s=2;b=3".parse().unwrap());
        fixture.produce(&plan);
        fixture.attributes.request.get("SessionIDDataKey/mine").map(str::to_owned)
    }

    #[test]
    fn headers_and_cookies() {
        assert_eq!(noted("{headerName: X-User}").as_deref(), Some("u1"));
        assert_eq!(noted("{cookieName: sid}").as_deref(), Some("s=2"));
        assert_eq!(noted("{cookieName: none}"), None);
        for parameters in ["{}", "{headerName: a, cookieName: b}", "{headerName: ''}"] {
            assert!(refused(KIND, parameters).contains("exactly one"), "{parameters}");
        }
    }

    #[test]
    fn sessions_are_kept_together_by_it() {
        let affinity = "{type: session-affinity-filter, parameters: {strategy: session_id, sessionIdConfig: {sources: [{attribute: \
                        SessionIDDataKey, producer: mine}]}}}";
        let plan =
            compile(&format!("plugins: [{{type: {KIND}, name: mine, parameters: {{headerName: x-user}}}}, {affinity}]")).unwrap();
        let mut fixture = Fixture::new(3);
        fixture.headers.insert("x-user", "u1".parse().unwrap());
        fixture.produce(&plan);
        fixture.picked(&plan, 2);
        assert_eq!(fixture.filter_with(&plan), [2]);
        let notes = compile(&format!("plugins: [{affinity}]")).unwrap_err();
        assert!(notes.errors().any(|one| one.message.contains("SessionIDDataKey/mine")), "nobody produces it");
    }
}
