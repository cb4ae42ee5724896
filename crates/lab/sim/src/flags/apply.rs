//! Flags become a configuration.

use std::{
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use weir_api::GoDuration;
use weir_engine::{Calculator, Delays, LatencyModel, StepModel};
use weir_prefix::EventLayout;

use super::{
    Command, Given,
    table::{Standing, all, lookup},
};
use crate::{
    config::{ConfigError, FailureKind, LoraModule, Mode, Pod, SimConfig},
    events::KvEventsConfig,
};

/// A configuration in the making.
#[derive(Debug)]
pub(super) struct Draft {
    config: SimConfig,
    delays: Delays,
    step: StepModel,
    use_step: bool,
    host: IpAddr,
    port: u16,
    count: u16,
    ranks: u16,
    rank: Option<u32>,
    max_cpu_loras: Option<u32>,
    kv_events: KvEventsConfig,
    kv_events_on: bool,
    notes: Vec<String>,
    pub(super) help: bool,
}

impl Default for Draft {
    fn default() -> Self {
        let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            config: SimConfig { seed: now_ns as u64, ..SimConfig::new("") },
            delays: Delays::default(),
            step: StepModel::H100_LLAMA_8B,
            use_step: false,
            host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 8000,
            count: 1,
            ranks: 1,
            rank: None,
            max_cpu_loras: None,
            kv_events: KvEventsConfig::default(),
            kv_events_on: false,
            notes: Vec::new(),
            help: false,
        }
    }
}

impl Draft {
    /// Replaces everything but names and seed.
    pub(super) fn profile(&mut self, given: &Given) -> Result<(), ConfigError> {
        match given.one()? {
            "h100-llama-8b" => {
                let seed = self.config.seed;
                self.config = SimConfig { seed, ..SimConfig::default_profile("") };
                self.use_step = true;
                Ok(())
            }
            other => Err(given.bad(format!("{other:?} is not a profile; known: h100-llama-8b"))),
        }
    }

    pub(super) fn apply(&mut self, given: &Given) -> Result<(), ConfigError> {
        let Some(flag) = lookup(&given.flag) else {
            let nearest = weir_api::nearest(&given.flag, all().map(|flag| flag.name));
            let hint = nearest.map(|name| format!("; did you mean --{name}?")).unwrap_or_default();
            self.notes.push(format!("--{} is not a flag of the simulator and is ignored{hint}", given.flag));
            return Ok(());
        };
        match flag.standing {
            Standing::Active => {}
            Standing::Ignored => return Ok(()),
            Standing::Inactive => {
                self.notes.push(format!("--{} is accepted but not active yet", given.flag));
                return Ok(());
            }
        }
        if self.latency(given)? || self.limits(given)? {
            return Ok(());
        }
        let config = &mut self.config;
        match given.flag.as_str() {
            "model" => config.model = given.one()?.to_owned(),
            "served-model-name" => config.served_names = given.list(),
            "host" => {
                self.host = match given.one()? {
                    "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    other => other.parse().map_err(|_| given.bad("needs an IP address"))?,
                }
            }
            "port" => self.port = given.one()?.parse().map_err(|_| given.bad("invalid port"))?,
            "count" => self.count = given.number(1, 4096)? as u16,
            "data-parallel-size" => self.ranks = given.number(1, 8)? as u16,
            "data-parallel-rank" => {
                self.rank = if given.one()? == "-1" { None } else { Some(given.number(0, 7)? as u32) };
            }
            "config" | "profile" | "force-dummy-tokenizer" => {}
            "seed" => config.seed = given.read::<i64>("needs a whole number")? as u64,
            "startup-duration" => config.startup = given.duration()?,
            "enable-kvcache" => config.enable_kv_cache = given.switch()?,
            "enable-prefix-caching" => config.prefix_caching = given.switch()?,
            "hash-seed" => config.hash_seed = given.one()?.to_owned(),
            "zmq-endpoint" => match given.one()? {
                "" => self.kv_events_on = false,
                endpoint => {
                    self.kv_events.endpoint = zmq(given, endpoint)?;
                    self.kv_events_on = true;
                }
            },
            "kv-events-replay-endpoint" => {
                let endpoint = given.one()?;
                self.kv_events.replay_endpoint = (!endpoint.is_empty()).then(|| zmq(given, endpoint)).transpose()?;
            }
            "kv-events-replay-queue-size" => self.kv_events.replay_queue = given.number(1, 1 << 20)? as usize,
            "event-batch-size" => self.kv_events.batch_size = given.number(1, 1 << 20)? as usize,
            "use-vllm-map-event-format" => {
                self.kv_events.layout = if given.switch()? { EventLayout::MapEvents } else { EventLayout::Lists };
            }
            "mode" => {
                config.mode = match given.one()? {
                    "random" => Mode::Random,
                    "echo" => Mode::Echo,
                    other => return Err(given.bad(format!("invalid mode '{other}', valid values are 'random' and 'echo'"))),
                }
            }
            "enable-request-id-headers" => config.request_id_headers = given.switch()?,
            "failure-injection-rate" => config.failure_percent = given.number(0, 100)? as u8,
            "failure-types" => config.failure_kinds = failure_kinds(given)?,
            "metrics-padding-bytes" => config.metrics_padding_bytes = given.number(0, 64 << 20)? as usize,
            "lora-modules" => config.lora_modules = lora_modules(given)?,
            _ => {}
        }
        Ok(())
    }

