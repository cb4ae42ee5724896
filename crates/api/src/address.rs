//! Addresses: hosts, URLs of endpoints, addresses to listen on.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// An IP address or a host name. Displayed as in a URL: an IPv6 address has brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A name to be resolved, in lower case.
    Name(String),
}

impl Host {
    /// The name or address alone, without an IPv6 address's brackets: what resolvers and certificates are asked for.
    #[must_use]
    pub fn bare(&self) -> Cow<'_, str> {
        match self {
            Self::Ip(ip) => Cow::Owned(ip.to_string()),
            Self::Name(name) => Cow::Borrowed(name),
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }

    /// The name, if it is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Ip(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// What is no IP address is a name, as it stands.
impl From<&str> for Host {
    fn from(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_ascii_lowercase()), Self::Ip)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No `http://` or `https://`.
    #[error("the URL {0:?} does not begin with http:// or https://\nhelp: write http://{0}")]
    NoScheme(String),
    /// Another scheme.
    #[error("the URL scheme {0:?} is not supported\nhelp: write http:// or https://")]
    Scheme(String),
    /// User name or password.
    #[error("the URL must not hold a user name or password\nhelp: put the key into a file and name it in apiKeyFile")]
    UserInfo,
    /// A query or a fragment.
    #[error("the URL must not have a query or a fragment")]
    Query,
    /// A base path with characters that would need escaping, or that leaves itself.
    #[error("{0:?} is not a base path")]
    Path(String),
    /// Neither an IP address nor a host name.
    #[error("{0:?} is neither an IP address nor a host name")]
    Host(String),
    /// An IPv6 address without brackets.
    #[error("the IPv6 address {0:?} needs brackets\nhelp: write [{0}]")]
    Brackets(String),
    /// Not 1 to 65535.
    #[error("the port {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// Not an IP address and a port.
    #[error(
        "{0:?} is not an address to listen on\nhelp: write an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::]:8080"
    )]
    Listen(String),
}

fn shown(text: &str) -> String {
    crate::yaml::shorten(text)
}

impl FromStr for Host {
    type Err = AddressError;

    /// Takes an IPv6 address with or without brackets.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
        if let Some(inner) = inner {
            return inner.parse::<Ipv6Addr>().map(|ip| Self::Ip(ip.into())).map_err(|_| AddressError::Host(shown(text)));
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !l.starts_with('-')
                && !l.ends_with('-')
        };
        // A last label of digits only is a broken IPv4 address, not a name.
        let numeric_end = name.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        if name.is_empty() || name.len() > 253 || numeric_end || !name.split('.').all(label) {
            return Err(AddressError::Host(shown(text)));
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

/// How an endpoint is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where an endpoint serves: scheme, host, port and a base path that is put before every request's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointUrl {
    /// Cleartext or TLS.
    pub scheme: Scheme,
    /// Address or name.
    pub host: Host,
    /// 1 to 65535.
    pub port: u16,
    /// Empty, or begins with `/` and does not end with it.
    pub base_path: String,
}

impl EndpointUrl {
    /// Cleartext HTTP without a base path.
    #[must_use]
    pub fn http(host: impl Into<Host>, port: u16) -> Self {
        Self { scheme: Scheme::Http, host: host.into(), port, base_path: String::new() }
    }

    /// `host:port`, always with the port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same without a `/v1` at the end of the base path, which OpenAI clients' base URLs have; `None` if there is none.
    #[must_use]
    pub fn without_v1(&self) -> Option<Self> {
        let base = self.base_path.strip_suffix("/v1")?;
        Some(Self { base_path: base.trim_end_matches('/').to_owned(), ..self.clone() })
    }
}

impl From<SocketAddr> for EndpointUrl {
    fn from(address: SocketAddr) -> Self {
        Self::http(address.ip(), address.port())
    }
}

/// `http://host:port/base`; the port is left out when it is the scheme's own.
impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if self.port != self.scheme.port() {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.base_path)
    }
}

impl FromStr for EndpointUrl {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::NoScheme(shown(text)));
        };
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(AddressError::Scheme(shown(scheme))),
        };
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(AddressError::UserInfo);
        }
        let (host, port) = split_port(authority)?;
        let host = host.parse()?;
        let port = port.map_or(Ok(scheme.port()), parse_port)?;
        Ok(Self { scheme, host, port, base_path: base_path(path)? })
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<&str>), AddressError> {
    if let Some(end) = authority.find(']') {
        let (host, rest) = authority.split_at(end + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(AddressError::Host(shown(authority))),
        };
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err(AddressError::Brackets(shown(authority)));
    }
    Ok(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// A port from text: 1 to 65535, digits only.
pub(crate) fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let port = if digits { text.parse().ok() } else { None };
    port.filter(|p| *p > 0).ok_or_else(|| AddressError::Port(shown(text)))
}

fn base_path(path: &str) -> Result<String, AddressError> {
    let path = path.trim_end_matches('/');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b);
    let inside = path.split('/').all(|segment| segment != "..");
    if path.bytes().all(allowed) && inside && !path.contains("//") {
        Ok(path.to_owned())
    } else {
        Err(AddressError::Path(shown(path)))
    }
}

