//! Compiles the vendored protocol definitions in Rust alone: no `protoc` is needed.

use std::{error::Error, path::Path};

const ROOTS: [&str; 2] = ["envoy/service/ext_proc/v3/external_processor.proto", "grpc/health/v1/health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(ROOTS, [Path::new("proto")])?;
    tonic_prost_build::configure()
        .build_transport(false)
        // Bodies are passed on as they came, without a copy.
        .bytes(".envoy")
        .btree_map(".")
        // Only a few keys of the metadata that comes with every message are wanted.
        .extern_path(".envoy.config.core.v3.Metadata", "crate::wire::Metadata")
        .disable_comments(["."])
        .emit_rerun_if_changed(false)
        .include_file("proto.rs")
        .compile_fds(files)?;
    Ok(())
}