    fn limits(&mut self, given: &Given) -> Result<bool, ConfigError> {
        const MANY: u64 = 1 << 31;
        let config = &mut self.config;
        match given.flag.as_str() {
            "max-num-seqs" => config.max_num_seqs = given.number(1, MANY)? as u32,
            "max-waiting-queue-length" => config.max_waiting = given.number(1, MANY)? as u32,
            "max-model-len" => config.max_model_len = given.number(1, MANY)? as u32,
            "max-request-body-size-mb" => config.max_body_bytes = (given.number(1, 512)? as usize) << 20,
            "max-loras" => config.max_loras = given.number(1, MANY)? as u32,
            "max-cpu-loras" => self.max_cpu_loras = Some(given.number(0, MANY)? as u32),
            "kv-cache-size" => config.kv_blocks = given.number(1, MANY)? as u32,
            "block-size" => config.block_size = given.number(1, MANY)? as u32,
            "default-embedding-dimensions" => config.embedding_dimensions = given.number(1, 65_536)? as u32,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn latency(&mut self, given: &Given) -> Result<bool, ConfigError> {
        let (delays, step) = (&mut self.delays, &mut self.step);
        let target = match given.flag.as_str() {
            "latency-calculator" => {
                self.use_step = false;
                delays.calculator = match given.one()? {
                    "" => Calculator::Unset,
                    "constant" => Calculator::Constant,
                    "per-token" => Calculator::PerToken,
                    "step" => {
                        self.use_step = true;
                        Calculator::Unset
                    }
                    other => return Err(given.bad(format!("{other:?} is none of constant, per-token, step"))),
                };
                return Ok(true);
            }
            "time-factor-under-load" => {
                delays.factor_under_load = given.read("needs a number of at least 1.0")?;
                return Ok(true);
            }
            "max-num-batched-tokens" => {
                step.max_batched_tokens = given.number(1, 1 << 31)? as u32;
                return Ok(true);
            }
            "time-to-first-token" => &mut delays.ttft.mean_ns,
            "time-to-first-token-std-dev" => &mut delays.ttft.std_ns,
            "inter-token-latency" => &mut delays.itl.mean_ns,
            "inter-token-latency-std-dev" => &mut delays.itl.std_ns,
            "prefill-overhead" => &mut delays.prefill_overhead_ns,
            "prefill-time-per-token" => &mut delays.prefill_per_token_ns,
            "prefill-time-std-dev" => &mut delays.prefill_std_ns,
            "kv-cache-transfer-latency" => &mut delays.transfer.mean_ns,
            "kv-cache-transfer-latency-std-dev" => &mut delays.transfer.std_ns,
            "kv-cache-transfer-time-per-token" => &mut delays.transfer_per_token_ns,
            "kv-cache-transfer-time-std-dev" => &mut delays.transfer_std_ns,
            "step-base" => &mut step.base_ns,
            "step-per-sequence" => &mut step.per_sequence_ns,
            "step-per-prompt-token" => &mut step.per_prompt_token_ns,
            "step-per-context-token" => &mut step.per_context_token_ns,
            "step-front-end" => &mut step.front_end_ns,
            _ => return Ok(false),
        };
        let duration = given.duration()?;
        if duration.as_secs() > 86_400 {
            return Err(given.bad("is more than a day"));
        }
        *target = duration.as_nanos() as u64;
        Ok(true)
    }

    pub(super) fn finish(mut self, pod: Pod, help: bool) -> Result<Command, ConfigError> {
        self.config.latency = if self.use_step { LatencyModel::Step(self.step) } else { LatencyModel::Delays(self.delays) };
        self.config.pod = pod;
        self.config.engine_index = self.rank.unwrap_or(0);
        // Without a cache nothing happens to it.
        self.config.kv_events = (self.kv_events_on && self.config.enable_kv_cache).then_some(self.kv_events);
        if self.kv_events_on && !self.config.enable_kv_cache {
            self.notes.push("--zmq-endpoint has no effect without --enable-kvcache".to_owned());
        }
        if !help {
            self.config.validate()?;
            if self.max_cpu_loras.is_some_and(|cpu| cpu < self.config.max_loras) {
                return Err(ConfigError::Invalid("max-cpu-loras must be at least max-loras".to_owned()));
            }
        }
        let ranks = if self.rank.is_some() { 1 } else { self.ranks };
        if ranks > 1 && self.count > 1 {
            return Err(ConfigError::Invalid("--count and --data-parallel-size exclude each other".to_owned()));
        }
        let count = self.count.max(ranks);
        if self.port != 0 && self.port.checked_add(count - 1).is_none() {
            return Err(ConfigError::Invalid(format!("{count} ports from {} on exceed 65535", self.port)));
        }
        Ok(Command {
            config: self.config,
            host: self.host,
            port: self.port,
            count,
            data_parallel: ranks > 1,
            notes: self.notes,
            help,
        })
    }
}

fn zmq(given: &Given, endpoint: &str) -> Result<String, ConfigError> {
    let port =
        endpoint.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(endpoint.to_owned()),
        None => Err(given.bad("needs tcp://HOST:PORT")),
    }
}

fn failure_kinds(given: &Given) -> Result<Vec<FailureKind>, ConfigError> {
    let known = |name: &String| {
        FailureKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| given.bad(format!("unknown type {name:?}")))
    };
    given.list().iter().map(known).collect()
}

