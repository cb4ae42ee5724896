//! `weir sim`: simulated model servers.

use std::ffi::OsString;

use tokio_util::sync::CancellationToken;

use crate::{
    cli::Sim,
    failure::Failure,
    logging::{self, Format},
    signals,
};

pub(crate) async fn run(arguments: Sim) -> Result<String, Failure> {
    let (_, _writing) = logging::init("info", Format::Text)?;
    let drain = CancellationToken::new();
    let now = CancellationToken::new();
    let arguments: Vec<OsString> = arguments.arguments;
    let shutdown = drain.clone();
    let mut out = std::io::stdout();
    tokio::select! {
        result = weir_sim::run_cli(arguments, &mut out, shutdown.cancelled_owned()) => {
            result.map_err(|error| Failure::usage(error.to_string()))?;
        }
        result = async {
            signals::watch(drain, now).await?;
            Ok::<(), Failure>(())
        } => result?,
    }
    Ok(String::new())
}
