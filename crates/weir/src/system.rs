//! The running program: sources, router, gateway and admin server, wired as the configuration says, and wired again when it
//! changes.

mod election;
mod ext_proc;
mod kubernetes;
mod objects;
mod pools;
mod settings;
mod status;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::{net::TcpListener, sync::Mutex};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use weir_api::{AppProtocol, Endpoints, Loaded, PoolSpec, RouterConfig, Sources};
use weir_discovery::FileWatch;
use weir_engine_metrics::Scraper;
use weir_gateway::{Gateway, Listener, Live};
use weir_kubernetes::Reviewer;
use weir_kv_events::{KvEvents, Timing};
use weir_plan::{CompileOptions, KvEventSource, Registry};
use weir_router::{Clock, DecisionLog, DecisionLogConfig, LlmDCollector, PoolRuntime, Router, RouterMetrics, Shared};
use weir_tls::{CertReloader, ServerTls, TlsError};
use weir_traces::Tracer;

pub(crate) use self::settings::mappings;
pub(crate) use self::{election::LeaderView, kubernetes::own_namespace};
use self::{
    election::Leading,
    ext_proc::{ExtProcPorts, Front},
    kubernetes::{Cluster, ClusterSync},
    objects::Objects,
    pools::{Following, PoolInForce},
};
use crate::{
    admin::{self, Admin},
    failure::Failure,
    listeners::bind,
    logging::Logging,
    reload::ReloadStatus,
    signals, state,
    state::EndpointCollector,
    status_line,
    traces::{TraceCollector, Traces},
};

/// How often endpoints' model lists are looked at for changes.
const MODELS_EVERY: Duration = Duration::from_millis(500);
/// Longest wait, at the start, for every endpoint to be asked once.
const FIRST_ROUND: Duration = Duration::from_secs(3);

/// Where the configuration comes from.
pub(crate) enum Origin {
    /// The command line: it cannot change.
    CommandLine,
    /// Files that are read again when they change.
    Files {
        /// What the log calls the configuration.
        name: String,
        /// The configuration file, if there is one: it may name others.
        path: Option<PathBuf>,
        read: Reader,
        /// Whether it decides how much is logged.
        sets_level: bool,
    },
}

/// Reads the configuration.
pub(crate) type Reader = Arc<dyn Fn() -> Result<Loaded, Failure> + Send + Sync>;

/// The program's ports, open.
pub(crate) struct Opened {
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    ext_proc: ExtProcPorts,
    admin: Option<TcpListener>,
}

impl Opened {
    /// Opens what the configuration lists; `how` tells how to choose another port.
    pub(crate) fn open(config: &RouterConfig, how: &str) -> Result<Self, Failure> {
        let listen = &config.listen;
        let open = |address: Option<SocketAddr>, what| address.map(|address| bind(address, what, how)).transpose();
        Ok(Self {
            http: open(listen.http.as_ref().map(|one| one.value.0), "clients (listen.http)")?,
            https: open(listen.https.as_ref().map(|one| one.address.value.0), "clients (listen.https)")?,
            ext_proc: ExtProcPorts {
                processing: open(listen.ext_proc.as_ref().map(|one| one.value.0), "Envoy (listen.extProc)")?,
                health: open(listen.grpc_health.as_ref().map(|one| one.value.0), "health checks (listen.grpcHealth)")?,
            },
            admin: open(listen.admin.as_ref().map(|one| one.value.0), "the admin server (listen.admin)")?,
        })
    }
}

