//! Protocols, certificates, reloads, the end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub, unused_imports)]
mod support;

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::registry::Registry;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use support::{Client, EVENTS, Engine, OK, Rig, chat, eventually, get, live_over, pool_of, settings};
use tokio::{net::TcpStream, sync::Notify};
use tokio_rustls::TlsConnector;
use weir_gateway::{Upstream, UpstreamTls};
use weir_tls::{CertReloader, ClientTls, ServerTls};

/// A certificate for localhost and 127.0.0.1 in two files.
fn write_certificate(dir: &Path) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made
}

/// A folder of its own, removed at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("weir-gateway-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn tls_stream(rig: &Rig, roots: &Path, alpn: &[&str]) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tls = ClientTls { ca_file: Some(roots.to_owned()), ..ClientTls::default() }.build().unwrap();
    let mut config = (*tls).clone();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(rig.address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// Streams one event, waits, and ends.
async fn waiting(go: Arc<Notify>) -> Engine {
    Engine::run(move |mut line| {
        let go = Arc::clone(&go);
        async move {
            line.hear().await?;
            line.say(EVENTS).await?;
            line.chunk("data: 1\n\n").await?;
            go.notified().await;
            line.chunk("data: 2\n\n").await?;
            line.say("0\r\n\r\n").await
        }
    })
    .await
}

#[tokio::test]
async fn http2_in_the_clear_with_prior_knowledge() {
    let events = Engine::run(|mut line| async move {
        loop {
            let heard = line.hear().await?;
            assert_eq!(heard.header("via"), Some("2 weir"));
            line.say(EVENTS).await?;
            line.chunk("data: 1\n\n").await?;
            line.chunk("data: [DONE]\n\n").await?;
            line.say("0\r\n\r\n").await?;
        }
    })
    .await;
    let rig = Rig::over(&[events.address], settings()).await;
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let mut sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
            let request = Request::post("http://weir/v1/chat/completions").body(Full::new(Bytes::from(body))).unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.headers().contains_key("x-weir-endpoint"));
            response.into_body().collect().await.unwrap().to_bytes()
        }));
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), "data: 1\n\ndata: [DONE]\n\n");
    }
}

#[tokio::test]
async fn tls_on_both_sides_and_a_new_certificate() {
    let folder = Folder::new("tls");
    let dir = &folder.0;
    write_certificate(dir);
    let reloader = CertReloader::load(dir.join("cert.pem"), dir.join("key.pem")).unwrap();
    let tls = ServerTls::HTTP.with(Arc::clone(&reloader)).unwrap();

    let plain = Engine::saying(OK).await;
    let inner = Rig::with(pool_of(&[plain.address], "http"), settings(), Upstream::default(), Some(Arc::clone(&tls))).await;
    let client = ClientTls { ca_file: Some(dir.join("cert.pem")), ..ClientTls::default() };
    let upstream =
        Upstream { tls: Some(UpstreamTls { config: client.build().unwrap(), server_name: None }), ..Upstream::default() };
    // A gateway in front of a gateway: the inner one is an engine with TLS.
    let outer = Rig::with(pool_of(&[inner.address], "https"), settings(), upstream, Some(tls)).await;

    let stream = tls_stream(&outer, &dir.join("cert.pem"), &["http/1.1"]).await.unwrap();
    let mut client = Client::over(stream);
    for _ in 0..2 {
        let answer = client.ask(&chat(false)).await;
        assert_eq!((answer.status, answer.text()), (200, "{\"ok\":true}"));
    }
    assert_eq!(outer.metric("weir_gateway_upstream_connects_total{result=\"ok\"}"), 1);

    let stream = tls_stream(&outer, &dir.join("cert.pem"), &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/version").body(Full::new(Bytes::new())).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);

    // The old connection goes on; new ones see the new certificate.
    std::fs::copy(dir.join("cert.pem"), dir.join("old.pem")).unwrap();
    write_certificate(dir);
    reloader.reload().unwrap();
    assert_eq!(client.ask(&get("/health", "")).await.status, 200);
    assert!(tls_stream(&outer, &dir.join("old.pem"), &[]).await.is_err());
    let stream = tls_stream(&outer, &dir.join("cert.pem"), &[]).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, CertificateDer::from_pem_file(dir.join("cert.pem")).unwrap());

    std::fs::write(dir.join("key.pem"), "nonsense").unwrap();
    assert!(reloader.reload().is_err(), "a broken file is reported");
    assert!(tls_stream(&outer, &dir.join("cert.pem"), &[]).await.is_ok(), "and changes nothing");
}

