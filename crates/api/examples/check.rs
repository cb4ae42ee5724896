//! Checks router configurations and picker configurations: `cargo run -p weir-api --example check -- FILE…`
#![allow(clippy::print_stdout)]

use std::{path::Path, process::ExitCode};

use weir_api::{EndpointPickerConfig, RouterConfig, Sources};

fn main() -> ExitCode {
    let mut bad = 0;
    for file in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let outcome = if text.contains("kind: EndpointPickerConfig") && !text.contains("kind: RouterConfig") {
            let sources = Sources::single(&file, &text);
            EndpointPickerConfig::parse(&text).map(|c| c.warnings.render(&sources)).map_err(|e| e.render(&sources))
        } else {
            RouterConfig::load_file(Path::new(&file)).map(|l| l.warnings.render(&l.sources)).map_err(|e| e.to_string())
        };
        match outcome {
            Ok(warnings) => println!("{warnings}{file}: good"),
            Err(errors) => {
                bad += 1;
                println!("{errors}");
            }
        }
    }
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
