//! `header-profile-handler`: the client names the profile.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers::EPP_PROFILE};
use weir_plan::{
    Draft, ExtensionPoint, Parts, PickError, PluginContext, PluginType, PoolView, ProfileHandler, ProfileResult, RequestView,
};

use crate::declare::{alpha, header_name};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "header-profile-handler",
        &[ExtensionPoint::ProfileHandler],
        "Runs the profile that a header of the request names; with one profile always that one.",
        draft,
    )
}

/// Where the profile stands.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the header.
    header_name: String,
    /// Profile of requests without the header.
    default_profile: String,
}

impl Default for Params {
    fn default() -> Self {
        Self { header_name: EPP_PROFILE.to_owned(), default_profile: "decode".to_owned() }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let header = header_name(context, "headerName", &params.header_name)?;
    Ok(Draft::wired(Vec::new(), Vec::new(), move |wiring| {
        let handler = HeaderProfile { header, default: params.default_profile, profiles: wiring.profiles().to_vec() };
        Ok(Parts { handler: Some(Arc::new(handler)), ..Parts::default() })
    }))
}

struct HeaderProfile {
    header: HeaderName,
    default: String,
    profiles: Vec<String>,
}

impl HeaderProfile {
    fn wanted<'a>(&'a self, headers: &'a HeaderMap) -> &'a str {
        let value = headers.get(&self.header).and_then(|value| value.to_str().ok()).map(str::trim);
        value.filter(|value| !value.is_empty()).unwrap_or(&self.default)
    }

    fn place(&self, headers: &HeaderMap) -> Option<usize> {
        if self.profiles.len() == 1 {
            return Some(0);
        }
        let wanted = self.wanted(headers);
        self.profiles.iter().position(|name| name == wanted)
    }
}

impl ProfileHandler for HeaderProfile {
    fn next(&self, request: &RequestView<'_>, _: &PoolView<'_>, results: &[ProfileResult]) -> Option<usize> {
        self.place(request.headers).filter(|place| !results[*place].ran)
    }

    /// A profile that does not exist is the client's mistake (400); llm-d answers 429.
    fn primary(&self, request: &RequestView<'_>, results: &[ProfileResult]) -> Result<usize, PickError> {
        let Some(place) = self.place(request.headers) else {
            let wanted = self.wanted(request.headers).chars().take(64).collect();
            return Err(PickError::UnknownProfile { header: self.header.to_string(), wanted });
        };
        results[place].error.clone().map_or(Ok(place), Err)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, compile, refused};

    const TWO: &str = "plugins: [{type: prefill-filter}, {type: random-picker}, {type: header-profile-handler, parameters: PARAMS}]\n\
                       schedulingProfiles:\n- name: prefill\n  plugins: [{pluginRef: prefill-filter}]\n- name: decode\n  plugins: []\n";

    /// The profile that ran, or the status of the refusal.
    fn runs(text: &str, header: Option<(&'static str, &str)>) -> Result<String, u16> {
        let plan = compile(text).unwrap();
        let mut fixture = Fixture::labelled(&[&[("llm-d.ai/role", "both")]]);
        if let Some((name, value)) = header {
            fixture.headers.insert(name, value.parse().unwrap());
        }
        let picked = fixture.cycle(&plan).map_err(|error| error.outcome().status)?;
        Ok(plan.profiles[picked.profile].name.clone())
    }

    #[test]
    fn the_header_names_the_profile() {
        let plain = TWO.replace("PARAMS", "{}");
        assert_eq!(runs(&plain, Some(("epp-profile", "prefill"))), Ok("prefill".to_owned()));
        assert_eq!(runs(&plain, None), Ok("decode".to_owned()));
        assert_eq!(runs(&plain, Some(("epp-profile", "nonsense"))), Err(400));
        let named = TWO.replace("PARAMS", "{headerName: X-Stage, defaultProfile: prefill}");
        assert_eq!(runs(&named, Some(("x-stage", "decode"))), Ok("decode".to_owned()));
        assert_eq!(runs(&named, None), Ok("prefill".to_owned()));
        assert!(refused("header-profile-handler", "{headerName: 'a b'}").contains("not a header name"));
    }

    #[test]
    fn one_profile_is_always_meant() {
        let one = "plugins: [{type: header-profile-handler}, {type: queue-scorer}]";
        assert_eq!(runs(one, Some(("epp-profile", "nonsense"))), Ok("default".to_owned()));
    }
}
