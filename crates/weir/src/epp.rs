//! `weir epp`: llm-d's Endpoint Picker, by its flags and its document.

mod config;
mod flags;

use std::sync::Arc;

use weir_plan::{CompileOptions, Registry};

use self::flags::{Encoder, Flags};
use crate::{
    failure::Failure,
    logging::{self, Format},
    system::{Opened, Origin, System},
};

/// Runs with the arguments that follow the command's name.
pub(crate) async fn run(arguments: Vec<String>, registry: Registry) -> Result<String, Failure> {
    let read = flags::read(&arguments).map_err(|errors| usage(&errors))?;
    if read.parsed.help {
        return Ok(flags::help());
    }
    let mut flags = read.flags;
    let env = |name: &str| std::env::var(name).ok();
    let checked = flags.check(&read.parsed.given, &env).map_err(|errors| usage(&errors))?;
    let (logging, _writing) = logging::init(level(&flags), format(&flags))?;
    for warning in read.parsed.warnings.iter().chain(&checked.warnings) {
        tracing::warn!("{warning}");
    }
    if let Some(notice) = checked.notice() {
        tracing::warn!("{notice}");
    }
    let loaded = config::load(&flags)?;
    let opened = Opened::open(&loaded.config, "--grpc-port, --grpc-health-port or --metrics-port")?;
    let options = CompileOptions { allow_experimental: flags.allow_experimental_plugins, ..CompileOptions::default() };
    let origin = origin(&flags);
    let system = System::start(loaded, registry, options, origin, opened, logging).await?;
    system.announce();
    system.run().await?;
    Ok(String::new())
}

fn usage(errors: &[String]) -> Failure {
    Failure::usage(errors.join("\nerror: ")).with_help("`weir epp --help` lists the flags")
}

/// Files are followed: the document, if it is one, certificates, the list of endpoints.
fn origin(flags: &Flags) -> Origin {
    let path = flags.config_file.clone();
    let name = path.as_ref().map_or_else(|| "the command line".to_owned(), |path| path.display().to_string());
    let flags = flags.clone();
    Origin::Files { name, path, read: Arc::new(move || config::load(&flags)), sets_level: false }
}

fn format(flags: &Flags) -> Format {
    match flags.zap.encoder {
        Some(Encoder::Json) => Format::Json,
        Some(Encoder::Console) | None => Format::Text,
    }
}

/// llm-d's verbosities: 2 is what everybody sees, 4 debugs, 5 traces.
fn level(flags: &Flags) -> &'static str {
    let verbosity = match flags.zap.level {
        Some(level) => level,
        None if flags.zap.devel => flags.verbosity.max(4),
        None => flags.verbosity,
    };
    match verbosity {
        ..=-1 => "error",
        0..=3 => "info",
        4 => "debug",
        _ => "trace",
    }
}
