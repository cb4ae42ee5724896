//! The command line, as its users read it.

mod kv;

use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::kv::{Kv, KvCommand, KvTail, ReplayTrace};

/// A router for fleets of model servers: each request goes to the endpoint that already holds its prefix in KV cache and has
/// the shortest queue.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    max_term_width = 110,
    after_help = "Examples:
  weir up                                            a router over four simulated workers
  weir up --endpoint http://10.0.0.1:8000 --endpoint http://10.0.0.2:8000
                                                     a router over your own vLLM servers
  weir serve --config router.yaml                    a router as a configuration file says
  weir check --config router.yaml                    what is wrong with that file, and what was added to it
  weir explain 8f14e45f-ceea-467f-a8ba-5b4a2c6f1d2e   why a request went where it went"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a router in one command: over simulated workers, or over your own servers.
    Up(Up),
    /// Start a router as a configuration file says.
    Serve(Serve),
    /// Read a configuration and say what is wrong with it, or what it comes to.
    Check(Check),
    /// Start simulated model servers (`weir sim --help` lists their flags).
    #[command(disable_help_flag = true)]
    Sim(Sim),
    /// Find out what is wrong between Envoy, the picker and the model servers, and how to fix it.
    Doctor(Doctor),
    /// Answer Envoy as llm-d's Endpoint Picker does (`weir epp --help` lists its flags).
    #[command(disable_help_flag = true)]
    Epp(Epp),
    /// Show why a request went where it went.
    Explain(Explain),
    /// Show which model a request would get by the model rewrites, and which priority by the objectives.
    Rewrite(Rewrite),
    /// Look into KV caches, and compare policies that route by them.
    Kv(Kv),
    /// Print the JSON Schema of the configuration file.
    Schema(Schema),
    /// Print the Kubernetes definitions (CRDs) of pools, objectives and rewrites.
    Crds(Crds),
    /// Print a completion script for a shell.
    Completions(Completions),
}

#[derive(Debug, Args)]
#[command(after_help = "Without --endpoint, weir starts simulated workers in its own process: they batch, cache prefixes and \
take as long as a Llama-3.1-8B on an H100 would, and answer with nonsense.

When it is ready it prints one line on stdout:  weir is ready: http://127.0.0.1:8080/v1
Then try:  curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' \\
             -d '{\"model\": \"meta-llama/Llama-3.1-8B-Instruct\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'")]
pub(crate) struct Up {
    /// How many simulated workers to start.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: u16,
    /// Model that the simulated workers serve; with --endpoint, the only model to accept (default: what the endpoints list).
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port for clients; 0 picks a free one.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Port for /metrics, /readyz and /debug, on the same address; 0 picks a free one.
    #[arg(long, default_value_t = 9090)]
    pub(crate) admin_port: u16,
    /// A model server to route to, instead of simulated ones: http(s)://host:port. Repeat it for each server.
    #[arg(long = "endpoint", value_name = "URL")]
    pub(crate) endpoints: Vec<String>,
    /// File with the API key that the model servers want.
    #[arg(long, value_name = "FILE", requires = "endpoints")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// How much to log.
    #[arg(long, value_enum, default_value_t = Level::Warn)]
    pub(crate) log_level: Level,
}

#[derive(Debug, Args)]
#[command(after_help = "The file is read again when it changes, and on SIGHUP: a valid change takes effect without dropping a \
stream, an invalid one changes nothing and is reported in the log. `weir schema` describes the file, `weir check` checks it.")]
pub(crate) struct Serve {
    /// The configuration file (kind: RouterConfig).
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// How much to log; overrides the file.
    #[arg(long, value_enum)]
    pub(crate) log_level: Option<Level>,
}

