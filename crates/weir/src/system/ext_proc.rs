//! The external processing front: from the configuration to a server, and again when it changes.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::sync::CancellationToken;
use weir_api::RouterConfig;
use weir_extproc::{ExtProc, Health, Limits, Listener, Live, Serves, Settings, Shutdown};
use weir_fronts::AccessLog;
use weir_tls::{CertReloader, ServerTls, TlsError};

use super::{election::LeaderView, kubernetes::ClusterSync};
use crate::failure::Failure;

/// The front's ports, open.
#[derive(Default)]
pub(super) struct ExtProcPorts {
    pub(super) processing: Option<TcpListener>,
    pub(super) health: Option<TcpListener>,
}

/// The front and what a reload changes about it.
pub(super) struct Front {
    live: Arc<ArcSwap<Live>>,
    secure: bool,
    certificate: Option<Arc<CertReloader>>,
    tls: ServerTls,
    server: Mutex<Option<ExtProc>>,
}

impl Front {
    pub(super) fn new(
        config: &RouterConfig,
        live: &weir_gateway::Live,
        sync: Arc<ArcSwap<ClusterSync>>,
        leader: Option<LeaderView>,
        registry: &mut Registry,
        log: AccessLog,
    ) -> Result<Self, Failure> {
        let files = config.ext_proc.cert_file.as_ref().zip(config.ext_proc.key_file.as_ref());
        let certificate = match files.filter(|_| config.listen.ext_proc.is_some()) {
            None => None,
            Some((cert, key)) => Some(CertReloader::load(&cert.value, &key.value).map_err(tls_failure)?),
        };
        let live = Arc::new(ArcSwap::from_pointee(live_of(config, live)));
        let known = Arc::clone(&live);
        // It is wired once every pool's source of endpoints was read; how many of them are ready is told to clients, not to Envoy:
        // an Envoy that finds no healthy picker can only answer 500. A pool that no parser reads is a mistake, and not to be missed.
        let ready = move || known.load().router.reads_every_pool() && sync.load().waits_for().is_empty();
        let health = match leader {
            None => Health::new(ready),
            Some(leader) => Health::with_leader(ready, move || leader.leads()),
        };
        let server = ExtProc::new(Arc::clone(&live), health, Limits::new(&config.ext_proc), registry, log);
        Ok(Self {
            live,
            secure: config.ext_proc.secure,
            certificate,
            tls: tls_of(&config.ext_proc),
            server: Mutex::new(Some(server)),
        })
    }

    pub(super) fn listeners(&self, ports: ExtProcPorts) -> Result<Vec<Listener>, Failure> {
        let mut listeners = Vec::new();
        if let Some(socket) = ports.processing {
            let tls = match &self.certificate {
                _ if !self.secure => None,
                Some(certificate) => Some(self.tls.with(Arc::clone(certificate)).map_err(tls_failure)?),
                None => Some(self.tls.self_signed().map_err(tls_failure)?),
            };
            listeners.push(Listener { socket, tls, serves: Serves::Both });
        }
        listeners.extend(ports.health.map(|socket| Listener { socket, tls: None, serves: Serves::Health }));
        Ok(listeners)
    }

    /// Serves until `drain` is cancelled, and ends in `timeout` then.
    pub(super) async fn serve(&self, listeners: Vec<Listener>, drain: CancellationToken, timeout: Duration) {
        let Some(server) = self.server.lock().await.take() else { return };
        server.serve(listeners, drain, Shutdown { lame_duck: timeout, drain: timeout }).await;
    }

    pub(super) fn reload_certificate(&self) -> Result<(), Failure> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload().map_err(tls_failure))
    }

    pub(super) fn store(&self, config: &RouterConfig, live: &weir_gateway::Live) {
        self.live.store(Arc::new(live_of(config, live)));
    }
}

/// Suites of TLS 1.3 are not chosen: all of them are safe.
fn tls_of(config: &weir_api::ExtProc) -> ServerTls {
    const OF_TLS13: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
    let mut cipher_suites: Vec<String> = config.cipher_suites.iter().map(|one| one.value.clone()).collect();
    if !cipher_suites.is_empty() {
        cipher_suites.extend(OF_TLS13.map(str::to_owned));
    }
    ServerTls { only_tls13: config.min_tls_version == weir_api::TlsVersion::V13, cipher_suites, ..ServerTls::GRPC }
}

fn live_of(config: &RouterConfig, live: &weir_gateway::Live) -> Live {
    Live {
        router: Arc::clone(&live.router),
        breakers: live.upstreams.iter().map(|upstream| upstream.breaker).collect(),
        settings: Settings::new(&config.ext_proc, config.gateway.access_log),
    }
}

fn tls_failure(error: TlsError) -> Failure {
    Failure::new(format!("extProc: {error}"))
}