/// The running program.
pub(crate) struct System {
    origin: Origin,
    logging: Arc<Logging>,
    plugins: Registry,
    options: CompileOptions,
    shared: Arc<Shared>,
    tracer: Option<Tracer>,
    live: Arc<ArcSwap<Live>>,
    scraper: Scraper,
    kv_events: KvEvents,
    gateway: Mutex<Option<Gateway>>,
    ext_proc: Front,
    certificates: Option<Arc<CertReloader>>,
    opened: Mutex<Option<Opened>>,
    addresses: Addresses,
    in_force: Mutex<InForce>,
    /// The cluster that some pool is in.
    cluster: Arc<ArcSwapOption<Cluster>>,
    /// A reload brought it.
    cluster_came: tokio::sync::Notify,
    sync: Arc<ArcSwap<ClusterSync>>,
    objects: Objects,
    /// Taken when it runs.
    election: Mutex<Option<Leading>>,
    leader: Option<LeaderView>,
    /// Says who may read metrics; `None`: everybody.
    reviewer: Option<Arc<Reviewer>>,
    reloads: Arc<ReloadStatus>,
    metrics: Mutex<Option<MetricsRegistry>>,
    /// Whether metrics have llm-d's older names too.
    legacy_names: Arc<AtomicBool>,
    /// Ends everything that has no request of its own.
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct InForce {
    config: RouterConfig,
    /// The texts that the configuration's spans point into.
    sources: Sources,
    pools: Vec<PoolInForce>,
}

struct Addresses {
    client: Option<String>,
    ext_proc: Option<SocketAddr>,
    admin: Option<String>,
}

impl System {
    /// Wires everything, and waits until every endpoint was asked once.
    pub(crate) async fn start(
        loaded: Loaded,
        plugins: Registry,
        options: CompileOptions,
        origin: Origin,
        opened: Opened,
        logging: Arc<Logging>,
    ) -> Result<Self, Failure> {
        let config = &loaded.config;
        warn_of(&loaded);
        let mut registry = MetricsRegistry::default();
        let clock = Clock::default();
        let log = DecisionLogConfig {
            max_bytes: config.explain.max_bytes.as_usize(),
            candidates: usize::from(config.explain.candidates.value),
        };
        let shared = Shared::new(clock.clone(), DecisionLog::new(log), RouterMetrics::register(&mut registry));
        let stop = CancellationToken::new();
        let scraper = Scraper::new(Arc::new(move || clock.now()));
        let tasks = TaskTracker::new();
        tasks.spawn({
            let (scraper, stop) = (scraper.clone(), stop.clone());
            async move { scraper.run(stop).await }
        });

        let kv_events = KvEvents::new(Timing::default());
        tasks.spawn({
            let (kv_events, stop) = (kv_events.clone(), stop.clone());
            async move { kv_events.run(stop).await }
        });

        let cluster = Cluster::connect(config, &stop, &tasks).await?;
        let specs = cluster.as_ref().map_or_else(|| config.pools.clone(), |cluster| cluster.expand(&config.pools));
        let prepared = pools::prepare(&specs, &[], &plugins, options, &loaded.sources)?;
        for one in &prepared {
            report_plan(one.spec(), &one.plan);
        }
        let mut pools = Vec::new();
        for one in prepared {
            pools.push(one.start(cluster.as_deref(), &stop).await?);
        }
        let traces = Traces::new(&config.tracing)?;
        let tracer = traces.as_ref().map(|traces| traces.tracer.clone());
        let objects = Objects::default();
        let (live, scraped) = assemble(config, &pools, &shared, tracer.as_ref(), &objects, cluster.as_deref())?;
        let sync = Arc::new(ArcSwap::from_pointee(sync_of(config, &pools, cluster.as_deref())));
        let live = Arc::new(ArcSwap::from_pointee(live));
        scraper.set_pools(scraped);
        kv_events.set_pools(kv_sources(&pools));
        let certificates = match &config.listen.https {
            None => None,
            Some(https) => Some(CertReloader::load(&https.cert_file.value, &https.key_file.value).map_err(https_failure)?),
        };
        let gateway = Gateway::new(Arc::clone(&live), &mut registry, logging.access());
        let election = match (&config.leader_election, &cluster) {
            (Some(election), Some(cluster)) => Some(Leading::start(cluster.client(), config, election)),
            _ => None,
        };
        let reviewer =
            cluster.as_ref().filter(|_| config.metrics.kubernetes_auth).map(|cluster| Arc::new(Reviewer::new(cluster.client())));
        let leader = election.as_ref().map(Leading::view);
        let ext_proc = Front::new(config, &live.load(), Arc::clone(&sync), leader.clone(), &mut registry, logging.access())?;
        let router: Arc<dyn Fn() -> Arc<Router> + Send + Sync> = {
            let live = Arc::clone(&live);
            Arc::new(move || Arc::clone(&live.load().router))
        };
        let legacy_names = Arc::new(AtomicBool::new(config.metrics.legacy_names));
        registry.register_collector(Box::new(LlmDCollector::new(
            Arc::clone(&shared),
            Arc::clone(&router),
            Arc::clone(&legacy_names),
        )));
        registry.register_collector(Box::new(EndpointCollector {
            router,
            scraper: scraper.clone(),
            logging: Arc::clone(&logging),
            legacy_names: Arc::clone(&legacy_names),
        }));
        let cluster = Arc::new(ArcSwapOption::new(cluster));
        registry
            .register_collector(Box::new(kubernetes::WatchCollector { cluster: Arc::clone(&cluster), leader: leader.clone() }));
        if let Some(traces) = traces {
            registry.register_collector(Box::new(TraceCollector(traces.totals)));
            tasks.spawn(traces.exporting.run(stop.clone()));
        }
        let reloads = Arc::new(ReloadStatus::default());
        registry.register_collector(Box::new(state::ReloadCollector { reloads: Arc::clone(&reloads) }));

        let addresses = Addresses::of(&opened);
        let system = Self {
            origin,
            logging,
            plugins,
            options,
            shared,
            tracer,
            live,
            scraper,
            kv_events,
            gateway: Mutex::new(Some(gateway)),
            ext_proc,
            certificates,
            opened: Mutex::new(Some(opened)),
            addresses,
            in_force: Mutex::new(InForce { config: loaded.config, sources: loaded.sources, pools }),
            cluster,
            cluster_came: tokio::sync::Notify::new(),
            sync,
            objects,
            election: Mutex::new(election),
            leader,
            reviewer,
            reloads,
            metrics: Mutex::new(Some(registry)),
            legacy_names,
            stop,
            tasks,
        };
        // An endpoint that does not answer must not keep the others from being served.
        let _ = tokio::time::timeout(FIRST_ROUND, system.scraper.wait_first_round()).await;
        system.router().refresh_models();
        Ok(system)
    }

