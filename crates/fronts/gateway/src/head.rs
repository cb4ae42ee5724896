//! Headers on their way through: what a proxy must drop, change and add (RFC 9110 §7.6).

use std::fmt::Write as _;

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, VIA,
    },
    uri::PathAndQuery,
};
use weir_api::headers::{REQUEST_ID, WEIR_ENDPOINT, WEIR_REASON, is_stripped_from_clients};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);
pub(crate) const X_WEIR_ENDPOINT: HeaderName = HeaderName::from_static(WEIR_ENDPOINT);
pub(crate) const X_WEIR_REASON: HeaderName = HeaderName::from_static(WEIR_REASON);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A pseudonym, as RFC 9110 §7.6.3 wants it where the host's name is nobody's business.
const VIA_H1: HeaderValue = HeaderValue::from_static("1.1 weir");
const VIA_H2: HeaderValue = HeaderValue::from_static("2 weir");

/// Longest `x-request-id` that is taken from a client.
const MAX_ID: usize = 128;

/// What one walk through a request's headers finds.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Length of names and values, all in all.
    pub(crate) bytes: usize,
    /// The client's id for the request, if it is sane.
    pub(crate) id: Option<HeaderValue>,
    /// It wants to leave HTTP. An upgrade to cleartext HTTP/2 is a mere offer and may be ignored.
    pub(crate) upgrade: bool,
    /// Headers that an endpoint must not see, of those that are not replaced anyway.
    dropped: Vec<HeaderName>,
    forwarded_for: Option<HeaderValue>,
}

impl Survey {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let mut found = Self { bytes: uri.path_and_query().map_or(0, |path| path.as_str().len()), ..Self::default() };
        for (name, value) in headers {
            found.bytes += name.as_str().len() + value.len() + 4;
            if is_hop_by_hop(name) {
                if *name == CONNECTION {
                    found.dropped.extend(listed(value));
                } else if *name == UPGRADE {
                    found.upgrade |= !is_ignorable_upgrade(value);
                }
                found.dropped.push(name.clone());
            } else if *name == CONTENT_LENGTH || *name == EXPECT {
                found.dropped.push(name.clone());
            } else if name.as_str().starts_with("x-") || name.as_str().starts_with("test-") {
                if *name == X_REQUEST_ID {
                    if (1..=MAX_ID).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic) {
                        found.id = Some(value.clone());
                    }
                } else if *name == X_FORWARDED_FOR {
                    found.forwarded_for = Some(joined(found.forwarded_for.as_ref(), value));
                } else if is_stripped_from_clients(name.as_str()) {
                    found.dropped.push(name.clone());
                }
            }
        }
        found
    }
}

/// A new id for a request.
pub(crate) fn new_id() -> HeaderValue {
    let mut buffer = uuid::Uuid::encode_buffer();
    let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// What the gateway knows and puts into a request's headers.
pub(crate) struct Added<'a> {
    pub(crate) host: &'a HeaderValue,
    pub(crate) id: &'a HeaderValue,
    pub(crate) client: &'a HeaderValue,
    pub(crate) https: bool,
    pub(crate) h2: bool,
    pub(crate) authorization: Option<&'a HeaderValue>,
    /// The router checked the client's key: it is not for engines.
    pub(crate) drop_authorization: bool,
}

/// The headers for an endpoint: the client's, less what is not for it, and what the gateway knows.
pub(crate) fn for_endpoint(client: &HeaderMap, survey: &Survey, added: &Added<'_>) -> HeaderMap {
    let mut out = client.clone();
    for name in &survey.dropped {
        out.remove(name);
    }
    out.insert(HOST, added.host.clone());
    match added.authorization {
        Some(authorization) => drop(out.insert(AUTHORIZATION, authorization.clone())),
        None if added.drop_authorization => drop(out.remove(AUTHORIZATION)),
        None => {}
    }
    out.insert(X_REQUEST_ID, added.id.clone());
    out.insert(X_FORWARDED_FOR, joined(survey.forwarded_for.as_ref(), added.client));
    out.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if added.https { "https" } else { "http" }));
    out.append(VIA, if added.h2 { VIA_H2 } else { VIA_H1 });
    out
}

fn joined(before: Option<&HeaderValue>, more: &HeaderValue) -> HeaderValue {
    let Some(before) = before else { return more.clone() };
    let bytes = [before.as_bytes(), b", ", more.as_bytes()].concat();
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| more.clone())
}

/// Drops what the endpoint said about its connection to us.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    let mut dropped = Vec::new();
    for (name, value) in &*headers {
        if is_hop_by_hop(name) {
            if *name == CONNECTION {
                dropped.extend(listed(value));
            }
            dropped.push(name.clone());
        }
    }
    for name in dropped {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // The standard names compare as small numbers; only the two others compare text.
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == TE
        || *name == TRAILER
        || *name == UPGRADE
        || *name == PROXY_AUTHENTICATE
        || *name == PROXY_AUTHORIZATION
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// The headers that a `Connection` header lists as belonging to the connection.
fn listed(value: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    let tokens = value.to_str().unwrap_or_default().split(',').map(str::trim);
    // What every `Connection` header says names no header that is not dropped anyway.
    let named = tokens.filter(|token| !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive"));
    named.filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
}

fn is_ignorable_upgrade(value: &HeaderValue) -> bool {
    value.to_str().unwrap_or("?").split(',').map(str::trim).all(|token| token.is_empty() || token.eq_ignore_ascii_case("h2c"))
}

/// What stands in the request line towards an endpoint.
pub(crate) fn target(uri: &Uri, base_path: &str) -> Uri {
    let Some(path) = uri.path_and_query() else { return Uri::from_static("/") };
    if base_path.is_empty() {
        return Uri::from(path.clone());
    }
    let mut full = String::with_capacity(base_path.len() + path.as_str().len());
    let _ = write!(full, "{base_path}{path}");
    PathAndQuery::try_from(full).map_or_else(|_| Uri::from(path.clone()), Uri::from)
}

#[cfg(test)]
mod tests;
