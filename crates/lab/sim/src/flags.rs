//! Command line and configuration file, as llm-d's simulator reads them.
//!
//! A flag on the command line beats the environment (`SIM_MODEL`), that beats the file of `--config`, that beats the default.
//! Flags and keys have the same names. Flags of vLLM that mean nothing here are noted and ignored, never an error, so that a
//! manifest for a real server needs only another image.

use std::{ffi::OsString, net::IpAddr};

use weir_api::yaml::{self, Value};

use crate::config::{ConfigError, Pod, SimConfig};

mod apply;
mod table;
#[cfg(test)]
mod tests;

pub use self::table::help;
use self::{
    apply::Draft,
    table::{Kind, lookup},
};

/// What `weir sim` was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Every worker; the engine label counts up with `--data-parallel-size`.
    pub config: SimConfig,
    /// Where to listen.
    pub host: IpAddr,
    /// The first port; 0 takes free ones.
    pub port: u16,
    /// Workers, on consecutive ports.
    pub count: u16,
    /// Whether the workers are ranks of one data-parallel server.
    pub data_parallel: bool,
    /// Flags that were accepted without effect, and why.
    pub notes: Vec<String>,
    /// The help was asked for instead.
    pub help: bool,
}

/// Reads arguments (without the program's name), `env` and, through `read`, the file of `--config`.
///
/// # Errors
/// See [`ConfigError`]; values out of bounds included.
pub fn parse(
    args: &[OsString],
    env: &dyn Fn(&str) -> Option<String>,
    read: &dyn Fn(&str) -> std::io::Result<String>,
) -> Result<Command, ConfigError> {
    let mut draft = Draft::default();
    let line = split(args, &mut draft);
    if draft.help {
        return draft.finish(Pod::default(), true);
    }
    let file = line.iter().rev().find(|given| given.flag == "config").and_then(|given| given.values.first());
    let mut keys = Vec::new();
    if let Some(path) = file.filter(|path| !path.is_empty()) {
        keys = from_file(path, read)?;
    }
    if let Some(model) = env("SIM_MODEL").filter(|model| !model.is_empty()) {
        keys.push(Given { flag: "model".to_owned(), values: vec![model], negated: false });
    }
    if let Some(seed) = env("PYTHONHASHSEED") {
        keys.push(Given { flag: "hash-seed".to_owned(), values: vec![seed], negated: false });
    }
    keys.extend(line);
    // A profile is the ground that all others stand on.
    for given in keys.iter().filter(|given| given.flag == "profile") {
        draft.profile(given)?;
    }
    for given in &keys {
        draft.apply(given)?;
    }
    draft.finish(Pod { name: env("POD_NAME"), namespace: env("POD_NAMESPACE"), ip: env("POD_IP") }, false)
}

/// A flag with its values.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    flag: String,
    values: Vec<String>,
    /// `--no-…`.
    negated: bool,
}

/// Cuts a command line into flags: lists and unknown flags take everything up to the next flag.
fn split(args: &[OsString], draft: &mut Draft) -> Vec<Given> {
    let mut given = Vec::new();
    let mut args = args.iter().map(|arg| arg.to_string_lossy().into_owned()).peekable();
    while let Some(arg) = args.next() {
        if arg == "-h" || arg == "--help" {
            draft.help = true;
            continue;
        }
        let Some(body) =
            arg.strip_prefix("--").or_else(|| arg.strip_prefix('-').filter(|rest| *rest == "v" || rest.starts_with("v=")))
        else {
            if arg != "serve" {
                // `vllm serve MODEL`
                given.insert(0, Given { flag: "model".to_owned(), values: vec![arg], negated: false });
            }
            continue;
        };
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        let positive = name.strip_prefix("no-").filter(|rest| lookup(rest).is_some_and(|flag| flag.kind == Kind::Pair));
        let flag = positive.unwrap_or(name).replace('_', "-");
        let mut values: Vec<String> = value.into_iter().collect();
        let kind = lookup(&flag).map(|flag| flag.kind);
        let is_value = |next: &String| !next.starts_with("--");
        if values.is_empty() {
            match kind {
                Some(Kind::Value) => values.extend(args.next()),
                Some(Kind::Bool | Kind::Pair) => values.extend(args.next_if(|next| next == "true" || next == "false")),
                Some(Kind::List) | None => {
                    while let Some(next) = args.next_if(is_value) {
                        values.push(next);
                    }
                }
            }
        }
        given.push(Given { flag, values, negated: positive.is_some() });
    }
    given
}

fn from_file(path: &str, read: &dyn Fn(&str) -> std::io::Result<String>) -> Result<Vec<Given>, ConfigError> {
    let fail = |message: String| ConfigError::File { path: path.to_owned(), message };
    let text = read(path).map_err(|error| fail(error.to_string()))?;
    let root = yaml::parse(&text).map_err(|error| fail(error.to_string()))?;
    let entries = match &root.value {
        Value::Map(entries) => entries,
        Value::Null => return Ok(Vec::new()),
        _ => return Err(fail("must be a mapping of flags to values".to_owned())),
    };
    let mut keys = Vec::new();
    for entry in entries {
        let values = match &entry.value.value {
            Value::List(items) => items.iter().map(|item| scalar(&item.value)).collect(),
            other => vec![scalar(other)],
        };
        keys.push(Given { flag: entry.key.replace('_', "-"), values, negated: false });
    }
    Ok(keys)
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::String(value) => value.clone(),
        Value::Null | Value::List(_) | Value::Map(_) => String::new(),
    }
}