#[derive(Debug, Args)]
#[command(after_help = "Takes a RouterConfig, or an llm-d EndpointPickerConfig by itself. Exits with 0 if it could be started, \
with 1 if not. Warnings do not change the exit code.")]
pub(crate) struct Check {
    /// The configuration file.
    #[arg(long, value_name = "FILE", required_unless_present = "plugins")]
    pub(crate) config: Option<PathBuf>,
    /// Print only what is wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// List the plugin types that a configuration may name.
    #[arg(long)]
    pub(crate) plugins: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Nothing is sent anywhere: the rule and its split are printed, none of the targets is chosen.
Example:  weir rewrite --dry-run --config router.yaml --model chat --header 'x-llm-d-inference-objective: urgent'")]
pub(crate) struct Rewrite {
    /// Say so: there is no other way to run it.
    #[arg(long, required = true)]
    pub(crate) dry_run: bool,
    /// Model that the request names.
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// A header of the request. Repeat it for each.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The router's configuration, which names the files of objects.
    #[arg(long, value_name = "FILE", conflicts_with = "objects", required_unless_present = "objects")]
    pub(crate) config: Option<PathBuf>,
    /// A file of objects by itself. Repeat it for each.
    #[arg(long, value_name = "FILE")]
    pub(crate) objects: Vec<PathBuf>,
    /// The pool, if there are several.
    #[arg(long)]
    pub(crate) pool: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Print the plugin types with the JSON Schemas of their parameters instead.
    #[arg(long)]
    pub(crate) plugins: bool,
    /// Print the JSON Schema of the files that `weir explain --state` reads instead.
    #[arg(long, conflicts_with = "plugins")]
    pub(crate) state: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "For clusters that lack them:  weir crds | kubectl apply --server-side -f -
They are equal to those of the Gateway API Inference Extension 1.5 and of llm-d 0.10 in names, defaults and validation.")]
pub(crate) struct Crds {
    /// Print those of the group inference.networking.x-k8s.io too. Where both are installed, the older objectives and rewrites do
    /// not count.
    #[arg(long)]
    pub(crate) legacy: bool,
    /// Write one file for each into this folder instead.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Without an address, those of deploy/standalone are looked at. Exits with 0 if nothing is wrong, else with 1; \
warnings do not change the exit code. Nothing is changed, but with --url two short requests are sent.

Examples:
  weir doctor                                      Envoy, picker and a request's way, all on this machine
  weir doctor --config epp.yaml                    the model servers that a configuration lists
  weir doctor --envoy http://10.0.0.9:19000 --json   only that Envoy, for a script"
)]
pub(crate) struct Doctor {
    /// A RouterConfig or EndpointPickerConfig: its endpoints, their metrics and block sizes are looked at.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Envoy's admin address: body modes, timeouts, circuit breakers, counters.
    #[arg(long, value_name = "URL")]
    pub(crate) envoy: Option<String>,
    /// weir's admin address (`weir epp`: --metrics-port): readiness, age of metrics, reloads.
    #[arg(long, value_name = "URL")]
    pub(crate) admin: Option<String>,
    /// A Kubernetes cluster (of KUBECONFIG, or the one that this runs in): rights, pools and their pods, objectives and rewrites.
    #[arg(long)]
    pub(crate) kube: bool,
    /// The namespace there. Default: NAMESPACE of the environment, else the pod's, else `default`.
    #[arg(long, value_name = "NAME", requires = "kube")]
    pub(crate) namespace: Option<String>,
    /// The InferencePool there. Default: all of the namespace.
    #[arg(long, value_name = "NAME", requires = "kube")]
    pub(crate) pool: Option<String>,
    /// Where clients send requests: two are sent, to see that they pass the picker and come back.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The model that these requests name. Default: the first one that is known.
    #[arg(long, value_name = "NAME", requires = "url")]
    pub(crate) model: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Epp {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Sim {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every answer carries its request's id in the header x-request-id. Decisions are kept in a ring of 8 MiB, \
enough for a few thousand requests.

With --state no server is asked: the file says which endpoints there are, what is known of them, and what is requested; \
`weir schema --state` describes it. If it says what is expected, the command fails when something else comes out."
)]
pub(crate) struct Explain {
    /// The request's id.
    #[arg(required_unless_present = "state", conflicts_with = "state")]
    pub(crate) id: Option<String>,
    /// A file with endpoints, their numbers and a request (YAML or JSON), to be decided here. Repeat it for more files.
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Vec<PathBuf>,
    /// How to decide it: an EndpointPickerConfig, or a RouterConfig. Default: what the state file says, else the built-in one.
    #[arg(long, value_name = "FILE", requires = "state")]
    pub(crate) config: Option<PathBuf>,
    /// The pool of the RouterConfig whose scheduling is used, if it has several.
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) pool: Option<String>,
    /// The router's admin address.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090", env = "WEIR_ADMIN")]
    pub(crate) admin: String,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
