//! The command `weir sim`.

use std::{
    ffi::OsString,
    io::{self, Write},
    net::SocketAddr,
};

use crate::{
    config::{ConfigError, SimConfig},
    flags,
    server::{SimHandle, start},
};

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// Flags or file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The output is gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs `weir sim` with `args` (without program and subcommand) until `shutdown` completes, then drains.
///
/// Writes one line for each worker to `out` when it listens: `weir sim: MODEL on http://ADDRESS`; notes about flags go to the log.
///
/// # Errors
/// See [`CliError`]; nothing runs then.
pub async fn run_cli(
    args: Vec<OsString>,
    out: &mut (dyn Write + Send),
    shutdown: impl Future<Output = ()>,
) -> Result<(), CliError> {
    let command = flags::parse(&args, &|name| std::env::var(name).ok(), &|path| std::fs::read_to_string(path))?;
    if command.help {
        return Ok(out.write_all(flags::help().as_bytes())?);
    }
    for note in &command.notes {
        tracing::warn!("{note}");
    }
    let mut workers: Vec<SimHandle> = Vec::with_capacity(usize::from(command.count));
    for index in 0..command.count {
        let port = if command.port == 0 { 0 } else { command.port + index };
        let addr = SocketAddr::new(command.host, port);
        let mut config = SimConfig { seed: command.config.seed.wrapping_add(u64::from(index)), ..command.config.clone() };
        if command.data_parallel {
            config.engine_index = u32::from(index);
        }
        config.kv_events = config.kv_events.map(|events| events.shifted(index));
        let worker = start(config, addr).await.map_err(|source| CliError::Listen { addr, source })?;
        writeln!(out, "weir sim: {} on http://{}", command.config.display_name(), worker.addr())?;
        workers.push(worker);
    }
    out.flush()?;
    shutdown.await;
    for worker in &workers {
        worker.begin_stop();
    }
    for worker in workers {
        worker.join().await;
    }
    Ok(())
}
