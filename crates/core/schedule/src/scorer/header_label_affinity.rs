//! `header-label-affinity-scorer`: prefers endpoints whose label has the value of a request's header.

use std::sync::Arc;

use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{DataSet, Draft, Parts, PluginContext, PluginType, PoolView, RequestView, Scorer};

use super::SCORER;
use crate::declare::{alpha, header_name};

pub(crate) fn plugin() -> PluginType {
    alpha::<Params>(
        "header-label-affinity-scorer",
        SCORER,
        "Scores endpoints 1 whose label has the value of a header of the request, others 0.",
        draft,
    )
}

/// The header and the label.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Name of the header. Required.
    header_name: String,
    /// Name of the label. Required.
    label_key: String,
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    if params.header_name.is_empty() {
        return Err(context.error_at("headerName", "is required"));
    }
    if params.label_key.is_empty() {
        return Err(context.error_at("labelKey", "is required"));
    }
    let header = header_name(context, "headerName", &params.header_name)?;
    Ok(Draft::ready(Parts { scorer: Some(Arc::new(HeaderLabel { header, label: params.label_key })), ..Parts::default() }))
}

struct HeaderLabel {
    header: HeaderName,
    label: String,
}

impl Scorer for HeaderLabel {
    fn reads(&self) -> DataSet {
        DataSet::HEADERS | DataSet::LABELS
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let value = request.headers.get(&self.header).and_then(|value| value.to_str().ok());
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        for (i, score) in out.iter_mut().enumerate() {
            *score = f64::from(view.endpoint(i).label(&self.label) == Some(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Fixture, refused};

    const KIND: &str = "header-label-affinity-scorer";

    #[test]
    fn the_label_must_equal_the_header() {
        let mut fixture = Fixture::labelled(&[&[("tier", "gold"), ("zone", "a")], &[("tier", "lead")], &[]]);
        let by = |header: &str, label: &str| format!("{{headerName: {header}, labelKey: {label}}}");
        assert_eq!(fixture.score(KIND, &by("X-Tier", "tier")), [0.0; 3]);
        fixture.headers.insert("x-tier", "gold".parse().unwrap());
        fixture.headers.insert("x-zone", "a".parse().unwrap());
        fixture.headers.insert("x-empty", "".parse().unwrap());
        assert_eq!(fixture.score(KIND, &by("X-Tier", "tier")), [1.0, 0.0, 0.0]);
        assert_eq!(fixture.score(KIND, &by("x-tier", "zone")), [0.0; 3]);
        assert_eq!(fixture.score(KIND, &by("x-zone", "zone")), [1.0, 0.0, 0.0]);
        assert_eq!(fixture.score(KIND, &by("x-empty", "zone")), [0.0; 3]);
    }

    #[test]
    fn both_are_required() {
        assert!(refused(KIND, "{labelKey: a}").contains("headerName"));
        assert!(refused(KIND, "{headerName: a}").contains("labelKey"));
        assert!(refused(KIND, "{headerName: 'a b', labelKey: a}").contains("not a header name"));
    }
}
