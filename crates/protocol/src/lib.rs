//! Request and response wire formats: scanned in place, never built into a tree.
//!
//! - [`Parsers`] are the parsers of a configuration; they tell from a path which [`Api`] a request speaks, and [`classify`] what to
//!   do with it.
//! - [`scan`] finds in one pass over a body what routing needs, as spans: the model, a few
//!   scalars, and the prompt as ordered [`Segment`]s, which [`Scanned::pieces`] decodes piece
//!   by piece. [`Scanner`] does it while the body arrives.
//! - [`splice_model`] rewrites a body by reference, [`ModelRestore`] an answer.
//! - [`ResponseWatch`] sees answers go by, and finds the token counts in them.
//! - [`parse_models`] and [`render_models`] read and write model lists (a cold path, through serde).
//! - [`ErrorBody`] writes errors as the clients of each API expect them.
//!
//! Invariants: a JSON body that [`scan`] accepts is well-formed and UTF-8 as a whole; every span lies inside
//! the scanned body; no input panics; nesting is bounded by 128; how a body or an answer is cut makes no difference.
//!
//! Cost: O(bytes), no allocation after warm-up. Long strings are read 32 bytes at a time; escapes and short
//! strings cost a few nanoseconds each.
//!
//! Not here: sockets, HTTP framing, tokenization, hashing, what to do about an error.
#![deny(missing_docs)]

mod api;
mod error;
mod grpc;
mod json;
mod models;
mod parser;
mod restore;
mod route;
mod scan;
mod segment;
mod splice;
mod usage;

pub use self::{
    api::{Api, ErrorStyle},
    error::{ErrorBody, anthropic_kind, error_kind, grpc_message, grpc_status},
    json::{JsonStr, Span},
    models::{ModelCard, ModelsError, parse_models, render_model, render_models},
    parser::{ParserKind, Parsers, Reading},
    restore::{ModelRestore, RestoreForm},
    route::{Route, classify},
    scan::{ScanError, ScanErrorKind, Scanned, Scanner, scan},
    segment::{MediaKind, Piece, Segment, TokenIds},
    splice::splice_model,
    usage::{JsonUsageTail, ResponseWatch, SseUsage, Usage},
};
