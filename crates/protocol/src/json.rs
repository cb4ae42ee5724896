//! A validating JSON reader that moves over bytes and hands out spans.

mod cursor;
mod text;

use crate::scan::ScanError;

pub use self::text::{JsonStr, Span};
pub(crate) use self::{cursor::Cursor, text::push_json_string};

/// Boxed, so that a result travels in registers; only a refusal allocates.
pub(crate) type Result<T> = std::result::Result<T, Box<ScanError>>;
