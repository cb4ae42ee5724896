//! Where an endpoint listens.

use std::{fmt, str::FromStr};

/// Cleartext or TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP over TCP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Why a text is not an endpoint's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("`{0}` does not begin with http:// or https://")]
    Scheme(String),
    /// No host between the scheme and the port or path.
    #[error("`{0}` names no host")]
    Host(String),
    /// The part after the last colon is not a port.
    #[error("`{0}` has a bad port; a port is a number from 1 to 65535")]
    Port(String),
    /// User information, a query or a fragment.
    #[error("`{0}` has a {1}, which an endpoint's URL cannot have")]
    Unsupported(String, &'static str),
}

/// `scheme://host:port/base`, host a name, an IPv4 or an IPv6 literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointUrl {
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// Host name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path put before each request's path: empty, or `/something` without a trailing slash.
    pub base_path: String,
}

impl EndpointUrl {
    /// A cleartext URL without a base path.
    pub fn http(host: impl Into<String>, port: u16) -> Self {
        Self { scheme: Scheme::Http, host: host.into(), port, base_path: String::new() }
    }

    /// `host:port`, IPv6 hosts in brackets: the `Host` header, and what `x-weir-endpoint` shows.
    pub fn authority(&self) -> String {
        if self.host.contains(':') { format!("[{}]:{}", self.host, self.port) } else { format!("{}:{}", self.host, self.port) }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), self.base_path)
    }
}

impl FromStr for EndpointUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let own = || text.to_owned();
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else {
            return Err(UrlError::Scheme(own()));
        };
        if rest.contains('?') {
            return Err(UrlError::Unsupported(own(), "query"));
        }
        if rest.contains('#') {
            return Err(UrlError::Unsupported(own(), "fragment"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(UrlError::Unsupported(own(), "user name"));
        }
        let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
            let (host, after) = inner.split_once(']').ok_or_else(|| UrlError::Host(own()))?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(UrlError::Host(own()));
            }
            match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None if after.is_empty() => (host, None),
                None => return Err(UrlError::Port(own())),
            }
        } else {
            match authority.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => return Err(UrlError::Host(own())),
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            }
        };
        if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(UrlError::Host(own()));
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| UrlError::Port(own()))?,
            None if scheme == Scheme::Https => 443,
            None => 80,
        };
        let base_path = path.trim_end_matches('/').to_owned();
        Ok(Self { scheme, host: host.to_ascii_lowercase(), port, base_path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_that_people_write() {
        for (text, shown) in [
            ("http://10.0.0.1:8000", "http://10.0.0.1:8000"),
            ("http://Node-1.example/", "http://node-1.example:80"),
            ("https://llm.example/base/v0/", "https://llm.example:443/base/v0"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("https://[2001:db8::7]", "https://[2001:db8::7]:443"),
        ] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn forms_that_are_refused() {
        for text in [
            "10.0.0.1:8000",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:b",
            "http://a?x",
            "http://u@a",
            "http://::1:80",
            "http://[x]:1",
        ] {
            assert!(text.parse::<EndpointUrl>().is_err(), "{text}");
        }
    }
}
