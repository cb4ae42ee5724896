//! What can be wrong with certificates and keys.

use std::{io, path::PathBuf};

use rustls::pki_types::pem;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM.
    #[error("{path}: {error}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: pem::Error,
    },
    /// A file that should hold certificates holds none.
    #[error("{path}: no certificate in it", path = .0.display())]
    NoCertificate(PathBuf),
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("{path}: {error}", path = path.display())]
    Key {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
    /// The system offers no root certificates.
    #[error("no root certificates: {0}")]
    Roots(io::Error),
    /// No certificate of our own could be made.
    #[error("no self-signed certificate: {0}")]
    SelfSigned(#[from] rcgen::Error),
    /// A cipher suite that does not exist, or is not safe.
    #[error("the cipher suite `{0}` is not supported")]
    CipherSuite(String),
    /// Anything else.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}