    fn router(&self) -> Arc<Router> {
        Arc::clone(&self.live.load().router)
    }

    /// Says where it listens, and what is not as one would wish.
    pub(crate) fn announce(&self) {
        let mut err = std::io::stderr();
        if let Some(admin) = &self.addresses.admin {
            let _ = writeln!(err, "admin: {admin}");
        }
        if let (Some(_), Some(address)) = (&self.addresses.client, self.addresses.ext_proc) {
            let _ = writeln!(err, "external processing: {address}");
        }
        for pool in self.router().status() {
            if pool.ready < pool.endpoints {
                let _ = writeln!(
                    err,
                    "warning: pool {}: {} of {} endpoints do not answer yet",
                    pool.name,
                    pool.endpoints - pool.ready,
                    pool.endpoints
                );
            }
        }
    }

    /// Runs until a signal asks it to end, then drains.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let this = Arc::new(self);
        let drain = CancellationToken::new();
        let now = CancellationToken::new();
        this.spawn_background(&drain).await?;
        let signals = signals::watch(drain.clone(), now.clone());
        let opened = this.opened.lock().await.take();
        let (listeners, ports) = opened.map(|opened| this.listeners(opened)).transpose()?.unwrap_or_default();
        let drain_timeout = this.in_force.lock().await.config.drain_timeout.get();
        let Some(gateway) = this.gateway.lock().await.take() else { return Ok(()) };
        let serve = gateway.serve(listeners, drain.clone(), drain_timeout);
        let process = this.ext_proc.serve(ports, drain.clone(), drain_timeout);
        this.say_ready();
        let result = tokio::select! {
            _ = async { tokio::join!(serve, process) } => Ok(()),
            () = now.cancelled() => Ok(()),
            Err(failure) = signals => Err(failure),
        };
        this.stop.cancel();
        this.tasks.close();
        // What is left are sources and the admin server; they end at once.
        let _ = tokio::time::timeout(Duration::from_secs(2), this.tasks.wait()).await;
        result
    }

    /// Says on standard output that requests can come, and where.
    fn say_ready(&self) {
        let Addresses { client, ext_proc, .. } = &self.addresses;
        let mut out = std::io::stdout();
        let _ = match (client, ext_proc) {
            (Some(url), _) => writeln!(out, "weir is ready: {url}/v1"),
            (None, Some(address)) => writeln!(out, "weir is ready: external processing on {address}"),
            (None, None) => Ok(()),
        };
        let _ = out.flush();
    }

