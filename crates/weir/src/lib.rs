//! The program: command line, process lifecycle, wiring.
//!
//! [`run`] is the whole program; the `weir` binary calls it with nothing to add. Somebody who ships a router with plugins of
//! their own calls it with a function that registers them.

mod admin;
mod cli;
mod commands;
mod configuration;
mod doctor;
mod epp;
mod failure;
mod go_flags;
mod http_client;
mod listeners;
mod logging;
mod reload;
mod signals;
mod state;
mod status_line;
mod system;
mod traces;

use std::{ffi::OsString, io::Write as _, path::Path, process::ExitCode};

use clap::Parser as _;
use weir_plan::Registry;

/// What plugins are written with.
pub use {weir_api as api, weir_plan as plan, weir_pool as pool, weir_router as router};

use crate::cli::{Cli, Command};

/// Adds the plugin types that the program has by itself.
pub fn register_plugins(registry: &mut Registry) {
    weir_schedule::register(registry);
}

/// Runs the program with the process's arguments. `extra_plugins` may add plugin types, or replace them.
pub fn run(extra_plugins: impl FnOnce(&mut Registry)) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let mut registry = Registry::default();
    register_plugins(&mut registry);
    extra_plugins(&mut registry);
    let result = match cli.command {
        Command::Schema(arguments) => commands::schema(&arguments, &registry),
        Command::Rewrite(arguments) => commands::rewrite::run(&arguments),
        Command::Kv(arguments) => commands::kv::run(arguments),
        Command::Crds(arguments) => commands::crds::run(&arguments),
        Command::Completions(arguments) => commands::completions(&arguments),
        Command::Check(arguments) => commands::check::run(&arguments, &registry),
        Command::Doctor(arguments) => match block_on(doctor::run(arguments, &registry)) {
            Ok(diagnosis) => {
                let _ = std::io::stdout().write_all(diagnosis.text.as_bytes());
                return if diagnosis.is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            }
            Err(failure) => Err(failure),
        },
        Command::Epp(arguments) => block_on(epp::run(arguments.arguments, registry)),
        Command::Explain(arguments) => block_on(commands::explain::run(arguments, &registry)),
        Command::Sim(arguments) => block_on(commands::sim::run(arguments)),
        Command::Up(arguments) => block_on(commands::up::run(arguments, registry)),
        Command::Serve(arguments) => block_on(commands::serve::run(arguments, registry)),
    };
    match result {
        Ok(text) => {
            // A reader that has left is not an error of ours.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// The process's arguments. A program that is called `epp`, as the image of llm-d's picker has it, is `weir epp`.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    if name.is_some_and(|name| name == "epp") {
        arguments.insert(1, "epp".into());
    }
    arguments
}

fn block_on<T>(work: impl Future<Output = Result<T, failure::Failure>>) -> Result<T, failure::Failure> {
    // Alone on its core, a scheduler for several threads only costs.
    let alone = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder =
        if alone { tokio::runtime::Builder::new_current_thread() } else { tokio::runtime::Builder::new_multi_thread() };
    let runtime =
        builder.enable_all().build().map_err(|error| failure::Failure::new(format!("cannot start the runtime: {error}")))?;
    let result = runtime.block_on(work);
    // Blocking tasks (name resolution) must not hold the exit up.
    runtime.shutdown_background();
    result
}
