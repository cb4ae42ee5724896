//! A validating JSON reader that moves over bytes and hands out spans.

mod cursor;
mod text;

pub use self::text::{JsonStr, Span};
pub(crate) use self::{cursor::Cursor, text::push_json_string};
