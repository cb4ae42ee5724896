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
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// A pseudonym, as RFC 9110 §7.6.3 wants it where the host's name is nobody's business.
const VIA_H1: HeaderValue = HeaderValue::from_static("1.1 weir");
const VIA_H2: HeaderValue = HeaderValue::from_static("2 weir");

/// Longest `x-request-id` that is taken from a client.
const MAX_ID: usize = 128;

/// The request's id: the client's if it is sane, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(id) if (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic) => id.clone(),
        _ => {
            let mut buffer = uuid::Uuid::encode_buffer();
            let id = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
            HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
        }
    }
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

/// The headers for an endpoint.
pub(crate) fn for_endpoint(client: &HeaderMap, uri: &Uri, added: &Added<'_>) -> HeaderMap {
    let listed = Listed::of(client);
    let mut out = HeaderMap::with_capacity(client.len() + 8);
    out.insert(HOST, added.host.clone());
    let mut forwarded_for = None;
    for (name, value) in client {
        if is_hop_by_hop(name)
            || *name == HOST
            || *name == CONTENT_LENGTH
            || *name == EXPECT
            || *name == X_REQUEST_ID
            || *name == X_FORWARDED_PROTO
            || *name == X_FORWARDED_HOST
            || (*name == AUTHORIZATION && (added.drop_authorization || added.authorization.is_some()))
            || is_stripped_from_clients(name.as_str())
            || listed.names(name)
        {
            continue;
        }
        if *name == X_FORWARDED_FOR {
            forwarded_for = Some(joined(forwarded_for.as_ref(), value));
            continue;
        }
        out.append(name.clone(), value.clone());
    }
    if let Some(authorization) = added.authorization {
        out.insert(AUTHORIZATION, authorization.clone());
    }
    out.insert(X_REQUEST_ID, added.id.clone());
    let forwarded_for = forwarded_for.map_or_else(|| added.client.clone(), |before| joined(Some(&before), added.client));
    out.insert(X_FORWARDED_FOR, forwarded_for);
    out.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if added.https { "https" } else { "http" }));
    let host = client.get(HOST).cloned();
    if let Some(host) = host.or_else(|| uri.authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok())) {
        out.insert(X_FORWARDED_HOST, host);
    }
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
    let listed = Listed::of(headers);
    if let Listed::Names(names) = &listed {
        for name in names {
            headers.remove(name);
        }
    }
    for name in [CONNECTION, TRANSFER_ENCODING, KEEP_ALIVE, UPGRADE, TRAILER, TE, PROXY_AUTHENTICATE, PROXY_CONNECTION] {
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

/// The headers that `Connection` lists as belonging to the connection.
enum Listed {
    None,
    Names(Vec<HeaderName>),
}

impl Listed {
    fn of(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for value in headers.get_all(CONNECTION) {
            for token in value.to_str().unwrap_or_default().split(',') {
                let token = token.trim();
                // What every `Connection` header says names no header that is not dropped anyway.
                if token.is_empty() || token.eq_ignore_ascii_case("close") || token.eq_ignore_ascii_case("keep-alive") {
                    continue;
                }
                names.extend(HeaderName::from_bytes(token.as_bytes()).ok());
            }
        }
        if names.is_empty() { Self::None } else { Self::Names(names) }
    }

    fn names(&self, name: &HeaderName) -> bool {
        match self {
            Self::None => false,
            Self::Names(names) => names.contains(name),
        }
    }
}

/// Whether the client wants to leave HTTP. An upgrade to cleartext HTTP/2 is a mere offer and may be ignored.
pub(crate) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| {
        value
            .to_str()
            .unwrap_or("?")
            .split(',')
            .map(str::trim)
            .any(|token| !token.is_empty() && !token.eq_ignore_ascii_case("h2c"))
    })
}

/// Names and values, all in all.
pub(crate) fn header_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let line = uri.path_and_query().map_or(0, |path| path.as_str().len());
    headers.iter().fold(line, |sum, (name, value)| sum + name.as_str().len() + value.len() + 4)
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
