//! Follows engines' KV-cache events over ZeroMQ.
//!
//! [`KvEvents`] keeps a subscription to every endpoint of its pools for every plugin that wants events
//! ([`weir_plan::KvEventSource`]), and hands each batch to the plugin in the endpoint's order. What was missed is asked for again
//! (both dialects of replies); what is gone for good clears the endpoint, which goes on from what is known.
//!
//! Batches are applied by the task that received them: a slow reader is slowed by its own socket and loses batches at the
//! publisher's high-water mark, which the numbers of the batches show, and which a repetition heals. No queue grows here.
//!
//! Not here: what events mean, and what follows from them.

mod central;
mod counters;
mod follow;
mod message;
mod replay;
mod subscriptions;
mod tail;
mod timing;

pub use self::{
    counters::{Operation, StreamStats},
    message::{Live, Topic},
    subscriptions::KvEvents,
    tail::{Tail, TailError},
    timing::Timing,
};
