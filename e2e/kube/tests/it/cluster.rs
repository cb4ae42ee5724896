//! A cluster for one scenario, fake or real.

use std::{path::PathBuf, sync::Arc, time::Duration};

use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use weir_crds::{Bundle, crds};
use weir_fake_kube::{Fake, Options};
use weir_kubernetes::{ObjectsWatch, PoolGroup, PoolWatch, PoolsWatch, Source, Target, Watches};
use weir_pool::{Pool, Scheme};

/// Long enough for a busy machine; what is fast is measured on its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

enum Server {
    Fake(Box<Fake>),
    Real(PathBuf),
}

pub(crate) struct Cluster {
    server: Server,
    pub(crate) admin: Client,
    /// Of the user `weir`, who may do what was granted.
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) watches: Watches,
    pub(crate) cancel: CancellationToken,
}

pub(crate) async fn client(kubeconfig: &str) -> Client {
    let config = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

impl Cluster {
    pub(crate) async fn fake(name: &str) -> Self {
        Self::fake_with(name, Options::default()).await
    }

    pub(crate) async fn fake_with(name: &str, options: Options) -> Self {
        let fake = Fake::start(options).await.unwrap();
        let (admin, weir) = (client(&fake.kubeconfig("admin")).await, client(&fake.kubeconfig("weir")).await);
        Self::new(name, Server::Fake(Box::new(fake)), admin, weir).await
    }

    pub(crate) async fn real(name: &str) -> Self {
        let folder =
            PathBuf::from(std::env::var_os("WEIR_KUBE_DIR").expect("WEIR_KUBE_DIR names the folder of a real API server"));
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let (admin, weir) = (client(&read("kubeconfig.admin")).await, client(&read("kubeconfig")).await);
        Self::new(name, Server::Real(folder), admin, weir).await
    }

    async fn new(name: &str, server: Server, admin: Client, client: Client) -> Self {
        let namespace = format!("{}-{:08x}", name.replace('_', "-").chars().take(40).collect::<String>(), fastrand::u32(..));
        let cancel = CancellationToken::new();
        let this = Self { server, admin, client, namespace: namespace.clone(), watches: Watches::default(), cancel };
        this.create("v1", "Namespace", json!({"metadata": {"name": namespace}})).await;
        for bundle in [Bundle::Current, Bundle::Legacy] {
            this.install(bundle).await;
        }
        this.grant(default_rules()).await;
        this
    }

    /// Installs definitions that are not there, and waits until they serve.
    pub(crate) async fn install(&self, bundle: Bundle) {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
        let api: Api<DynamicObject> = Api::all_with(self.admin.clone(), &kind);
        for (name, definition) in crds(bundle) {
            let object: DynamicObject = serde_json::from_value(definition.clone()).unwrap();
            timeout(PATIENCE, async {
                // A definition of before may still be on its way out.
                while let Err(error) = api.create(&PostParams::default(), &object).await {
                    let there = api.get_opt(&name).await.unwrap();
                    if there.is_some_and(|one| one.metadata.deletion_timestamp.is_none()) {
                        break;
                    }
                    assert!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{name}: {error}");
                    sleep(Duration::from_millis(20)).await;
                }
                let plural = name.split_once('.').unwrap().0;
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let (group, version) = (text(&definition["spec"]["group"]), text(&definition["spec"]["versions"][0]["name"]));
                let mut kind = ApiResource::from_gvk(&GroupVersionKind::gvk(&group, &version, "x"));
                kind.plural = plural.to_owned();
                let objects: Api<DynamicObject> = Api::namespaced_with(self.admin.clone(), &self.namespace, &kind);
                while objects.list(&Default::default()).await.is_err() {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .expect("the definition serves");
        }
    }

    /// Removes a definition with all its objects, and waits until it is gone.
    pub(crate) async fn uninstall(&self, bundle: Bundle) {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
        let api: Api<DynamicObject> = Api::all_with(self.admin.clone(), &kind);
        for (name, _) in crds(bundle) {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
            timeout(PATIENCE, async {
                while api.get_opt(&name).await.unwrap().is_some() {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await
            .expect("the definition goes");
        }
    }

    /// Replaces what the user `weir` may do in the namespace.
    pub(crate) async fn grant(&self, rules: Value) {
        let role = json!({"metadata": {"name": "weir"}, "rules": rules});
        let group = "rbac.authorization.k8s.io/v1";
        if self.get(group, "Role", "weir").await.is_some() {
            self.patch(group, "Role", "weir", json!({"rules": rules})).await;
            return;
        }
        self.create(group, "Role", role).await;
        let binding = json!({
            "metadata": {"name": "weir"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weir"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "weir"}],
        });
        self.create(group, "RoleBinding", binding).await;
    }

    pub(crate) fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match kind {
            "Namespace" => Api::all_with(self.admin.clone(), &resource),
            _ => Api::namespaced_with(self.admin.clone(), &self.namespace, &resource),
        }
    }

    pub(crate) async fn create(&self, api_version: &str, kind: &str, mut object: Value) -> DynamicObject {
        object["apiVersion"] = json!(api_version);
        object["kind"] = json!(kind);
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        self.api(api_version, kind).create(&PostParams::default(), &object).await.unwrap()
    }

    pub(crate) async fn get(&self, api_version: &str, kind: &str, name: &str) -> Option<DynamicObject> {
        self.api(api_version, kind).get_opt(name).await.unwrap()
    }

    pub(crate) async fn patch(&self, api_version: &str, kind: &str, name: &str, patch: Value) {
        self.api(api_version, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self, api_version: &str, kind: &str, name: &str) {
        self.api(api_version, kind).delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    pub(crate) async fn pod(&self, name: &str, ip: &str, labels: Value) {
        let containers = json!([{"name": "vllm", "image": "vllm"}]);
        self.create("v1", "Pod", json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": containers}})).await;
        self.pod_is(name, ip, true).await;
    }

    pub(crate) async fn pod_is(&self, name: &str, ip: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                                       "conditions": [{"type": "Ready", "status": ready}]}});
        let api = self.api("v1", "Pod");
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    pub(crate) async fn pool(&self, name: &str, selector: Value, ports: &[u16]) {
        let ports: Vec<Value> = ports.iter().map(|number| json!({"number": number})).collect();
        let spec = json!({"selector": {"matchLabels": selector}, "targetPorts": ports,
                          "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}});
        self.create(POOL, "InferencePool", json!({"metadata": {"name": name}, "spec": spec})).await;
    }

    /// Follows an `InferencePool`.
    pub(crate) fn follow(&self, name: &str) -> Followed {
        self.follow_target(Source::Pool { name: name.to_owned(), group: PoolGroup::Current })
    }

    pub(crate) fn follow_target(&self, source: Source) -> Followed {
        let pool = Arc::new(Pool::new("chat"));
        let target = Target { namespace: self.namespace.clone(), source, scheme: Scheme::Http };
        let watch = PoolWatch::start(self.client.clone(), &self.watches, target, Arc::clone(&pool), &self.cancel);
        Followed { pool, watch }
    }

    pub(crate) fn follow_objects(&self) -> ObjectsWatch {
        ObjectsWatch::start(self.client.clone(), &self.watches, &self.namespace, &self.cancel)
    }

    pub(crate) fn follow_pools(&self, selector: &str) -> PoolsWatch {
        PoolsWatch::start(self.client.clone(), &self.watches, &self.namespace, PoolGroup::Current, selector, &self.cancel)
    }

    /// Kills the API server.
    pub(crate) async fn stop(&self) {
        match &self.server {
            Server::Fake(fake) => fake.stop().await,
            Server::Real(folder) => control("kill", folder).await,
        }
    }

    pub(crate) async fn restart(&self) {
        match &self.server {
            Server::Fake(fake) => fake.restart().await.unwrap(),
            Server::Real(folder) => control("restart", folder).await,
        }
    }
}

async fn control(what: &str, folder: &std::path::Path) {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/apiserver/control").to_owned();
    let (what, folder) = (what.to_owned(), folder.to_owned());
    let run = move || std::process::Command::new(program).arg(what).arg(folder).stdout(std::process::Stdio::null()).status();
    assert!(tokio::task::spawn_blocking(run).await.unwrap().unwrap().success());
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) const POOL: &str = "inference.networking.k8s.io/v1";
pub(crate) const LLM_D: &str = "llm-d.ai/v1alpha2";
pub(crate) const LEGACY: &str = "inference.networking.x-k8s.io/v1alpha2";

/// What weir needs to follow a cluster.
pub(crate) fn default_rules() -> Value {
    let read = json!(["get", "list", "watch"]);
    json!([
        {"apiGroups": [""], "resources": ["pods"], "verbs": read},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": read},
        {"apiGroups": ["inference.networking.k8s.io"], "resources": ["inferencepools"], "verbs": read},
        {"apiGroups": ["llm-d.ai", "inference.networking.x-k8s.io"],
         "resources": ["inferencepools", "inferenceobjectives", "inferencemodelrewrites"], "verbs": read},
    ])
}

/// A pool that is kept up to date.
pub(crate) struct Followed {
    pub(crate) pool: Arc<Pool>,
    pub(crate) watch: PoolWatch,
}

impl Followed {
    /// `name url` of each endpoint.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let pool = self.pool.load();
        pool.endpoints.iter().map(|one| format!("{} {}", one.spec().name, one.spec().url)).collect()
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.watch.state().borrow().synced
    }

    pub(crate) async fn until(&self, want: &[&str]) -> Duration {
        let began = Instant::now();
        while self.endpoints() != want {
            assert!(began.elapsed() < PATIENCE, "wanted {want:?}, there are {:?}", self.endpoints());
            sleep(Duration::from_millis(2)).await;
        }
        began.elapsed()
    }
}
