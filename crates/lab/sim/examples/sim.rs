//! `weir sim` by itself: `cargo run -p weir-sim --example sim -- --model m`.

use std::io;

#[tokio::main]
async fn main() -> Result<(), weir_sim::CliError> {
    let interrupted = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    let mut out = io::stdout();
    weir_sim::run_cli(std::env::args_os().skip(1).collect(), &mut out, interrupted).await
}
