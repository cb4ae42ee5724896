//! A worker on a free port and a small client.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use weir_engine::{Delays, LatencyModel, Spread};
use weir_sim::{SimConfig, SimHandle, start};

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of all events.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.text.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
    }
}

pub(crate) async fn worker(config: SimConfig) -> SimHandle {
    start(config, "127.0.0.1:0".parse().unwrap()).await.unwrap()
}

/// Constant delays.
pub(crate) fn timed(ttft_ms: u64, itl_ms: u64) -> SimConfig {
    let delays =
        Delays { ttft: Spread::exactly(ttft_ms * 1_000_000), itl: Spread::exactly(itl_ms * 1_000_000), ..Delays::default() };
    SimConfig { latency: LatencyModel::Delays(delays), max_num_seqs: 64, max_model_len: 8192, ..SimConfig::new("m") }
}

pub(crate) async fn connect(addr: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = http1::handshake(TokioIo::new(TcpStream::connect(addr).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn post(path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::post(path).header("host", "sim").body(Full::new(Bytes::from(body.to_owned()))).unwrap()
}

/// Sends a request on a connection of its own and hands the open response back with the connection.
pub(crate) async fn open(
    addr: SocketAddr,
    request: Request<Full<Bytes>>,
) -> (http1::SendRequest<Full<Bytes>>, Response<Incoming>) {
    let mut sender = connect(addr).await;
    let response = sender.send_request(request).await.unwrap();
    (sender, response)
}

pub(crate) async fn send(addr: SocketAddr, request: Request<Full<Bytes>>) -> Reply {
    let (_sender, response) = open(addr, request).await;
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Reply { status: parts.status, headers: parts.headers, text }
}

pub(crate) async fn call(worker: &SimHandle, path: &str, body: Value) -> Reply {
    send(worker.addr(), post(path, &body.to_string())).await
}

pub(crate) async fn get(worker: &SimHandle, path: &str) -> Reply {
    send(worker.addr(), Request::get(path).header("host", "sim").body(Full::default()).unwrap()).await
}

/// Waits until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("not within two seconds: {what}");
}

/// The value of a series on a metrics page.
pub(crate) fn series(page: &str, name: &str, label: &str) -> f64 {
    let line =
        page.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(['{', ' ']) && line.contains(label));
    let line = line.unwrap_or_else(|| panic!("{name} with {label} on\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}
