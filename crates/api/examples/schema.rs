//! Prints the JSON Schema of a router's configuration.
#![allow(clippy::print_stdout)]

fn main() {
    println!("{:#}", weir_api::schema());
}
