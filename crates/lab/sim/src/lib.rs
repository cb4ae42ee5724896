//! A vLLM-compatible HTTP server over the virtual-time model server.
//!
//! One [`SimHandle`] is one worker: a listener, a [`weir_engine::Engine`] in real time, vLLM's endpoints and metrics. Any number
//! of them share a process. [`run_cli`] is the command `weir sim`, which takes the flags of llm-d's simulator.
//!
//! Invariants: an accepted request holds a ticket; dropping the ticket (the client left) cancels it in the engine, so gauges fall
//! at once. Tokens appear at the engine's absolute times: a late timer makes up, it never adds up. Texts are fixed when a request
//! is accepted, the engine only decides when their tokens come.
//!
//! Cost: an idle worker is one parked task; a busy one has one timer, not one a stream. A stream holds its answer's text and a
//! counter; its chunks are written when the connection asks for them, so a slow reader costs no memory.
//!
//! Not here: chat templates and real tokenizers, tools, log probabilities, multimodal input, gRPC,
//! prefill/decode hand-off. Their flags are accepted and reported as not active.

mod answer;
mod cli;
mod config;
mod error;
mod events;
mod flags;
mod http;
mod json;
mod metrics;
mod server;
mod tokenizer;
mod worker;

pub use self::{
    cli::{CliError, run_cli},
    config::{ConfigError, FailureKind, LoraModule, Mode, Pod, SimConfig},
    events::KvEventsConfig,
    flags::{Command, help, parse},
    server::{SimHandle, start},
};
