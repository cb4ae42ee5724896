//! A model server in virtual time: batching, KV cache, latency model.
//!
//! An [`Engine`] is one worker. It holds no clock, no socket and no task: the caller says what time it is, asks when the next
//! thing happens ([`Engine::next_event_at`]), and receives [`Event`]s from [`Engine::advance`]. The same engine therefore runs
//! hours of traffic in seconds, or behind a real HTTP server in real time.
//!
//! Invariants: times are whole microseconds and never run backwards (nanoseconds inside, so that roundings do not add up);
//! equal configuration, seed and calls give equal events; no more than `max_num_seqs` sequences and `max_loras` distinct
//! adapters run; the cache never holds more than its blocks; a request that was accepted always finishes unless cancelled.
//!
//! Cost: O(running) a batched step, O(log running) a token of the independent model, O(blocks) an admission; no allocation per
//! token. Memory follows the blocks really touched, not the configured capacity.
//!
//! [`replay`] is simpler still: servers that are nothing but caches, to compare routing policies on traces.
//!
//! Not here: tokenization, texts, names of models and adapters, HTTP, metrics exposition, how cache events are written.
#![deny(missing_docs)]

mod blocks;
mod config;
mod engine;
mod kv;
mod latency;
mod lora;
mod replay;
mod request;

pub use self::{
    blocks::BlockHasher,
    config::{EngineConfig, KvConfig},
    engine::{Engine, Stats},
    kv::{BlockId, KvCache, KvChange, NoCapacity},
    latency::{Calculator, Delays, LatencyModel, Spread, StepModel, load_factor},
    replay::{Policy, Replayed, replay},
    request::{AdapterId, Event, Micros, Refused, Request, RequestId, Timings},
};
