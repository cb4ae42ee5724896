//! Names of headers that are looked up in every request: made once, so that a lookup parses nothing.

use http::HeaderName;
use weir_api::headers;

pub(crate) const OBJECTIVE: [HeaderName; 2] = both(headers::INFERENCE_OBJECTIVE, headers::INFERENCE_OBJECTIVE_ALIAS);
pub(crate) const FAIRNESS_ID: [HeaderName; 2] = both(headers::INFERENCE_FAIRNESS_ID, headers::INFERENCE_FAIRNESS_ID_ALIAS);
pub(crate) const MODEL_REWRITE: [HeaderName; 2] = both(headers::MODEL_NAME_REWRITE, headers::MODEL_NAME_REWRITE_ALIAS);
pub(crate) const PREFER: HeaderName = HeaderName::from_static(headers::PREFER);

/// A name and the one of before.
const fn both(name: &'static str, alias: &'static str) -> [HeaderName; 2] {
    [HeaderName::from_static(name), HeaderName::from_static(alias)]
}
