//! `weir up`: a router in one command.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use weir_api::RouterConfig;
use weir_plan::{CompileOptions, Registry};
use weir_pool::EndpointUrl;
use weir_sim::{SimConfig, SimHandle};

use crate::{
    cli::Up,
    failure::Failure,
    logging::{self, Format},
    system::{Opened, Origin, System},
};

/// The calibrated profile is this model's.
const MODEL: &str = "meta-llama/Llama-3.1-8B-Instruct";

pub(crate) async fn run(arguments: Up, registry: Registry) -> Result<String, Failure> {
    let (logging, _writing) = logging::init(arguments.log_level.as_str(), Format::Text)?;
    let urls = arguments
        .endpoints
        .iter()
        .map(|text| text.parse::<EndpointUrl>().map_err(|error| Failure::usage(format!("--endpoint: {error}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let mut workers = Vec::new();
    let urls = if urls.is_empty() {
        workers = start_workers(&arguments).await?;
        workers.iter().map(|worker| EndpointUrl::from(worker.addr())).collect()
    } else {
        urls
    };
    let text = document(&arguments, &urls, !workers.is_empty());
    let mut no_files = |path: &Path| std::fs::read_to_string(path);
    let loaded = RouterConfig::parse("the command line", &text, Path::new(""), &mut no_files)
        .map_err(|error| Failure::new(error.to_string()))?;
    let opened = Opened::open(&loaded.config, "--port (or --admin-port)")?;
    let system = System::start(loaded, registry, CompileOptions::default(), Origin::CommandLine, opened, logging).await?;
    system.announce();
    system.run().await?;
    for worker in workers {
        worker.stop().await;
    }
    Ok(String::new())
}

async fn start_workers(arguments: &Up) -> Result<Vec<SimHandle>, Failure> {
    let model = arguments.model.as_deref().unwrap_or(MODEL);
    let mut workers = Vec::with_capacity(usize::from(arguments.workers));
    for _ in 0..arguments.workers {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let worker = weir_sim::start(SimConfig::default_profile(model), any_port)
            .await
            .map_err(|error| Failure::new(format!("cannot start a simulated worker: {error}")))?;
        workers.push(worker);
    }
    Ok(workers)
}

/// The same as a configuration file, so that there is one way into the program.
fn document(arguments: &Up, urls: &[EndpointUrl], simulated: bool) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut out = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten:\n  http: {}\n  admin: {}\nlog: {{level: {}}}\npools:\n- name: default\n",
        quoted(&SocketAddr::new(arguments.host, arguments.port).to_string()),
        quoted(&SocketAddr::new(arguments.host, arguments.admin_port).to_string()),
        arguments.log_level.as_str(),
    );
    if let (Some(model), false) = (&arguments.model, simulated) {
        let _ = writeln!(out, "  models: [{}]", quoted(model));
    }
    if let Some(file) = &arguments.api_key_file {
        let _ = writeln!(out, "  apiKeyFile: {}", quoted(&file.to_string_lossy()));
    }
    out.push_str("  endpoints:\n    static:\n");
    for (number, url) in urls.iter().enumerate() {
        let name = if simulated { format!("sim-{number}") } else { format!("endpoint-{number}") };
        let _ = writeln!(out, "    - {{name: {name}, url: {}}}", quoted(&url.to_string()));
    }
    out
}
