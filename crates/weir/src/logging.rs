//! The log: on stderr, as text or as JSON lines.

use std::io::BufWriter;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _};

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// The log of this process, until it is dropped: then what was written so far is on stderr.
pub(crate) struct Logging {
    level: reload::Handle<EnvFilter, tracing_subscriber::Registry>,
    lines: ErrorCounter,
    _flush: WorkerGuard,
}

/// Lines that may wait to be written; more of them are dropped and counted, so that a reader of stderr that stands still does
/// not stop the router.
const WAITING_LINES: usize = 32_768;
const BUFFER_BYTES: usize = 64 << 10;

impl Logging {
    /// Changes how much is logged.
    pub(crate) fn set_level(&self, level: &str) {
        let _ = self.level.reload(filter(level));
    }

    /// Lines that were dropped because nobody read them in time.
    pub(crate) fn dropped_lines(&self) -> u64 {
        self.lines.dropped_lines() as u64
    }
}

/// Starts logging. `RUST_LOG` wins over `level`. Lines are written by a thread of their own, many at a time under load.
pub(crate) fn init(level: &str, format: Format) -> Logging {
    let (filter, level) = reload::Layer::new(filter(level));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let stderr = BufWriter::with_capacity(BUFFER_BYTES, std::io::stderr());
    let (writer, flush) = NonBlockingBuilder::default().buffered_lines_limit(WAITING_LINES).lossy(true).finish(stderr);
    let lines = writer.error_counter();
    // A second call keeps the first subscriber.
    let _ = match format {
        Format::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(ansi)).try_init(),
        Format::Json => registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer)).try_init(),
    };
    Logging { level, lines, _flush: flush }
}

fn filter(level: &str) -> EnvFilter {
    // What the API server of a cluster says is told by whoever asked it, once.
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("{level},kube_client=off")))
}
