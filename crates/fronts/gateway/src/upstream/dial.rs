//! Opens connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};
use weir_api::Reason;
use weir_pool::Endpoint;

use super::{Conn, Outgoing, Transport};
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

/// A new HTTP/1.1 connection to `endpoint`, within `limit` all in all.
pub(crate) async fn dial(
    endpoint: &Endpoint,
    transport: &Transport,
    tls: Option<&Arc<ClientConfig>>,
    server_name: Option<&str>,
    limit: Duration,
) -> Result<Box<Conn>, DialError> {
    let open = async {
        let wire = wire(endpoint, transport, tls.map(Arc::clone), server_name).await?;
        Conn::open(wire).await.map(Box::new).map_err(|e| DialError::Connect(std::io::Error::other(e)))
    };
    tokio::time::timeout(limit, open).await.unwrap_or(Err(DialError::Timeout))
}

/// A new HTTP/2 connection to `endpoint`, within `limit` all in all. It is driven by a task of its own, which ends with the last
/// sender and the last response.
pub(crate) async fn dial_h2(
    endpoint: &Endpoint,
    transport: &Transport,
    tls: Option<&Arc<ClientConfig>>,
    server_name: Option<&str>,
    limit: Duration,
) -> Result<http2::SendRequest<Outgoing>, DialError> {
    let open = async {
        let tls = tls.map(|config| {
            let mut config = ClientConfig::clone(config);
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        let wire = wire(endpoint, transport, tls, server_name).await?;
        let handshake = http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).handshake(TokioIo::new(wire));
        let (sender, driver) = handshake.await.map_err(|e| DialError::Connect(std::io::Error::other(e)))?;
        let id = endpoint.id().to_owned();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(endpoint = id, %error, "an HTTP/2 connection ended in error");
            }
        });
        Ok(sender)
    };
    tokio::time::timeout(limit, open).await.unwrap_or(Err(DialError::Timeout))
}

async fn wire(
    endpoint: &Endpoint,
    transport: &Transport,
    tls: Option<Arc<ClientConfig>>,
    server_name: Option<&str>,
) -> Result<Wire, DialError> {
    let stream = connect(endpoint, transport).await?;
    let Some(config) = tls else { return Ok(Wire::Plain(stream)) };
    let name = server_name.map_or_else(|| endpoint.spec().url.host.bare().into_owned(), ToOwned::to_owned);
    let name = ServerName::try_from(name.clone()).map_err(|_| DialError::ServerName(name))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(DialError::Tls)?;
    Ok(Wire::Tls(Box::new(TlsStream::from(stream))))
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