    fn listeners(&self, opened: Opened) -> Result<(Vec<Listener>, Vec<weir_extproc::Listener>), Failure> {
        let mut listeners = Vec::new();
        listeners.extend(opened.http.map(|socket| Listener { socket, tls: None }));
        if let (Some(socket), Some(certificates)) = (opened.https, &self.certificates) {
            let tls = ServerTls::HTTP.with(Arc::clone(certificates)).map_err(https_failure)?;
            listeners.push(Listener { socket, tls: Some(tls) });
        }
        Ok((listeners, self.ext_proc.listeners(opened.ext_proc)?))
    }

    async fn spawn_background(self: &Arc<Self>, drain: &CancellationToken) -> Result<(), Failure> {
        let admin = self.opened.lock().await.as_mut().and_then(|opened| opened.admin.take());
        if let (Some(listener), Some(registry)) = (admin, self.metrics.lock().await.take()) {
            let live = Arc::clone(&self.live);
            let admin = Arc::new(Admin {
                registry,
                router: Box::new(move || Arc::clone(&live.load().router)),
                reloads: Arc::clone(&self.reloads),
                draining: drain.clone(),
                cluster: self.cluster_view(),
            });
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                if let Err(error) = admin::serve(listener, admin, stop).await {
                    tracing::error!(%error, "the admin server ended");
                }
            });
        }
        let this = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(MODELS_EVERY);
            while this.stop.run_until_cancelled(ticks.tick()).await.is_some() {
                this.router().refresh_models();
            }
        });
        let this = Arc::clone(self);
        self.tasks.spawn(async move { this.follow_cluster().await });
        let this = Arc::clone(self);
        self.tasks.spawn(async move { this.report_status().await });
        if let Some(election) = self.election.lock().await.take() {
            // The next leader should not wait for this one's last requests.
            let drain = drain.clone();
            self.tasks.spawn(async move {
                drain.cancelled().await;
                election.stop().await;
            });
        }
        let live = Arc::clone(&self.live);
        self.tasks.spawn(status_line::run(move || Arc::clone(&live.load().router), drain.clone()));
        if matches!(self.origin, Origin::Files { .. }) {
            let mut hangups = signals::hangups()?;
            let this = Arc::clone(self);
            self.tasks.spawn(async move {
                let mut files = this.files().await;
                let mut watch = FileWatch::new(files.clone()).await;
                // What was edited before it was watched is found by reading it again.
                let mut unsure = this.is_outdated().await;
                loop {
                    if !unsure {
                        tokio::select! {
                            () = watch.changed() => {}
                            _ = hangups.recv() => {}
                            () = this.stop.cancelled() => return,
                        }
                    }
                    this.reload().await;
                    let named = this.files().await;
                    unsure = named != files;
                    if unsure {
                        watch = FileWatch::new(named.clone()).await;
                        files = named;
                    }
                }
            });
        }
        Ok(())
    }

    /// The configuration file and every file that it names.
    async fn files(&self) -> Vec<PathBuf> {
        let mut files = self.in_force.lock().await.config.files();
        if let Origin::Files { path, .. } = &self.origin {
            files.extend(path.clone());
        }
        files
    }

    /// Whether the file says something else than what is in force.
    async fn is_outdated(&self) -> bool {
        let Origin::Files { read, .. } = &self.origin else { return false };
        let read = Arc::clone(read);
        let read = tokio::task::spawn_blocking(move || read()).await;
        let in_force = self.in_force.lock().await;
        !matches!(read, Ok(Ok(loaded)) if loaded.config == in_force.config)
    }

    /// Reads the configuration again. Whatever is wrong with it, nothing changes.
    async fn reload(&self) {
        let Origin::Files { name, read, sets_level, .. } = &self.origin else { return };
        match self.try_reload(read, *sets_level).await {
            Ok(()) => {
                self.reloads.applied();
                tracing::info!(file = name, "configuration reloaded");
            }
            Err(failure) => {
                self.reloads.refused(&failure.to_string());
                tracing::error!(file = name, "configuration not reloaded, the old one stays in force\n{failure}");
            }
        }
    }

    async fn try_reload(&self, read: &Reader, sets_level: bool) -> Result<(), Failure> {
        let read = Arc::clone(read);
        let loaded = tokio::task::spawn_blocking(move || read())
            .await
            .map_err(|error| Failure::new(format!("reading the configuration: {error}")))??;
        warn_of(&loaded);
        let Loaded { config, sources, .. } = loaded;
        let mut in_force = self.in_force.lock().await;
        Box::pin(self.apply(config, sources, &mut in_force)).await?;
        if sets_level {
            self.logging.set_level(in_force.config.log.level.as_str());
        }
        Ok(())
    }

    /// Puts a configuration into force, or nothing of it.
    async fn apply(&self, config: RouterConfig, sources: Sources, in_force: &mut InForce) -> Result<(), Failure> {
        let cluster = match self.cluster.load_full() {
            Some(cluster) => Some(cluster),
            None => Cluster::connect(&config, &self.stop, &self.tasks).await?,
        };
        let specs = cluster.as_ref().map_or_else(|| config.pools.clone(), |cluster| cluster.expand(&config.pools));
        let prepared = pools::prepare(&specs, &in_force.pools, &self.plugins, self.options, &sources)?;
        // Keys and certificates are read before anything changes.
        for one in &prepared {
            settings::towards(one.spec(), &one.plan, weir_gateway::breaker(&config.gateway.circuit_breaker))?;
        }
        settings::gateway(&config)?;
        if let Some(certificates) = &self.certificates {
            certificates.reload().map_err(https_failure)?;
        }
        self.ext_proc.reload_certificate()?;

        let mut old = std::mem::take(&mut in_force.pools);
        let mut pools = Vec::with_capacity(prepared.len());
        let mut failed = None;
        for one in prepared {
            let place = old.iter().position(|old| old.spec.name.value == one.spec().name.value);
            let before = place.map(|place| old.swap_remove(place));
            match before {
                Some(before) if before.source == one.source() => {
                    pools.push(one.keep(before.following));
                }
                before => match one.start(cluster.as_deref(), &self.stop).await {
                    Ok(started) => {
                        if let Some(before) = before {
                            before.following.stop().await;
                        }
                        pools.push(started);
                    }
                    Err(failure) => {
                        pools.extend(before);
                        failed = Some(failure);
                        break;
                    }
                },
            }
        }
        if let Some(failure) = failed {
            pools.append(&mut old);
            in_force.pools = pools;
            return Err(failure);
        }
        let (live, scraped) = assemble(&config, &pools, &self.shared, self.tracer.as_ref(), &self.objects, cluster.as_deref())?;
        self.ext_proc.store(&config, &live);
        self.live.store(Arc::new(live));
        self.scraper.set_pools(scraped);
        self.sync.store(Arc::new(sync_of(&config, &pools, cluster.as_deref())));
        self.cluster.store(cluster);
        self.cluster_came.notify_one();
        self.kv_events.set_pools(kv_sources(&pools));
        self.legacy_names.store(config.metrics.legacy_names, Relaxed);
        if config.listen != in_force.config.listen {
            tracing::warn!("listen has changed; that takes effect at the next start");
        }
        if config.metrics.kubernetes_auth != in_force.config.metrics.kubernetes_auth {
            tracing::warn!("metrics.kubernetesAuth has changed; that takes effect at the next start");
        }
        if config.leader_election != in_force.config.leader_election {
            tracing::warn!("leaderElection has changed; that takes effect at the next start");
        }
        if config.tracing != in_force.config.tracing {
            tracing::warn!("tracing has changed; that takes effect at the next start");
        }
        for gone in old {
            retire(gone.pool.as_ref(), gone.following).await;
        }
        self.objects.retain(|name| pools.iter().any(|one| one.spec.name.as_str() == name));
        *in_force = InForce { config, sources, pools };
        Ok(())
    }
}

