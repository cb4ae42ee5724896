//! How long weir takes to know a large cluster, and how much memory: 10,000 pods in 100 pools, metrics off.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use weir_fake_kube::{Fake, Options};

use crate::{
    Result,
    facts::{self, Facts},
    process::{PROXY_CORE, Process, ask, free_port},
};

const LIMIT: Duration = Duration::from_secs(120);
const TARGET_SECONDS: f64 = 10.0;
const TARGET_MIB: f64 = 300.0;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 10_000)]
    pods: usize,
    #[arg(long, default_value_t = 100)]
    pools: usize,
    /// The weir to measure.
    #[arg(long, env = "WEIR_BIN", default_value = "target/release/weir")]
    weir: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results/cluster.json")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Results {
    machine: Facts,
    pods: usize,
    pools: usize,
    /// Until every pod of every pool is an endpoint, from the start of the process.
    known_seconds: f64,
    /// Until every one of them has answered, too.
    ready_seconds: f64,
    target_seconds: f64,
    cpu_seconds: f64,
    resident_mib: f64,
    peak_mib: f64,
    target_mib: f64,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    if !args.weir.exists() {
        return Err(format!("there is no {}", args.weir.display()).into());
    }
    let servers = TcpListener::bind("0.0.0.0:0").await?;
    let port = servers.local_addr()?.port();
    // Its core is that of everything that is not measured.
    tokio::spawn(serve(servers));
    let fake = Fake::start(Options::default()).await?;
    fill(&fake, args, port).await?;
    let folder = std::env::temp_dir().join(format!("weir-bench-cluster-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure(args, &fake, &folder).await;
    let _ = std::fs::remove_dir_all(&folder);
    let results = measured?;
    println!(
        "{} pods in {} pools: known after {:.2} s, ready after {:.2} s (target {TARGET_SECONDS} s), {:.2} s of CPU; {:.0} MiB, at most \
         {:.0} MiB (target {TARGET_MIB} MiB)",
        results.pods,
        results.pools,
        results.known_seconds,
        results.ready_seconds,
        results.cpu_seconds,
        results.resident_mib,
        results.peak_mib
    );
    facts::store(&args.out, &results)
}

async fn measure(args: &Args, fake: &Fake, folder: &Path) -> Result<Results> {
    let (http, admin) = (free_port()?, free_port()?);
    let kubeconfig = folder.join("kubeconfig");
    std::fs::write(&kubeconfig, fake.kubeconfig("admin"))?;
    let config = folder.join("weir.yaml");
    std::fs::write(
        &config,
        format!(
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten: {{http: \"127.0.0.1:{http}\", admin: \"127.0.0.1:{admin}\"}}\n\
             pools:\n- name: all\n  endpoints: {{kubernetes: {{namespace: team, poolSelector: bench}}}}\n  metrics: {{enabled: false}}\n"
        ),
    )?;
    let environment = format!("KUBECONFIG={}", kubeconfig.display());
    let program = args.weir.display().to_string();
    let words = [environment, program, "serve".to_owned(), "--config".to_owned(), config.display().to_string()];
    let began = Instant::now();
    let weir = Process::start("weir", PROXY_CORE, "env".as_ref(), &words, &folder.join("log"))?;
    let address = SocketAddr::from(([127, 0, 0, 1], admin));
    let (mut known, mut ready) = (None, None);
    while ready.is_none() {
        if began.elapsed() > LIMIT {
            let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(format!("not ready after {LIMIT:?}\n{}", log.lines().take(20).collect::<Vec<_>>().join("\n")).into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        let Ok((_, body)) = ask(address, "/readyz", "").await else { continue };
        let state: Value = serde_json::from_slice(&body)?;
        let sum = |key: &str| -> u64 {
            state["pools"].as_array().map(|pools| pools.iter().filter_map(|pool| pool[key].as_u64()).sum()).unwrap_or(0)
        };
        if sum("endpoints") == args.pods as u64 {
            known.get_or_insert(began.elapsed());
        }
        if sum("ready") == args.pods as u64 {
            ready = Some(began.elapsed());
        }
    }
    let memory = weir.memory()?;
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    Ok(Results {
        machine: Facts::gather(),
        pods: args.pods,
        pools: args.pools,
        known_seconds: seconds(known),
        ready_seconds: seconds(ready),
        target_seconds: TARGET_SECONDS,
        cpu_seconds: weir.cpu_seconds()?,
        resident_mib: memory.resident_kib as f64 / 1024.0,
        peak_mib: memory.peak_kib as f64 / 1024.0,
        target_mib: TARGET_MIB,
    })
}

/// Pods as a cluster has them: most of each is a specification and managed fields that weir has no use for.
async fn fill(fake: &Fake, args: &Args, port: u16) -> Result<()> {
    let create = async |path: &str, object: &Value| -> Result<()> {
        let (status, answer) = fake.request("POST", path, object).await;
        if status == 201 { Ok(()) } else { Err(format!("{path}: {answer}").into()) }
    };
    let names = json!({"kind": "InferencePool", "plural": "inferencepools"});
    let version = json!({"name": "v1", "subresources": {"status": {}}});
    let spec = json!({"group": "inference.networking.k8s.io", "names": names, "scope": "Namespaced", "versions": [version]});
    let definition = json!({"metadata": {"name": "inferencepools.inference.networking.k8s.io"}, "spec": spec});
    create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await?;
    for pool in 0..args.pools {
        let spec = json!({"selector": {"matchLabels": {"app": format!("vllm-{pool}")}}, "targetPorts": [{"number": port}]});
        let object = json!({"metadata": {"name": format!("pool-{pool}"), "labels": {"bench": "yes"}}, "spec": spec});
        create("/apis/inference.networking.k8s.io/v1/namespaces/team/inferencepools", &object).await?;
    }
    let variables: Vec<Value> = (0..40).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "x".repeat(60)})).collect();
    let managed =
        json!([{"manager": "kubelet", "operation": "Update", "fieldsV1": {"f:spec": {"f:containers": "x".repeat(3000)}}}]);
    for pod in 0..args.pods {
        let pool = pod % args.pools;
        let name = format!("vllm-{pool}-{pod:08x}");
        let labels = json!({"app": format!("vllm-{pool}"), "llm-d.ai/role": "both", "llm-d.ai/model": "llama",
                            "pod-template-hash": "5d8f7c9b4", "kubernetes.io/hostname": format!("node-{}", pod / 8)});
        let object = json!({
            "metadata": {"name": name, "labels": labels, "managedFields": managed},
            "spec": {"nodeName": format!("node-{}", pod / 8), "containers": [{"name": "vllm", "image": "vllm", "env": variables}]},
        });
        create("/api/v1/namespaces/team/pods", &object).await?;
        let ip = format!("127.{}.{}.{}", 1 + pod / 62_500, (pod / 250) % 250, 1 + pod % 250);
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                                       "conditions": [{"type": "Ready", "status": "True"}]}});
        let (code, answer) = fake.request("PATCH", &format!("/api/v1/namespaces/team/pods/{name}/status"), &status).await;
        if code != 200 {
            return Err(answer.to_string().into());
        }
    }
    Ok(())
}

/// Model servers that say they are there, on every address of this machine.
async fn serve(listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(answer(stream))),
            // Out of files: those that are there go on.
            Err(error) if error.kind() != ErrorKind::Interrupted => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(_) => {}
        }
    }
}

async fn answer(mut stream: TcpStream) {
    const BODY: &str = r#"{"object":"list","data":[{"id":"m","object":"model"}]}"#;
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") {
            buffer.drain(..end + 4);
            let answer =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
