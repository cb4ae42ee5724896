//! One module per command; the two smallest are here.

pub(crate) mod check;
pub(crate) mod crds;
pub(crate) mod document;
pub(crate) mod explain;
pub(crate) mod kv;
pub(crate) mod plugins;
pub(crate) mod rewrite;
pub(crate) mod serve;
pub(crate) mod sim;
pub(crate) mod up;

use clap::CommandFactory as _;
use weir_plan::Registry;

use crate::{
    cli::{Cli, Completions, Schema},
    failure::Failure,
};

pub(crate) fn schema(arguments: &Schema, registry: &Registry) -> Result<String, Failure> {
    let text = if arguments.plugins {
        plugins::as_json(registry)
    } else if arguments.state {
        serde_json::to_string_pretty(&weir_router::Case::schema())
    } else {
        serde_json::to_string_pretty(&weir_api::schema())
    };
    Ok(text.map_err(|error| Failure::new(format!("cannot write the schema: {error}")))? + "\n")
}

pub(crate) fn completions(arguments: &Completions) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "weir", &mut script);
    String::from_utf8(script).map_err(|_| Failure::new("the completion script is not text"))
}
