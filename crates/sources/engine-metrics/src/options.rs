//! How one pool's endpoints are asked.

use std::{fmt, sync::Arc, time::Duration};

use rustls::ClientConfig;
use weir_pool::Scheme;

use crate::{EngineMappings, PageOptions};

/// A key sent as `Authorization: Bearer …`. Its text shows up in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

/// A key has a character that no header can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is visible ASCII text without spaces")]
pub struct SecretError;

impl Secret {
    /// Takes a key, trimmed of white space around it.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError);
        }
        Ok(Self(text.into()))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How one pool's endpoints are asked.
#[derive(Clone, Debug)]
pub struct ScrapeOptions {
    /// Whether the metrics page is read. Without it endpoints are only probed, every `idle_interval`.
    pub enabled: bool,
    /// Time from scrape to scrape of one endpoint.
    pub interval: Duration,
    /// Whether endpoints on which nothing runs and to which nothing was sent are asked every `idle_interval` only.
    pub adaptive: bool,
    /// Time from scrape to scrape of an idle endpoint, and of one that does not answer.
    pub idle_interval: Duration,
    /// Longest time for one answer, connecting included.
    pub timeout: Duration,
    /// Path of the metrics page; `None` is the engine's own.
    pub path: Option<String>,
    /// Scheme of the metrics page; `None` is the endpoint's.
    pub scheme: Option<Scheme>,
    /// Port of the metrics page; `None` is the endpoint's.
    pub port: Option<u16>,
    /// Key for the endpoints.
    pub api_key: Option<Secret>,
    /// How `https` endpoints are verified; without it they cannot be asked.
    pub tls: Option<Arc<ClientConfig>>,
    /// Name that the endpoints' certificates must bear; `None` is the URL's host.
    pub tls_server_name: Option<String>,
    /// What the pages mean.
    pub mappings: Arc<EngineMappings>,
    /// Pages besides.
    pub pages: Vec<Arc<PageOptions>>,
    /// How lists of models are fetched.
    pub models: ModelsOptions,
}

/// How lists of models are fetched.
#[derive(Clone, Debug)]
pub struct ModelsOptions {
    /// Scheme; `None` is the endpoint's.
    pub scheme: Option<Scheme>,
    /// Path of the list.
    pub path: String,
    /// Time from list to list.
    pub interval: Duration,
    /// How `https` is verified, where it is not as for the endpoint itself.
    pub tls: Option<Arc<ClientConfig>>,
    /// Whether everything that lists say of models is kept, not only their names.
    pub details: bool,
}

impl Default for ModelsOptions {
    fn default() -> Self {
        Self { scheme: None, path: "/v1/models".to_owned(), interval: Duration::from_secs(30), tls: None, details: false }
    }
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: Duration::from_millis(50),
            adaptive: true,
            idle_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            path: None,
            scheme: None,
            port: None,
            api_key: None,
            tls: None,
            tls_server_name: None,
            mappings: Arc::default(),
            pages: Vec::new(),
            models: ModelsOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_add_headers_and_is_not_shown() {
        let key = Secret::new(" sk-123\n").unwrap();
        assert_eq!(key.expose(), "sk-123");
        assert_eq!(format!("{key:?}"), "Secret");
        for text in ["", " \n", "a b", "a\r\nX: y", "ä"] {
            assert_eq!(Secret::new(text), Err(SecretError), "{text:?}");
        }
    }
}
