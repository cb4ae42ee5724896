//! How Envoy's external processing is answered.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Quantity, Spanned};

/// How Envoy's external processing is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExtProc {
    /// Whether TLS is spoken: with the certificate below, or else with one that signs itself. Default true.
    pub secure: bool,
    /// Certificate chain, PEM. Read again when it changes. A relative path begins at this file's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<Spanned<PathBuf>>,
    /// Private key, PEM. Read again when it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<Spanned<PathBuf>>,
    /// Least version of TLS. Default 1.2.
    pub min_tls_version: TlsVersion,
    /// Cipher suites of TLS 1.2 by their IANA names. Default: all that are safe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<Spanned<String>>,
    /// How many endpoints Envoy is told. Default all.
    pub destinations: Destinations,
    /// Whether the proxy's list of endpoints (`envoy.lb.subset_hint`) counts. Default true.
    pub subset_hint: bool,
    /// Whether the metadata tell every candidate's score. Default false.
    pub scores: bool,
    /// How clients are told why they are not served. Default json.
    pub errors: ErrorFormat,
    /// Largest request body that is kept to be read. Default 64Mi.
    pub max_body_bytes: Spanned<Quantity>,
    /// Largest gRPC message that is taken. Default 4Mi.
    pub max_receive_bytes: Spanned<Quantity>,
    /// Largest gRPC message that is sent. Default 4Mi.
    pub max_send_bytes: Spanned<Quantity>,
}

impl Default for ExtProc {
    fn default() -> Self {
        Self {
            secure: true,
            cert_file: None,
            key_file: None,
            min_tls_version: TlsVersion::V12,
            cipher_suites: Vec::new(),
            destinations: Destinations::All,
            subset_hint: true,
            scores: false,
            errors: ErrorFormat::Json,
            max_body_bytes: Spanned::nowhere(Quantity::mib(64)),
            max_receive_bytes: Spanned::nowhere(Quantity::mib(4)),
            max_send_bytes: Spanned::nowhere(Quantity::mib(4)),
        }
    }
}

/// Least version of TLS. Nothing older than 1.2 is ever spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// How many endpoints Envoy is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Destinations {
    /// All that the picker chose, best first: one, unless it is configured to choose more. For `override_host` clusters.
    #[default]
    All,
    /// The best one. For `original_dst` clusters, which cannot read lists.
    First,
}

/// How clients are told why they are not served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ErrorFormat {
    /// An error object as OpenAI's clients expect it.
    #[default]
    Json,
    /// One line of text, as llm-d: `inference error: <Code> - <message>`.
    Plain,
}
