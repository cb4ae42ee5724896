//! One HTTP/1.1 request on a connection of its own, for commands that ask something once.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use weir_pool::{EndpointUrl, Scheme};

/// Largest answer that is read.
const MAX_BYTES: usize = 256 << 20;

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The beginning of the body, as one line.
    pub(crate) fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(200) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("https is not spoken here")]
    Https,
    #[error("{0}")]
    Exchange(Box<dyn std::error::Error + Send + Sync>),
}

/// Asks `base` for `path`, which is appended to the URL's own.
pub(crate) async fn get(base: &EndpointUrl, path: &str, within: Duration) -> Result<Answer, ClientError> {
    send(base, path, Request::get("/"), Bytes::new(), within).await
}

/// Sends a request whose method and headers are in `head`; host and path are filled in.
pub(crate) async fn send(
    base: &EndpointUrl,
    path: &str,
    head: http::request::Builder,
    body: Bytes,
    within: Duration,
) -> Result<Answer, ClientError> {
    if base.scheme == Scheme::Https {
        return Err(ClientError::Https);
    }
    let request = head
        .uri(format!("{}{path}", base.base_path))
        .header(http::header::HOST, base.authority())
        .body(Full::new(body))
        .map_err(|error| ClientError::Exchange(error.into()))?;
    tokio::time::timeout(within, exchange(base, request)).await.map_err(|_| ClientError::Slow(within))?
}

async fn exchange(base: &EndpointUrl, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
    let stream = TcpStream::connect((&*base.host.bare(), base.port)).await.map_err(ClientError::Connect)?;
    let failed = |error: hyper::Error| ClientError::Exchange(error.into());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(failed)?.into_parts();
        let body = Limited::new(body, MAX_BYTES).collect().await.map_err(ClientError::Exchange)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        Err(error) = connection => Err(failed(error)),
    }
}