#[tokio::test]
async fn an_endpoint_with_a_wrong_certificate_is_not_trusted() {
    let folder = Folder::new("trust");
    write_certificate(&folder.0);
    let tls = ServerTls::HTTP.with(CertReloader::load(folder.0.join("cert.pem"), folder.0.join("key.pem")).unwrap()).unwrap();
    let plain = Engine::saying(OK).await;
    let inner = Rig::with(pool_of(&[plain.address], "http"), settings(), Upstream::default(), Some(tls)).await;

    let other = Folder::new("other");
    write_certificate(&other.0);
    let strict = ClientTls { ca_file: Some(other.0.join("cert.pem")), ..ClientTls::default() };
    let lax = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
    for (client, status) in [(strict, 502), (lax, 200)] {
        let tls = Some(UpstreamTls { config: client.build().unwrap(), server_name: None });
        let pool = pool_of(&[inner.address], "https");
        let rig = Rig::with(pool, settings(), Upstream { tls, ..Upstream::default() }, None).await;
        let answer = rig.client().await.ask(&chat(false)).await;
        assert_eq!(answer.status, status);
        if status == 502 {
            assert_eq!(answer.code(), "upstream_tls_failed");
        }
    }
}

#[tokio::test]
async fn a_reload_leaves_open_streams_alone() {
    let go = Arc::new(Notify::new());
    let old = waiting(Arc::clone(&go)).await;
    let new = Engine::saying(OK).await;
    let rig = Rig::over(&[old.address], settings()).await;
    let mut stream = rig.client().await;
    stream.send(&chat(true)).await;
    stream.head().await;
    assert_eq!(stream.chunk().await.unwrap(), b"data: 1\n\n");

    let pool = pool_of(&[new.address], "http");
    rig.live.store(Arc::new(live_over(&pool, settings(), Upstream::default(), &mut Registry::default())));
    let answer = rig.client().await.ask(&chat(false)).await;
    assert_eq!(answer.header("x-weir-endpoint"), Some(new.address.to_string().as_str()));

    go.notify_one();
    assert_eq!(stream.chunk().await.unwrap(), b"data: 2\n\n");
    assert_eq!(stream.chunk().await.unwrap(), b"");
    let answer = stream.ask(&chat(false)).await;
    assert_eq!(answer.header("x-weir-endpoint"), Some(new.address.to_string().as_str()), "the next request on it");
}

#[tokio::test]
async fn the_end_waits_for_streams_and_takes_nothing_new() {
    let go = Arc::new(Notify::new());
    let engine = waiting(Arc::clone(&go)).await;
    let rig = Rig::over(&[engine.address], settings()).await;
    let mut idle = rig.client().await;
    assert_eq!(idle.ask(&get("/health", "")).await.status, 200);
    let mut stream = rig.client().await;
    stream.send(&chat(true)).await;
    stream.head().await;
    stream.chunk().await.unwrap();

    rig.shutdown.cancel();
    assert!(idle.is_closed().await, "an idle connection is closed");
    eventually("the port is closed", || std::net::TcpStream::connect(rig.address).is_err()).await;
    assert!(!rig.served.is_finished());
    go.notify_one();
    assert_eq!(stream.chunk().await.unwrap(), b"data: 2\n\n");
    assert_eq!(stream.chunk().await.unwrap(), b"");
    assert!(stream.is_closed().await);
    tokio::time::timeout(Duration::from_secs(2), rig.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn clients_that_never_finish_a_head_are_cut() {
    let mut settings = settings();
    settings.timeouts.header = Duration::from_millis(50);
    settings.timeouts.idle = Duration::from_millis(200);
    let engine = Engine::saying(OK).await;
    let rig = Rig::over(&[engine.address], settings).await;
    let mut silent = rig.client().await;
    assert!(silent.is_closed().await, "not a byte");
    let mut slow = rig.client().await;
    slow.send("GET /health HTTP/1.1\r\n").await;
    assert!(slow.is_closed().await, "half a head");
    let mut idle = rig.client().await;
    assert_eq!(idle.ask(&get("/health", "")).await.status, 200);
    assert!(idle.is_closed().await, "rest has an end");
}

#[tokio::test]
async fn connections_are_bounded() {
    let mut settings = settings();
    settings.limits.connections = 1;
    let engine = Engine::saying(OK).await;
    let rig = Rig::over(&[engine.address], settings).await;
    let mut first = rig.client().await;
    assert_eq!(first.ask(&get("/health", "")).await.status, 200);
    let mut second = rig.client().await;
    second.send(&get("/health", "")).await;
    let early = tokio::time::timeout(Duration::from_millis(50), second.answer()).await;
    assert!(early.is_err(), "it waits");
    assert_eq!(rig.metric("weir_gateway_open_connections"), 1);
    drop(first);
    assert_eq!(second.answer().await.status, 200);
}
