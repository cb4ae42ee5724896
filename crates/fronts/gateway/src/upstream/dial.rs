//! Opens connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use weir_api::Reason;
use weir_pool::Endpoint;

use super::{Conn, Transport};
use crate::wire::{Wire, tune};

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the host's name is not resolved")]
    Unresolved,
    #[error("not connected in time")]
    Timeout,
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("`{0}` is no server name for TLS")]
    ServerName(String),
}

impl DialError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Unresolved | Self::Connect(_) => Reason::UpstreamConnectFailed,
            Self::Timeout => Reason::UpstreamConnectTimeout,
            Self::Tls(_) | Self::ServerName(_) => Reason::UpstreamTlsFailed,
        }
    }
}

/// A new connection to `endpoint`, within `limit` all in all.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    transport: &Transport,
    tls: Option<&Arc<ClientConfig>>,
    server_name: Option<&str>,
    limit: Duration,
) -> Result<Box<Conn>, DialError> {
    let open = async {
        let stream = connect(endpoint, transport).await?;
        let wire = match tls {
            None => Wire::Plain(stream),
            Some(config) => {
                let name = server_name.map_or_else(|| endpoint.spec().url.host.bare().into_owned(), ToOwned::to_owned);
                let name = ServerName::try_from(name.clone()).map_err(|_| DialError::ServerName(name))?;
                let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(DialError::Tls)?;
                Wire::Tls(Box::new(TlsStream::from(stream)))
            }
        };
        Conn::open(wire).await.map(Box::new).map_err(|e| DialError::Connect(std::io::Error::other(e)))
    };
    tokio::time::timeout(limit, open).await.unwrap_or(Err(DialError::Timeout))
}

/// Tries the addresses of the endpoint one after the other, each dial beginning with another one.
async fn connect(endpoint: &Endpoint, transport: &Transport) -> Result<TcpStream, DialError> {
    let known = endpoint.addresses();
    let resolved: Vec<SocketAddr>;
    let addresses: &[SocketAddr] = if known.is_empty() {
        let url = &endpoint.spec().url;
        resolved = match tokio::net::lookup_host((&*url.host.bare(), url.port)).await {
            Ok(found) => found.collect(),
            Err(_) => return Err(DialError::Unresolved),
        };
        &resolved
    } else {
        &known
    };
    if addresses.is_empty() {
        return Err(DialError::Unresolved);
    }
    let first = transport.next_turn() % addresses.len();
    let mut failed = DialError::Unresolved;
    for address in addresses[first..].iter().chain(&addresses[..first]) {
        match TcpStream::connect(address).await.and_then(|stream| tune(&stream).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = DialError::Connect(error),
        }
    }
    Err(failed)
}
