//! One module per command; the two smallest are here.

pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod serve;
pub(crate) mod sim;
pub(crate) mod up;

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Completions},
    failure::Failure,
};

pub(crate) fn schema() -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(&weir_api::schema())
        .map_err(|error| Failure::new(format!("cannot write the schema: {error}")))?;
    Ok(text + "\n")
}

pub(crate) fn completions(arguments: &Completions) -> Result<String, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "weir", &mut script);
    String::from_utf8(script).map_err(|_| Failure::new("the completion script is not text"))
}
