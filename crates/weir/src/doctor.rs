//! What usually breaks between a client, Envoy, the picker and the model servers, and how to fix it.
//!
//! Every check is a function from what was fetched to [`Finding`]s, so that it can be tried on saved answers.

mod cluster;
mod endpoints;
mod envoy;
mod flow;
mod picker;
mod report;

use self::report::{Finding, Report};

use std::time::Duration;

use weir_plan::Registry;
use weir_pool::EndpointUrl;

use crate::{cli::Doctor, failure::Failure, system::own_namespace};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is looked at.
struct Places {
    envoy: Option<EndpointUrl>,
    admin: Option<EndpointUrl>,
    url: Option<EndpointUrl>,
}

/// What was found, for the terminal.
pub(crate) struct Diagnosis {
    pub(crate) text: String,
    pub(crate) is_wrong: bool,
}

/// Runs `weir doctor`.
pub(crate) async fn run(arguments: Doctor, registry: &Registry) -> Result<Diagnosis, Failure> {
    let places = Places::of(&arguments)?;
    let mut report = Report::default();
    if let Some(path) = &arguments.config {
        endpoints::check(path, registry, &mut report).await;
    }
    if arguments.kube {
        let namespace = arguments.namespace.clone().unwrap_or_else(own_namespace);
        cluster::check(&namespace, arguments.pool.as_deref(), &mut report).await;
    }
    if let Some(admin) = &places.admin {
        picker::check(admin, &mut report).await;
    }
    if let Some(envoy) = &places.envoy {
        envoy::check(envoy, &mut report).await;
    }
    if let Some(url) = &places.url {
        flow::check(url, places.admin.as_ref(), arguments.model.as_deref(), &mut report).await;
    }
    let text = if arguments.json { report.json() } else { report.text() };
    Ok(Diagnosis { text, is_wrong: report.is_wrong() })
}

impl Places {
    /// The addresses of the command line; without any, those of `deploy/standalone`.
    fn of(arguments: &Doctor) -> Result<Self, Failure> {
        let Doctor { config, envoy, admin, url, kube, .. } = arguments;
        let default = !kube && config.is_none() && envoy.is_none() && admin.is_none() && url.is_none();
        let read = |flag: &str, given: &Option<String>, standalone: &str| {
            let text = given.as_deref().or(default.then_some(standalone));
            let parse = |text: &str| text.parse().map_err(|error| Failure::usage(format!("--{flag}: {error}")));
            text.map(parse).transpose()
        };
        Ok(Self {
            envoy: read("envoy", envoy, "http://127.0.0.1:19000")?,
            admin: read("admin", admin, "http://127.0.0.1:9090")?,
            url: read("url", url, "http://127.0.0.1:8081")?,
        })
    }
}
