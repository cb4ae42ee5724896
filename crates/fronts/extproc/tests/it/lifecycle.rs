//! TLS, health, and the end.

use std::{sync::Arc, time::Duration};

use crate::support::{Proxy, Rig, Wanted, body, eventually, headers};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::Code;
use weir_extproc::{
    Metadata, Shutdown,
    proto::envoy::service::ext_proc::v3::{processing_request::Request, processing_response::Response},
};
use weir_tls::{ClientTls, ServerTls};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

#[tokio::test]
async fn a_certificate_that_signs_itself_is_enough() {
    let tls = ServerTls::GRPC.self_signed().unwrap();
    let rig = Rig::new(Wanted { tls: Some(tls), ..Wanted::default() }).await;
    let config = ClientTls { insecure_skip_verify: true, ..ClientTls::default() }.build().unwrap();
    let mut config = Arc::unwrap_or_clone(config);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(rig.address).await.unwrap();
    let name = ServerName::try_from("anything").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let proxy = Proxy::over(stream).await;
    assert!(matches!(proxy.open().await.chat(Metadata::default()).await, Response::RequestHeaders(_)));
    // Health checks have a port of their own in cleartext.
    assert_eq!(Proxy::connect(rig.health_address).await.check("readiness").await, SERVING);
}

#[tokio::test]
async fn health_is_told_by_name() {
    let rig = Rig::usual().await;
    for proxy in [rig.proxy().await, Proxy::connect(rig.health_address).await] {
        for name in ["", "liveness", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "unheard-of"] {
            assert_eq!(proxy.check(name).await, SERVING, "{name:?}");
        }
        let listed = proxy.list().await;
        assert_eq!(
            listed.keys().map(String::as_str).collect::<Vec<_>>(),
            ["", "envoy.service.ext_proc.v3.ExternalProcessor", "liveness", "readiness"]
        );
        assert_eq!(proxy.watch().await.code(), Code::Unimplemented);
    }
    let only_health = Proxy::connect(rig.health_address).await;
    assert_eq!(only_health.process_status().await.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_pool_that_no_parser_reads_is_not_ready() {
    let plugins = "plugins: [{type: vllmgrpc-parser}]\nrequestHandler: {parsers: [{pluginRef: vllmgrpc-parser}]}";
    for (plugins, protocol, want) in [
        ("plugins: []", "", SERVING),
        ("plugins: []", "http", SERVING),
        (plugins, "kubernetes.io/h2c", SERVING),
        (plugins, "http", NOT_SERVING),
    ] {
        let rig = Rig::new(Wanted { plugins, ..Wanted::default() }).await;
        rig.pool.set_app_protocol(protocol);
        let proxy = rig.proxy().await;
        assert_eq!((proxy.check("readiness").await, proxy.check("liveness").await), (want, SERVING), "{plugins} {protocol}");
    }
}

#[tokio::test]
async fn the_end_comes_in_order() {
    let end = Shutdown { lame_duck: Duration::from_secs(30), drain: Duration::from_secs(30) };
    let mut rig = Rig::new(Wanted { end, ..Wanted::default() }).await;
    let proxy = rig.proxy().await;
    let health = Proxy::connect(rig.health_address).await;
    let mut running = proxy.open().await;
    running.chat(Metadata::default()).await;
    running.next().await.unwrap();
    rig.shutdown.cancel();
    while health.check("readiness").await == SERVING {
        tokio::task::yield_now().await;
    }
    assert_eq!((health.check("readiness").await, health.check("liveness").await), (NOT_SERVING, SERVING));
    // New requests are served until proxies have gone elsewhere.
    assert!(matches!(proxy.open().await.chat(Metadata::default()).await, Response::RequestHeaders(_)));
    running.send(Request::ResponseHeaders(headers(&[(":status", "200")], false))).await;
    running.next().await.unwrap();
    running.send(Request::ResponseBody(body("x", true))).await;
    running.next().await.unwrap();
    assert_eq!(running.next().await.unwrap(), None);
    assert!(!rig.served.is_finished());
    drop((proxy, running));
    // With the last proxy gone nothing is waited for.
    tokio::time::timeout(Duration::from_secs(10), &mut rig.served).await.expect("it ends").unwrap();
    assert_eq!(rig.in_flight(), 0);
}

#[tokio::test]
async fn streams_that_do_not_end_are_broken_off() {
    let end = Shutdown { lame_duck: Duration::from_millis(50), drain: Duration::from_millis(50) };
    let mut rig = Rig::new(Wanted { end, ..Wanted::default() }).await;
    let mut stuck = rig.proxy().await.open().await;
    stuck.chat(Metadata::default()).await;
    assert_eq!(rig.in_flight(), 1);
    rig.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), &mut rig.served).await.expect("it ends").unwrap();
    eventually("the ledger is empty", || rig.in_flight() == 0).await;
}
