//! TLS towards clients.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, ring},
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use crate::{
    TlsError,
    pem::{certificates, private_key, provider},
};

/// The certificate that clients see; it can be read again while connections are open.
#[derive(Debug)]
pub struct CertReloader {
    cert_file: PathBuf,
    key_file: PathBuf,
    current: ArcSwap<CertifiedKey>,
}

impl CertReloader {
    /// Reads certificate chain and key, PEM.
    ///
    /// # Errors
    /// A file is unreadable, or the two do not fit.
    pub fn load(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Result<Arc<Self>, TlsError> {
        let (cert_file, key_file) = (cert_file.into(), key_file.into());
        let current = ArcSwap::from_pointee(read(&cert_file, &key_file)?);
        Ok(Arc::new(Self { cert_file, key_file, current }))
    }

    /// Reads the files again, for connections that are opened from now on.
    ///
    /// # Errors
    /// As [`CertReloader::load`]; the certificate in use then stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.cert_file, &self.key_file)?));
        Ok(())
    }

    /// The files to watch.
    pub fn files(&self) -> [&Path; 2] {
        [&self.cert_file, &self.key_file]
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, TlsError> {
    CertifiedKey::from_der(certificates(cert_file)?, private_key(key_file)?, &provider())
        .map_err(|error| TlsError::Key { path: cert_file.to_owned(), error })
}

impl ResolvesServerCert for CertReloader {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

/// What a server offers.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Application protocols, best first.
    pub alpn: &'static [&'static str],
    /// Refuses TLS 1.2. Older versions than that are never spoken.
    pub only_tls13: bool,
    /// Suites by their IANA names; empty: all that are safe.
    pub cipher_suites: Vec<String>,
}

impl ServerTls {
    /// HTTP/2 and HTTP/1.1.
    pub const HTTP: Self = Self { alpn: &["h2", "http/1.1"], only_tls13: false, cipher_suites: Vec::new() };
    /// gRPC.
    pub const GRPC: Self = Self { alpn: &["h2"], only_tls13: false, cipher_suites: Vec::new() };

    /// TLS with a certificate from files.
    ///
    /// # Errors
    /// A suite is unknown, or none of them goes with a version that is allowed.
    pub fn with(&self, certificate: Arc<CertReloader>) -> Result<Arc<ServerConfig>, TlsError> {
        self.build(certificate)
    }

    /// TLS with a certificate that is made now and vouches for nothing: it encrypts, and clients must not check it. ECDSA P-256,
    /// valid for ten years.
    ///
    /// # Errors
    /// As [`ServerTls::with`].
    pub fn self_signed(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Inference Ext");
        let key = rcgen::KeyPair::generate()?;
        let now = std::time::SystemTime::now();
        params.not_before = (now - DAY).into();
        params.not_after = (now + 3650 * DAY).into();
        let certificate = params.self_signed(&key)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let certified = CertifiedKey::from_der(vec![certificate.der().clone()], private, &provider())?;
        self.build(Arc::new(SingleCertAndKey::from(certified)))
    }

    fn build(&self, certificate: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, TlsError> {
        let versions: &[&SupportedProtocolVersion] = if self.only_tls13 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let mut config = ServerConfig::builder_with_provider(self.provider()?)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        if self.cipher_suites.is_empty() {
            return Ok(provider());
        }
        let all = ring::default_provider();
        let cipher_suites = self
            .cipher_suites
            .iter()
            .map(|name| {
                let found = all.cipher_suites.iter().find(|one| iana_name(one) == *name).copied();
                found.ok_or_else(|| TlsError::CipherSuite(name.clone()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(CryptoProvider { cipher_suites, ..all }))
    }
}

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// rustls calls suites of TLS 1.3 `TLS13_…`.
fn iana_name(suite: &rustls::SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite()).replacen("TLS13_", "TLS_", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_our_own_needs_nothing() {
        let config = ServerTls::GRPC.self_signed().unwrap();
        assert_eq!(config.alpn_protocols, [b"h2"]);
    }

    #[test]
    fn suites_have_their_iana_names() {
        let with = |names: &[&str], only_tls13| {
            let cipher_suites = names.iter().map(|name| (*name).to_owned()).collect();
            ServerTls { cipher_suites, only_tls13, ..ServerTls::GRPC }.self_signed()
        };
        assert!(with(&["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"], false).is_ok());
        assert!(matches!(with(&["TLS_RSA_WITH_RC4_128_SHA"], false), Err(TlsError::CipherSuite(_))));
        // No suite is left for the versions.
        assert!(with(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"], true).is_err());
    }
}
