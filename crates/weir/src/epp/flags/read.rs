//! Readers of single values.

use std::{path::PathBuf, time::Duration};

use weir_api::{GoDuration, Quantity};

use super::{Encoder, TlsVersion};
use crate::go_flags::{port, whole};

/// A text; an empty one is none.
pub(super) fn text(value: &str) -> Result<Option<String>, String> {
    Ok(Some(value.to_owned()).filter(|text| !text.is_empty()))
}

pub(super) fn path(value: &str) -> Result<Option<PathBuf>, String> {
    Ok(text(value)?.map(PathBuf::from))
}

pub(super) fn duration(value: &str) -> Result<Duration, String> {
    value.parse::<GoDuration>().map(GoDuration::get).map_err(|error| one_line(&error.to_string()))
}

/// A size as Kubernetes writes it, with a `B` at the end or without; an empty one is none.
pub(super) fn size(value: &str) -> Result<Option<u64>, String> {
    if value.is_empty() {
        return Ok(None);
    }
    let bare = value.strip_suffix(['B', 'b']).unwrap_or(value);
    bare.parse::<Quantity>().map(|size| Some(size.get())).map_err(|error| one_line(&error.to_string()))
}

/// Ports with commas between them. Given again, they are added, each once.
pub(super) fn ports(known: &mut Vec<u16>, value: &str) -> Result<(), String> {
    for one in value.split(',').map(str::trim).filter(|one| !one.is_empty()) {
        let one = port(one)?;
        if !known.contains(&one) {
            known.push(one);
        }
    }
    Ok(())
}

pub(super) fn tls_version(value: &str) -> Result<Option<TlsVersion>, String> {
    match value {
        "" => Ok(None),
        "VersionTLS10" => Ok(Some(TlsVersion::V10)),
        "VersionTLS11" => Ok(Some(TlsVersion::V11)),
        "VersionTLS12" => Ok(Some(TlsVersion::V12)),
        "VersionTLS13" => Ok(Some(TlsVersion::V13)),
        _ => Err(format!("{value:?} is none of VersionTLS10, VersionTLS11, VersionTLS12 and VersionTLS13")),
    }
}

/// What Go can speak up to TLS 1.2, and whether weir can: it speaks no cipher that is known to be weak.
pub(super) const CIPHER_SUITES: [(&str, bool); 22] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", true),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", true),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", true),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", true),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", true),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", true),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", false),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", false),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", false),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", false),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", false),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", false),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", false),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", false),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", false),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", false),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", false),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", false),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", false),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", false),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", false),
    ("TLS_RSA_WITH_RC4_128_SHA", false),
];

pub(super) fn cipher_suites(value: &str) -> Result<Vec<String>, String> {
    let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| match CIPHER_SUITES.iter().find(|(known, _)| *known == name) {
            Some(_) => Ok(name.to_owned()),
            // Without the digest is how Go's first versions called them.
            None if CIPHER_SUITES.iter().any(|(known, _)| known.strip_suffix("_SHA256") == Some(name)) => {
                Ok(format!("{name}_SHA256"))
            }
            None => Err(format!("{name:?} is no cipher suite of TLS 1.2 or older")),
        })
        .collect()
}

pub(super) fn encoder(value: &str) -> Result<Option<Encoder>, String> {
    match value {
        "json" => Ok(Some(Encoder::Json)),
        "console" => Ok(Some(Encoder::Console)),
        _ => Err(format!("{value:?} is neither json nor console")),
    }
}

/// A level by name, or a verbosity above zero.
pub(super) fn zap_level(value: &str) -> Result<Option<i64>, String> {
    match value.to_ascii_lowercase().as_str() {
        "debug" => Ok(Some(4)),
        "info" => Ok(Some(0)),
        "error" => Ok(Some(-2)),
        "panic" => Ok(Some(-4)),
        other => match whole(other) {
            Ok(verbosity) if verbosity > 0 => Ok(Some(verbosity)),
            _ => Err(format!("{value:?} is none of debug, info, error, panic and a whole number above zero")),
        },
    }
}

/// As controller-runtime's flag has them.
pub(super) fn stacktrace_level(value: &str) -> Result<(), String> {
    one_of(value, &["info", "error", "panic"])
}

pub(super) fn time_encoding(value: &str) -> Result<(), String> {
    one_of(value, &["epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"])
}

fn one_of(value: &str, allowed: &[&str]) -> Result<(), String> {
    if allowed.contains(&value.to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(format!("{value:?} is none of {}", allowed.join(", ")))
}

pub(super) fn scheme(value: &str) -> Result<Option<String>, String> {
    match value {
        "" => Ok(None),
        "http" | "https" => Ok(Some(value.to_owned())),
        _ => Err(format!("{value:?} is neither http nor https")),
    }
}

pub(super) fn page(value: &str) -> Result<Option<String>, String> {
    match value {
        "" => Ok(None),
        _ if value.starts_with('/') => Ok(Some(value.to_owned())),
        _ => Err(format!("{value:?} is not a path; it begins with /")),
    }
}

fn one_line(message: &str) -> String {
    message.replace("\nhelp: ", "; ")
}
