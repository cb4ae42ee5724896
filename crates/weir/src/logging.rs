//! The log: on stderr, as text or as JSON lines.

use std::{
    io::{self, IsTerminal as _},
    sync::Arc,
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};
use weir_fronts::{AccessLog, Lines, Writing};

use crate::failure::Failure;

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// The log of this process.
pub(crate) struct Logging {
    level: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
    lines: Lines,
    access: AccessLog,
}

impl Logging {
    /// Changes how much is logged.
    pub(crate) fn set_level(&self, level: &str) {
        let _ = self.level.reload(filter(level));
    }

    /// How often lines were dropped because nobody read them in time.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.lines.dropped()
    }

    /// What writes a line for each request, among the other lines and in their form.
    pub(crate) fn access(&self) -> AccessLog {
        self.access.clone()
    }
}

/// Starts logging. `RUST_LOG` wins over `level`. Lines are written by a thread of their own, many at a time under load; once what
/// stands beside the log is dropped, all of them are on stderr.
pub(crate) fn init(level: &str, format: Format) -> Result<(Arc<Logging>, Writing), Failure> {
    let (filter, level) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = io::stderr().is_terminal();
    let no_thread = |error: io::Error| Failure::new(format!("cannot start a thread for the log: {error}"));
    let (lines, writing) = Lines::start(io::stderr()).map_err(no_thread)?;
    let writer = {
        let lines = lines.clone();
        move || lines.clone()
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    // A second call keeps the first subscriber.
    let _ = match format {
        Format::Text => registry.with(layer.with_ansi(ansi)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    let format = match format {
        Format::Text => weir_fronts::Format::Text { ansi },
        Format::Json => weir_fronts::Format::Json,
    };
    Ok((Arc::new(Logging { level, access: AccessLog::new(format, lines.clone()), lines }), writing))
}

fn filter(level: &str) -> EnvFilter {
    // What the API server of a cluster says is told by whoever asked it, once.
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},kube_client=off")))
}
