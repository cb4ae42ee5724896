//! Request and response wire formats: scanned in place, never built into a tree.
//!
//! - [`classify`] tells from method and path what a request is.
//! - [`scan`] finds in one pass over a body what routing needs, as spans: the model, a few
//!   scalars, and the prompt as ordered [`Segment`]s, which [`Scanned::pieces`] decodes piece
//!   by piece.
//! - [`splice_model`] rewrites a body by reference.
//! - [`SseUsage`] and [`JsonUsageTail`] watch answers go by and find the token counts in them.
//! - [`parse_models`] and [`render_models`] read and write model lists (a cold path, through serde).
//! - [`ErrorBody`] writes errors as OpenAI's clients expect them.
//!
//! Invariants: what [`scan`] accepts is well-formed UTF-8 JSON as a whole; every span lies inside
//! the scanned body; no input panics; nesting is bounded by 128.
//!
//! Cost: O(bytes), no allocation after warm-up. Long strings are read 32 bytes at a time; escapes and short
//! strings cost a few nanoseconds each.
//!
//! Not here: sockets, HTTP framing, tokenization, hashing, what to do about an error.
#![deny(missing_docs)]

mod error;
mod json;
mod models;
mod restore;
mod route;
mod scan;
mod segment;
mod splice;
mod usage;

pub use self::{
    error::{ErrorBody, error_kind},
    json::{JsonStr, Span},
    models::{ModelCard, ModelsError, parse_models, render_model, render_models},
    restore::{ModelRestore, RestoreForm},
    route::{Api, Route, classify},
    scan::{ScanError, ScanErrorKind, Scanned, scan},
    segment::{MediaKind, Piece, Segment, TokenIds},
    splice::splice_model,
    usage::{JsonUsageTail, SseUsage, Usage},
};
