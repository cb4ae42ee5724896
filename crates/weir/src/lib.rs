//! The program: command line, process lifecycle, wiring.