fn lora_modules(given: &Given) -> Result<Vec<LoraModule>, ConfigError> {
    let mut modules = Vec::new();
    for text in given.list() {
        // vLLM also takes name=path.
        let module = match text.split_once('=') {
            Some((name, path)) if !text.starts_with('{') => {
                LoraModule { name: name.to_owned(), path: path.to_owned(), base_model_name: String::new() }
            }
            _ => serde_json::from_str(&text).map_err(|error| given.bad(format!("{text:?}: {error}")))?,
        };
        modules.push(module);
    }
    Ok(modules)
}

impl Given {
    fn bad(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Flag { flag: self.flag.clone(), message: message.into() }
    }

    fn one(&self) -> Result<&str, ConfigError> {
        self.values.first().map(String::as_str).ok_or_else(|| self.bad("needs a value"))
    }

    /// An empty value clears the list.
    fn list(&self) -> Vec<String> {
        self.values.iter().filter(|value| !value.is_empty()).cloned().collect()
    }

    fn read<T: FromStr>(&self, need: &str) -> Result<T, ConfigError> {
        self.one()?.parse().map_err(|_| self.bad(need))
    }

    fn number(&self, least: u64, most: u64) -> Result<u64, ConfigError> {
        let need = format!("needs a whole number between {least} and {most}");
        let number: u64 = self.read(&need)?;
        if (least..=most).contains(&number) { Ok(number) } else { Err(self.bad(need)) }
    }

    fn switch(&self) -> Result<bool, ConfigError> {
        let value = match self.values.first().map(String::as_str) {
            None | Some("true" | "1" | "t" | "True") => true,
            Some("false" | "0" | "f" | "False") => false,
            Some(_) => return Err(self.bad("needs true or false")),
        };
        Ok(value != self.negated)
    }

    fn duration(&self) -> Result<std::time::Duration, ConfigError> {
        let duration: GoDuration = self.one()?.parse().map_err(|error: weir_api::DurationError| self.bad(error.to_string()))?;
        Ok(duration.get())
    }
}
