//! The registry of plugin types and the compiled, immutable plan.