impl<'de> Deserialize<'de> for EndpointUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for EndpointUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for EndpointUrl {
    fn schema_name() -> Cow<'static, str> {
        "EndpointUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "http:// or https://, an IP address (IPv6 in brackets) or host name, a port, and an optional base path.",
            "pattern": "^[hH][tT][tT][pP][sS]?://[^/?#@]+(/[^?#]*)?$",
            "examples": ["http://127.0.0.1:8001", "https://[::1]:8443/engine"]
        })
    }
}

/// An IP address and a port to listen on; port 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub SocketAddr);

impl ListenAddr {
    /// Whether the two cannot be bound at the same time.
    #[must_use]
    pub fn clashes(self, other: Self) -> bool {
        let (a, b) = (self.0, other.0);
        a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
    }
}

/// Whether the address stands for the other too: `0.0.0.0` for every IPv4 address, `[::]` for all.
fn covers(any: IpAddr, ip: IpAddr) -> bool {
    any.is_unspecified() && (any.is_ipv6() || ip.is_ipv4())
}

impl From<SocketAddr> for ListenAddr {
    fn from(address: SocketAddr) -> Self {
        Self(address)
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ListenAddr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        text.parse().map(Self).map_err(|_| AddressError::Listen(shown(text)))
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = ListenAddr;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an IP address and a port such as 127.0.0.1:8080")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ListenAddr, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ListenAddr {
    fn schema_name() -> Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "An IP address (IPv6 in brackets) and a port; port 0 lets the system choose.",
            "pattern": r"^(\[[0-9a-fA-F:.]+\]|[0-9.]+):[0-9]+$",
            "examples": ["127.0.0.1:8080", "[::]:8080"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> EndpointUrl {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn urls() {
        for (text, authority, shown) in [
            ("http://127.0.0.1:8001", "127.0.0.1:8001", "http://127.0.0.1:8001"),
            ("http://127.0.0.1:8001/", "127.0.0.1:8001", "http://127.0.0.1:8001"),
            ("HTTPS://Engine.Example.com", "engine.example.com:443", "https://engine.example.com"),
            ("http://localhost", "localhost:80", "http://localhost"),
            ("https://[2001:DB8::1]:8443/a/b/", "[2001:db8::1]:8443", "https://[2001:db8::1]:8443/a/b"),
            ("http://[::1]", "[::1]:80", "http://[::1]"),
            ("http://my_engine-0.pool.svc.:80/v1", "my_engine-0.pool.svc.:80", "http://my_engine-0.pool.svc./v1"),
        ] {
            let parsed = url(text);
            assert_eq!((parsed.authority().as_str(), parsed.to_string().as_str()), (authority, shown));
            assert_eq!(url(shown), parsed);
        }
    }

    #[test]
    fn bad_urls() {
        use AddressError as E;
        let error = |text: &str| text.parse::<EndpointUrl>().unwrap_err();
        assert_eq!(error("127.0.0.1:8001"), E::NoScheme("127.0.0.1:8001".into()));
        assert_eq!(error("grpc://a"), E::Scheme("grpc".into()));
        assert_eq!(error("http://me:secret@a"), E::UserInfo);
        assert_eq!(error("http://a?x"), E::Query);
        assert_eq!(error("http://a/#x"), E::Query);
        assert_eq!(error("http://::1"), E::Brackets("::1".into()));
        for port in ["0", "65536", "", "+1", "x", "8000:1"] {
            assert_eq!(error(&format!("http://a:{port}")), E::Port(port.into()), "{port}");
        }
        for host in [
            "",
            "a b",
            "-a",
            "a..b",
            "300.1.1.1",
            "1.2.3",
            "[::1",
            "[1.2.3.4]",
            "[fe80::1%eth0]",
            "é",
            &"a".repeat(64),
            &"a.".repeat(130),
        ] {
            assert!(matches!(error(&format!("http://{host}")), E::Host(_)), "{host}");
        }
        for path in ["/a b", "/..", "/a/../b", "//", "/a//b", "/é"] {
            let text = format!("http://a{path}");
            // Slashes at the end alone are nothing.
            assert!(path == "//" || matches!(error(&text), E::Path(_)), "{path}");
        }
    }

    #[test]
    fn openai_base_urls_lose_their_v1() {
        assert_eq!(url("http://a:1/v1").without_v1().unwrap().to_string(), "http://a:1");
        assert_eq!(url("http://a:1/x/v1/").without_v1().unwrap().to_string(), "http://a:1/x");
        assert_eq!(url("http://a:1/xv1").without_v1(), None);
    }

    #[test]
    fn listeners_clash_when_they_cannot_both_be_bound() {
        let clash = |a: &str, b: &str| a.parse::<ListenAddr>().unwrap().clashes(b.parse().unwrap());
        assert!(clash("127.0.0.1:80", "127.0.0.1:80"));
        assert!(clash("0.0.0.0:80", "127.0.0.1:80"));
        assert!(clash("127.0.0.1:80", "[::]:80"));
        assert!(clash("[::]:80", "0.0.0.0:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!clash("0.0.0.0:80", "[::1]:80"));
        assert!(!clash("127.0.0.1:80", "127.0.0.1:81"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
        assert!("localhost:80".parse::<ListenAddr>().is_err());
        assert!(":80".parse::<ListenAddr>().is_err());
    }
}
