//! Processes of weir, and a cluster for them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_fake_kube::{Fake, Options};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// A cluster with definitions, a namespace `team`, and what weir may do there.
pub(crate) struct Pools {
    pub(crate) fake: Fake,
    pub(crate) folder: PathBuf,
}

impl Drop for Pools {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Pools {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let fake = Fake::start(options).await.unwrap();
        let folder = std::env::temp_dir().join(format!("weir-kube-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed)));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("kubeconfig"), fake.kubeconfig("weir")).unwrap();
        let this = Self { fake, folder };
        let definitions = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kubernetes");
        for name in
            ["inferencepools.inference.networking.k8s.io", "inferenceobjectives.llm-d.ai", "inferencemodelrewrites.llm-d.ai"]
        {
            let text = std::fs::read_to_string(format!("{definitions}/crds/{name}.yaml")).unwrap();
            this.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &yaml(&text)[0]).await;
        }
        // The roles that are shipped, and not more.
        this.apply("rbac/role.yaml", "weir").await;
        this.apply("rbac/leader.yaml", "weir").await;
        this
    }

    /// Creates roles of `deploy/kubernetes`, and gives them to a user.
    pub(crate) async fn apply(&self, file: &str, user: &str) {
        let path = format!("{}/../../deploy/kubernetes/{file}", env!("CARGO_MANIFEST_DIR"));
        for mut object in yaml(&std::fs::read_to_string(path).unwrap()) {
            let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
            if plural.ends_with("bindings") {
                object["subjects"] = json!([{"kind": "User", "name": user}]);
            }
            let place = if plural.starts_with("cluster") { String::new() } else { "namespaces/team/".to_owned() };
            self.create(&format!("/apis/rbac.authorization.k8s.io/v1/{place}{plural}"), &object).await;
        }
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) {
        let (status, answer) = self.fake.request("POST", path, object).await;
        assert_eq!(status, 201, "{path}: {answer}");
    }

    pub(crate) async fn pool(&self, name: &str, app: &str, port: u16) {
        self.labelled_pool(name, json!({}), app, port).await;
    }

    pub(crate) async fn labelled_pool(&self, name: &str, labels: Value, app: &str, port: u16) {
        let spec = json!({"selector": {"matchLabels": {"app": app}}, "targetPorts": [{"number": port}]});
        let pool = json!({"metadata": {"name": name, "labels": labels}, "spec": spec});
        self.create("/apis/inference.networking.k8s.io/v1/namespaces/team/inferencepools", &pool).await;
    }

    /// A pod that is this machine.
    pub(crate) async fn pod(&self, name: &str, app: &str) {
        let pods = "/api/v1/namespaces/team/pods";
        self.create(pods, &json!({"metadata": {"name": name, "labels": {"app": app}}})).await;
        let status = json!({"status": {"podIP": "127.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}});
        self.fake.request("PATCH", &format!("{pods}/{name}/status"), &status).await;
    }
}

/// Documents of a YAML file.
fn yaml(text: &str) -> Vec<Value> {
    weir::api::yaml::parse_documents(text, 0).unwrap().iter().map(|node| node.to_json()).collect()
}

/// A process.
pub(crate) struct Weir {
    child: Child,
    log: Arc<Mutex<String>>,
    admin: String,
    client: String,
    pub(crate) port: u16,
    config: Option<PathBuf>,
}

impl Drop for Weir {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            println!("--- log\n{}", self.log.lock());
        }
    }
}

impl Weir {
    fn command(words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(words).env_remove("NAMESPACE").env_remove("POD_NAME").stdin(Stdio::null());
        command
    }

