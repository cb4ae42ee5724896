//! Cross-origin requests: off unless origins are listed.

use http::{
    HeaderMap, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

/// Which web pages may call.
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    any: bool,
}

/// What a page may read besides the few headers that it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, x-weir-endpoint, x-weir-reason, retry-after");

impl Cors {
    /// Pages of these origins (`https://host:port`, or `*` for all), with the usual methods and whatever headers they ask for.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Self {
        let origins: Vec<HeaderValue> = origins.into_iter().filter_map(|o| HeaderValue::from_str(o.as_ref()).ok()).collect();
        Self { any: origins.iter().any(|origin| origin == "*"), origins }
    }

    /// The origin to answer with, if the request comes from a page that may call.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.any {
            return Some(HeaderValue::from_static("*"));
        }
        self.origins.contains(origin).then(|| origin.clone())
    }

    /// Whether a request only asks what it would be allowed.
    pub(crate) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS && headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The answer to such a question.
    pub(crate) fn preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        let Some(origin) = self.admit(request) else {
            answer.insert(VARY, HeaderValue::from_static("origin"));
            return;
        };
        self.mark(origin, answer);
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE, OPTIONS"));
        if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }

    /// Marks an answer as meant for the page.
    pub(crate) fn mark(&self, origin: HeaderValue, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("origin"));
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
