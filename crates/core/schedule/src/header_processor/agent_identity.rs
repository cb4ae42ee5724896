//! `agent-identity`: one session of a coding agent is one flow.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers::AGENT_SESSIONS};
use weir_plan::{Draft, ExtensionPoint, HeaderProcessor, Parts, PluginContext, PluginType, RequestAttributes};

use crate::declare::{alpha, header_name};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "agent-identity",
        &[ExtensionPoint::RequestHeader],
        "Takes the session id of a coding agent from its headers as the flow that requests are accounted to, unless they name one.",
        draft,
    )
}

/// Where session ids stand.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Headers that are looked at first. Then come `x-claude-code-session-id`, `x-session-affinity`, `session-id` and `session_id`.
    additional_session_headers: Vec<String>,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let mut names = Vec::new();
    for name in &params.additional_session_headers {
        names.push(header_name(context, "additionalSessionHeaders", name)?);
    }
    names.extend(AGENT_SESSIONS.iter().map(|name| HeaderName::from_static(name)));
    let plugin = Arc::new(AgentIdentity { names, key: RequestAttributes::AGENT_IDENTITY.into() });
    Ok(Draft::ready(Parts { header_processor: Some(plugin), ..Parts::default() }))
}

struct AgentIdentity {
    names: Vec<HeaderName>,
    key: Arc<str>,
}

impl HeaderProcessor for AgentIdentity {
    fn process(&self, headers: &HeaderMap, out: &mut RequestAttributes) {
        let texts = self.names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
        if let Some(session) = texts.map(str::trim).find(|text| !text.is_empty()) {
            out.set(&self.key, session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{compile, refused};

    fn identity(parameters: &str, headers: &[(&'static str, &str)]) -> Option<String> {
        let plan = compile(&format!("plugins: [{{type: agent-identity, parameters: {parameters}}}]")).unwrap();
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        let mut found = RequestAttributes::default();
        plan.header_processors[0].plugin.process(&headers, &mut found);
        found.get(RequestAttributes::AGENT_IDENTITY).map(str::to_owned)
    }

    #[test]
    fn the_first_header_that_says_something_counts() {
        let both = [("session-id", "b"), ("x-claude-code-session-id", "a"), ("x-mine", "c")];
        assert_eq!(identity("{}", &both).as_deref(), Some("a"));
        assert_eq!(identity("{additionalSessionHeaders: [X-Mine]}", &both).as_deref(), Some("c"));
        assert_eq!(identity("{}", &[("x-session-affinity", " "), ("session_id", "d")]).as_deref(), Some("d"));
        assert_eq!(identity("{}", &[("x-other", "e")]), None);
        assert!(refused("agent-identity", "{additionalSessionHeaders: ['a b']}").contains("not a header name"));
    }
}