fn https_failure(error: TlsError) -> Failure {
    Failure::new(format!("listen.https: {error}"))
}

/// A pool that the configuration no longer lists: its endpoints drain.
async fn retire(pool: &weir_pool::Pool, following: Following) {
    following.stop().await;
    pool.reconcile(&[]);
}

type Scraped = Vec<(Arc<weir_pool::Pool>, weir_engine_metrics::ScrapeOptions)>;

fn assemble(
    config: &RouterConfig,
    pools: &[PoolInForce],
    shared: &Arc<Shared>,
    tracer: Option<&Tracer>,
    objects: &Objects,
    cluster: Option<&Cluster>,
) -> Result<(Live, Scraped), Failure> {
    if let Some(cluster) = cluster {
        cluster.follow_objects(pools.iter().map(|one| &one.spec));
    }
    let breaker = weir_gateway::breaker(&config.gateway.circuit_breaker);
    let mut runtimes = Vec::with_capacity(pools.len());
    let mut upstreams = Vec::with_capacity(pools.len());
    let mut scraped = Vec::with_capacity(pools.len());
    for one in pools {
        let towards = settings::towards(&one.spec, &one.plan, breaker)?;
        let models = one.spec.models.iter().map(|model| model.value.clone()).collect();
        let (pool, plan) = (Arc::clone(&one.pool), Arc::clone(&one.plan));
        let of_cluster = one.spec.endpoints.kubernetes.as_ref().is_some_and(|one| one.pool.is_some());
        // An InferencePool says it itself.
        if !of_cluster {
            let protocol = one.spec.app_protocol.map_or("", AppProtocol::as_str);
            if !plan.parsers.claims_protocol(protocol) {
                tracing::warn!(pool = pool.name(), protocol, "no parser of the pool reads its appProtocol: health checks fail");
            }
            pool.set_app_protocol(protocol);
        }
        let runtime = PoolRuntime::new(pool, plan, models, towards.stale_after, shared);
        runtime.objects.set(objects.of_pool(config, &one.spec, cluster).0);
        runtimes.push(runtime);
        upstreams.push(towards.upstream);
        scraped.push((Arc::clone(&one.pool), towards.scrape));
    }
    let router = Arc::new(Router::new(runtimes, Arc::clone(shared)).with_tracer(tracer.cloned()));
    Ok((Live { router, upstreams, settings: settings::gateway(config)? }, scraped))
}

