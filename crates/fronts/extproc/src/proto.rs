//! Generated from the vendored protocol definitions in `proto/`.
#![allow(missing_docs, rust_2018_idioms, unreachable_pub, clippy::all, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/proto.rs"));
