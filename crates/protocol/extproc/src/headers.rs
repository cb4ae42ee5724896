//! Headers as a proxy sends them.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use weir_api::headers::{ORIGINAL_PATHS, REQUEST_ID, is_control, is_stripped_from_clients};

/// Longest `x-request-id` that is taken from a client.
const MAX_ID: usize = 128;
/// The path of requests that come without one.
const DEFAULT_PATH: &str = "/v1/completions";
const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);

/// The headers of a request or a response. Pseudo headers stand apart.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `:method`
    pub method: Option<Method>,
    /// `:path`, with its query.
    pub path: Option<String>,
    /// `:status`; 0 if there is none.
    pub status: u16,
    /// All others. A name may have several values.
    pub fields: HeaderMap,
}

impl Headers {
    /// Room for `count` headers.
    pub fn with_capacity(count: usize) -> Self {
        Self { fields: HeaderMap::with_capacity(count), ..Self::default() }
    }

    /// Adds one header. What is no header is left out: the proxy keeps it, for only changes are answered.
    pub fn push(&mut self, name: &[u8], value: Bytes) {
        if let Some(pseudo) = name.strip_prefix(b":") {
            match pseudo {
                b"method" => self.method = Method::from_bytes(&value).ok(),
                b"path" => self.path = std::str::from_utf8(&value).ok().map(str::to_owned),
                b"status" => self.status = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(0),
                _ => {}
            }
        } else if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
            // More headers than a map can hold are nobody's request; the proxy has its own, lower limit.
            let _ = self.fields.try_append(name, value);
        }
    }

    /// The method; `POST` if none came.
    pub fn method(&self) -> &Method {
        self.method.as_ref().unwrap_or(&Method::POST)
    }

    /// `:path`, else `x-original-path`, else `x-forwarded-path`, else the one of completions.
    pub fn path(&self) -> &str {
        let fallback = || ORIGINAL_PATHS.iter().find_map(|name| self.fields.get(*name)?.to_str().ok());
        self.path.as_deref().or_else(fallback).unwrap_or(DEFAULT_PATH)
    }

    /// The request's id, if it came with one that is short and printable.
    pub fn request_id(&self) -> Option<&HeaderValue> {
        let sane = |id: &&HeaderValue| (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
        self.fields.get(X_REQUEST_ID).filter(sane)
    }

    /// `content-length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Whether it is gRPC that is spoken here.
    pub fn is_grpc(&self) -> bool {
        let kind = self.fields.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    }

    /// Headers that the model server must not see: those that control routing, and those that only a router may set.
    pub(crate) fn controls(&self) -> impl Iterator<Item = &HeaderName> {
        self.fields.keys().filter(|name| is_control(name.as_str()) || is_stripped_from_clients(name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        for (name, value) in list {
            headers.push(name.as_bytes(), Bytes::copy_from_slice(value.as_bytes()));
        }
        headers
    }

    #[test]
    fn pseudo_headers_stand_apart_and_values_are_kept_apart() {
        let all =
            headers(&[(":method", "GET"), (":path", "/x?y"), (":scheme", "http"), ("x-dup", "1"), ("x-dup", "2"), ("b d", "")]);
        assert_eq!((all.method(), all.path(), all.status), (&Method::GET, "/x?y", 0));
        assert_eq!(all.fields.len(), 2);
        assert_eq!(all.fields.get_all("x-dup").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers(&[(":status", "429")]).status, 429);
    }

    #[test]
    fn a_path_is_found_in_its_places() {
        assert_eq!(headers(&[]).path(), "/v1/completions");
        assert_eq!(headers(&[("x-forwarded-path", "/f"), ("x-original-path", "/o")]).path(), "/o");
        assert_eq!(headers(&[("x-forwarded-path", "/f")]).path(), "/f");
        assert_eq!(headers(&[(":path", "/p"), ("x-original-path", "/o")]).path(), "/p");
    }

    #[test]
    fn ids_that_could_hurt_a_log_are_not_taken() {
        assert_eq!(headers(&[("x-request-id", "abc")]).request_id().unwrap(), "abc");
        for bad in ["", "a b", &"x".repeat(129)] {
            assert_eq!(headers(&[("x-request-id", bad)]).request_id(), None, "{bad:?}");
        }
    }

    #[test]
    fn grpc_is_known_by_its_content_type() {
        for (kind, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(headers(&[("content-type", kind)]).is_grpc(), grpc, "{kind}");
        }
    }
}