    fn start(mut command: Command, config: Option<PathBuf>) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (log, err) = (Arc::new(Mutex::new(String::new())), child.stderr.take().unwrap());
        let admin = Arc::new(Mutex::new(String::new()));
        std::thread::spawn({
            let (log, admin) = (Arc::clone(&log), Arc::clone(&admin));
            move || keep(err, &log, &admin)
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let client = line.trim().rsplit(' ').next().unwrap_or_default().trim_end_matches("/v1").to_owned();
        assert!(line.starts_with("weir"), "{line}{}", log.lock());
        let port = client.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(0);
        if !line.starts_with("weir sim") {
            eventually("the admin server is announced", || !admin.lock().is_empty());
        }
        let admin = admin.lock().clone();
        Self { child, log, admin, client, port, config }
    }

    /// A simulated model server.
    pub(crate) fn sim(model: &str) -> Self {
        Self::start(Self::command(&["sim", "--model", model, "--port", "0", "--host", "127.0.0.1"]), None)
    }

    pub(crate) fn epp(cluster: &Pools, words: &[&str]) -> Self {
        let ports = ["epp", "--grpc-port=0", "--grpc-health-port=0", "--metrics-port=0"];
        let mut command = Self::command(&ports);
        command.args(words).env("KUBECONFIG", cluster.folder.join("kubeconfig"));
        Self::start(command, None)
    }

    pub(crate) fn serve(cluster: &Pools, endpoints: &str, more: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let path = cluster.folder.join(format!("weir-{}.yaml", NUMBER.fetch_add(1, Relaxed)));
        std::fs::write(&path, document(endpoints, more)).unwrap();
        let mut command = Self::command(&["serve", "--config"]);
        command.arg(&path).env("KUBECONFIG", cluster.folder.join("kubeconfig"));
        Self::start(command, Some(path))
    }

    /// Changes the configuration file.
    pub(crate) fn configure(&self, endpoints: &str, rest: &str) {
        std::fs::write(self.config.as_ref().unwrap(), document(&format!("{endpoints}{rest}"), "")).unwrap();
    }

    /// What a command says that cannot start.
    pub(crate) fn fails(words: &[&str], kubeconfig: &str) -> String {
        let done = Self::command(words).env("KUBECONFIG", kubeconfig).env("HOME", "/nowhere").output().unwrap();
        assert!(!done.status.success());
        String::from_utf8(done.stderr).unwrap()
    }

    pub(crate) fn doctor(cluster: &Pools, words: &[&str]) -> Value {
        let mut command = Self::command(&["doctor", "--kube", "--json"]);
        let done = command.args(words).env("KUBECONFIG", cluster.folder.join("kubeconfig")).output().unwrap();
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) fn terminate(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.get_as("", path)
    }

    pub(crate) fn get_as(&self, token: &str, path: &str) -> (u16, String) {
        request(&self.admin, "GET", path, token, "")
    }

    pub(crate) fn readyz(&self) -> (u16, Value) {
        let (status, body) = self.get("/readyz");
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.get("/debug/state").1).unwrap_or_default()
    }

    pub(crate) fn complete(&self, model: &str) -> (u16, Value) {
        let body = json!({"model": model, "prompt": "Hello", "max_tokens": 2}).to_string();
        let (status, body) = request(&self.client, "POST", "/v1/completions", "", &body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }
}

fn document(endpoints: &str, more: &str) -> String {
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {{http: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}}\n\
         pools:\n- name: chat\n  endpoints:\n    {endpoints}\n{more}\n"
    )
}

/// Keeps the log, and notes where the admin server listens.
fn keep(err: ChildStderr, log: &Mutex<String>, admin: &Mutex<String>) {
    for line in BufReader::new(err).lines().map_while(Result::ok) {
        if let Some(url) = line.strip_prefix("admin: ") {
            url.trim().clone_into(&mut admin.lock());
        }
        let mut log = log.lock();
        log.push_str(&line);
        log.push('\n');
    }
}

/// One request on a connection of its own. Status 0: nobody answered.
fn request(url: &str, method: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let send = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n{authorization}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let Ok(answer) = send() else { return (0, String::new()) };
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
