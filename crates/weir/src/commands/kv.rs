//! `weir kv`: what is in KV caches.

mod replay_trace;
mod tail;

use crate::{
    cli::{Kv, KvCommand},
    failure::Failure,
};

pub(crate) fn run(arguments: Kv) -> Result<String, Failure> {
    match arguments.command {
        KvCommand::Tail(arguments) => crate::block_on(tail::run(arguments)),
        KvCommand::ReplayTrace(arguments) => replay_trace::run(&arguments),
    }
}
