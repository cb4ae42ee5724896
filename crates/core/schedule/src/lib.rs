//! Which endpoint: the scheduling cycle and the plugins that it runs.
//!
//! - [`register`] adds every plugin type of this crate to a registry.
//! - [`produce`] runs a plan's data producers for one request.
//! - [`run`] runs the cycle: for each profile that the handler wants, filter, score, pick. [`run_watched`] shows each step to a [`Watch`].
//!
//! Invariants: a score is in 0..=1 before its weight is applied, NaN counts as 0; every tie and draw comes from the generator
//! that the caller passes; every target is one of the candidates.
//!
//! Cost: O(profiles × plugins × candidates), one virtual call a plugin, no allocation after warm-up (a request that nobody can
//! take costs its error's strings).
//!
//! Not here: which endpoints are candidates, admission, sending. Where formulas differ from llm-d's, the plugin says so.
#![deny(missing_docs)]

mod admitter;
mod cycle;
mod declare;
mod disagg;
mod expression;
mod filter;
mod handler;
mod header_processor;
mod inactive;
mod numbers;
mod parser;
mod picker;
mod producer;
mod reporter;
mod response;
mod saturation;
mod scorer;
mod screener;
mod session_affinity;
mod source;
#[cfg(test)]
mod testing;
mod topology;
mod watch;

use weir_plan::Registry;

pub use self::{
    cycle::{Picked, Scratch, clamped, produce, run, run_watched},
    saturation::StageSaturation,
    watch::{Step, Watch},
};

/// Adds every plugin type of this crate.
pub fn register(registry: &mut Registry) {
    let all = [
        header_processor::plugins(),
        admitter::plugins(),
        filter::plugins(),
        scorer::plugins(),
        picker::plugins(),
        handler::plugins(),
        producer::plugins(),
        session_affinity::plugins().into(),
        disagg::plugins(),
        expression::plugins(),
        reporter::plugins(),
        response::plugins(),
        saturation::plugins(),
        screener::plugins(),
        topology::plugins(),
        source::plugins(),
        parser::plugins(),
        inactive::plugins(),
    ];
    for plugin in all.into_iter().flatten() {
        registry.register(plugin);
    }
}
