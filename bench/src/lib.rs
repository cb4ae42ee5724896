//! Benchmarks: overhead against a floor, and routing policies side by side.
