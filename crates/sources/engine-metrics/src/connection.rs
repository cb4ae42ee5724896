//! One keep-alive connection to an endpoint, and the buffers that answers are read into.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use weir_pool::Scheme;

use crate::response::{ResponseError, ResponseReader};

/// A page of usual size fits in one read.
const BUFFER_BYTES: usize = 64 * 1024;
/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Buffers kept for later, and the largest that is worth keeping.
const SPARE_BUFFERS: usize = 8;
const MAX_SPARE_BYTES: usize = 256 * 1024;

/// Why an endpoint could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AskError {
    #[error("its host name does not resolve")]
    Unresolved,
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("its scheme is https, but no TLS settings are given")]
    NoTls,
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("the connection broke: {0}")]
    Broken(#[source] io::Error),
    #[error(transparent)]
    Response(#[from] ResponseError),
}

/// Buffers that are shared by all connections: an answer holds one only while it arrives, so that few stay warm in the cache.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    spare: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    fn take(&self) -> Vec<u8> {
        self.spare.lock().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES])
    }

    fn give(&self, buffer: Vec<u8>) {
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_BUFFERS && buffer.len() <= MAX_SPARE_BYTES {
            spare.push(buffer);
        }
    }
}

/// A buffer on loan.
struct Loan<'b> {
    buffers: &'b Buffers,
    bytes: Vec<u8>,
}

impl<'b> Loan<'b> {
    fn from(buffers: &'b Buffers) -> Self {
        Self { buffers, bytes: buffers.take() }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.buffers.give(std::mem::take(&mut self.bytes));
    }
}

/// Where a connection to an endpoint leads, other than to its addresses.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    pub(crate) port: u16,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    /// Name that the certificate must bear.
    pub(crate) server_name: String,
}

impl Origin {
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let tls = match (&self.tls, &other.tls) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        };
        let same_tls = tls && self.server_name == other.server_name;
        self.scheme == other.scheme && self.port == other.port && (same_tls || self.scheme == Scheme::Http)
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection, ready for the next request.
pub(crate) struct Connection {
    stream: Stream,
    peer: SocketAddr,
    used: bool,
}

/// What came back: the status, what `read` made of the body, and how many bytes came.
pub(crate) struct Answer<R> {
    pub(crate) status: u16,
    pub(crate) read: R,
    pub(crate) bytes: u64,
}

/// Sends `request` and hands the status and body to `read`. Uses the connection in `slot`, or opens one; leaves it there if it can be used
/// again. If a kept connection turns out to be closed, tries once more on a new one.
pub(crate) async fn ask<R>(
    slot: &mut Option<Connection>,
    origin: &Origin,
    addresses: &[SocketAddr],
    patience: Duration,
    request: &[u8],
    buffers: &Buffers,
    read: impl FnOnce(u16, &[u8]) -> R,
) -> Result<Answer<R>, AskError> {
    // Taken out, so that a request that is given up half way leaves no half-used connection.
    let mut kept = slot.take().filter(|kept| addresses.iter().any(|address| address.ip() == kept.peer.ip()));
    loop {
        let mut connection = match kept.take() {
            Some(kept) => kept,
            None => connect(origin, addresses, patience).await?,
        };
        let mut loan = None;
        match connection.exchange(request, buffers, &mut loan).await {
            Ok((response, bytes)) => {
                let body = loan.as_ref().and_then(|loan| loan.bytes.get(response.body.clone())).unwrap_or_default();
                let read = read(response.status, body);
                if response.keep_alive {
                    connection.used = true;
                    *slot = Some(connection);
                }
                return Ok(Answer { status: response.status, read, bytes });
            }
            Err(Failure::Stale(_)) if connection.used => {}
            Err(Failure::Stale(error) | Failure::Final(error)) => return Err(error),
        }
    }
}

async fn connect(origin: &Origin, addresses: &[SocketAddr], patience: Duration) -> Result<Connection, AskError> {
    let mut last = AskError::Unresolved;
    let tries = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        let peer = SocketAddr::new(address.ip(), origin.port);
        match timeout(patience / tries, TcpStream::connect(peer)).await {
            Ok(Ok(tcp)) => {
                tcp.set_nodelay(true).map_err(AskError::Connect)?;
                let stream = match origin.scheme {
                    Scheme::Http => Stream::Plain(tcp),
                    Scheme::Https => Stream::Tls(Box::new(handshake(origin, tcp).await?)),
                };
                return Ok(Connection { stream, peer, used: false });
            }
            Ok(Err(error)) => last = AskError::Connect(error),
            Err(_) => last = AskError::Connect(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last)
}

async fn handshake(origin: &Origin, tcp: TcpStream) -> Result<TlsStream<TcpStream>, AskError> {
    let config = origin.tls.clone().ok_or(AskError::NoTls)?;
    let name = ServerName::try_from(origin.server_name.clone()).map_err(|error| AskError::Tls(io::Error::other(error)))?;
    TlsConnector::from(config).connect(name, tcp).await.map_err(AskError::Tls)
}

enum Failure {
    /// Nothing of an answer came: a kept connection may have been closed before the request.
    Stale(AskError),
    Final(AskError),
}

impl Connection {
    async fn exchange<'b>(
        &mut self,
        request: &[u8],
        buffers: &'b Buffers,
        loan: &mut Option<Loan<'b>>,
    ) -> Result<(crate::response::Response, u64), Failure> {
        let stale = |error| Failure::Stale(AskError::Broken(error));
        match &mut self.stream {
            Stream::Plain(tcp) => {
                tcp.write_all(request).await.map_err(stale)?;
                // A buffer is needed only once there is something to read.
                tcp.readable().await.map_err(stale)?;
            }
            Stream::Tls(tls) => {
                tls.write_all(request).await.map_err(stale)?;
                tls.flush().await.map_err(stale)?;
            }
        }
        let buffer = &mut loan.insert(Loan::from(buffers)).bytes;
        let mut reader = ResponseReader::new(MAX_ANSWER_BYTES);
        let mut filled = 0;
        loop {
            if filled == buffer.len() {
                buffer.resize(buffer.len() * 2, 0);
            }
            let free = buffer.get_mut(filled..).unwrap_or_default();
            let read = match &mut self.stream {
                Stream::Plain(tcp) => tcp.read(free).await,
                Stream::Tls(tls) => tls.read(free).await,
            };
            let count = match read {
                Ok(0) if filled == 0 => return Err(Failure::Stale(ResponseError::CutOff.into())),
                Ok(0) => {
                    let response = reader.closed().map_err(|error| Failure::Final(error.into()))?;
                    return Ok((response, filled as u64));
                }
                Ok(count) => count,
                Err(error) if filled == 0 => return Err(stale(error)),
                Err(error) => return Err(Failure::Final(AskError::Broken(error))),
            };
            filled += count;
            let received = buffer.get_mut(..filled).unwrap_or_default();
            if let Some(response) = reader.advance(received).map_err(|error| Failure::Final(error.into()))? {
                return Ok((response, filled as u64));
            }
            if let Some(wanted) = reader.wanted()
                && wanted > buffer.len()
            {
                buffer.resize(wanted, 0);
            }
        }
    }
}
