//! When a request is split over prefill, decode and encode workers: handlers of the stages' profiles, and deciders.

mod deciders;
mod handler;
mod headers;
mod legacy;

use weir_plan::PluginType;

pub(crate) fn plugins() -> Vec<PluginType> {
    let mut all = vec![handler::plugin(), legacy::handler(), headers::plugin()];
    all.extend(deciders::plugins());
    all
}

#[cfg(test)]
mod tests;