fn sync_of(config: &RouterConfig, pools: &[PoolInForce], cluster: Option<&Cluster>) -> ClusterSync {
    ClusterSync::new(config, pools.iter().filter_map(PoolInForce::sync).collect(), cluster)
}

/// Who wants the KV-cache events of which pool.
fn kv_sources(pools: &[PoolInForce]) -> Vec<(Arc<weir_pool::Pool>, Vec<KvEventSource>)> {
    let sources = |one: &PoolInForce| one.plan.kv_events.iter().map(|named| named.plugin.clone()).collect();
    pools.iter().map(|one| (Arc::clone(&one.pool), sources(one))).collect()
}

fn warn_of(loaded: &Loaded) {
    for warning in loaded.warnings.iter() {
        tracing::warn!("{}", warning.render(&loaded.sources).trim_end());
    }
}

fn report_plan(spec: &PoolSpec, plan: &weir_plan::Plan) {
    let pool = spec.name.as_str();
    for warning in &plan.warnings {
        tracing::warn!(pool, "{}", warning.message);
    }
    let inactive: Vec<String> = plan.inactive().collect();
    if plan.discovery.is_some() && spec.endpoints != Endpoints::default() {
        tracing::warn!(pool, "dataLayer.discovery has no effect: the pool itself says where its endpoints are");
    }
    if !inactive.is_empty() {
        tracing::info!(pool, "accepted and not yet active: {}", inactive.join(", "));
    }
}

impl Addresses {
    fn of(opened: &Opened) -> Self {
        let of = |listener: &Option<TcpListener>| listener.as_ref().and_then(|one| one.local_addr().ok());
        let url = |scheme: &str, address: SocketAddr| {
            // An address that means all addresses cannot be called.
            let shown = match (address.ip().is_unspecified(), address) {
                (true, SocketAddr::V4(_)) => SocketAddr::from(([127, 0, 0, 1], address.port())),
                (true, SocketAddr::V6(_)) => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], address.port())),
                (false, address) => address,
            };
            format!("{scheme}://{shown}")
        };
        let client = of(&opened.http).map(|at| url("http", at)).or_else(|| of(&opened.https).map(|at| url("https", at)));
        Self { client, ext_proc: of(&opened.ext_proc.processing), admin: of(&opened.admin).map(|at| url("http", at)) }
    }
}
