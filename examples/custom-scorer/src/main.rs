//! weir with one plugin more. Everything that weir can do, this program can, and its configurations may name `cheapest-scorer`.

mod cheapest;

fn main() -> std::process::ExitCode {
    weir::run(|plugins| plugins.register(cheapest::plugin()))
}
