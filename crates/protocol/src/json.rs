//! JSON as bytes: readers that move over it and hand out spans.
//!
//! Requests are read by [`Lexer`], which takes them as they arrive; the few small documents of answers that are looked into
//! lie whole in memory, and [`Cursor`] is simpler to use there.

mod cursor;
mod lexer;
mod text;

use crate::scan::ScanError;

pub use self::text::{JsonStr, Span};
pub(crate) use self::{
    cursor::Cursor,
    lexer::{Lexer, Scalar, Type, Visitor},
    text::push_json_string,
};

/// Containers inside containers, the outermost included. Fits the bits of a `u128`.
pub(crate) const MAX_DEPTH: u32 = 128;

/// Boxed, so that a result travels in registers; only a refusal allocates.
pub(crate) type Result<T> = std::result::Result<T, Box<ScanError>>;
