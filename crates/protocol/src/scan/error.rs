//! Why a request body was refused.

use std::fmt;

use crate::api::Api;

/// A body that is not valid JSON, or not a valid request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanError {
    /// Where in the body, in bytes. For a missing field, the end of the body.
    pub offset: usize,
    /// What is wrong there.
    pub kind: ScanErrorKind,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// Cut off outside a string.
    #[error("unexpected end")]
    UnexpectedEnd,
    /// A byte that no value, key or punctuation can have here.
    #[error("unexpected character")]
    UnexpectedByte,
    /// Cut off inside a string.
    #[error("unterminated string")]
    UnterminatedString,
    /// A backslash followed by something JSON does not know.
    #[error("invalid escape in a string")]
    BadEscape,
    /// A byte below 0x20 in a string.
    #[error("unescaped control character in a string")]
    ControlCharacter,
    /// The body is not UTF-8.
    #[error("invalid UTF-8")]
    InvalidUtf8,
    /// Something follows the document.
    #[error("unexpected data after the end of the object")]
    TrailingData,
    /// More than 128 containers inside each other.
    #[error("more than 128 levels of nesting")]
    TooDeep,
    /// The document is valid, but no object.
    #[error("the top level must be an object")]
    NotAnObject,
    /// 4 GiB or more.
    #[error("the body is too large")]
    TooLarge,
    /// A gRPC message that is compressed.
    #[error("compressed gRPC payload is not supported")]
    CompressedMessage,
    /// The body of a gRPC request ends too early or too late.
    #[error("the body is not one whole gRPC message")]
    CutMessage,
    /// No protobuf message.
    #[error("malformed protobuf message")]
    MalformedMessage,
    /// A required field is absent or null.
    #[error("invalid {} request: must have valid {field} field: it is missing", .api.name())]
    Missing {
        /// The API of the request.
        api: Api,
        /// The absent field.
        field: &'static str,
    },
    /// A required field holds nothing.
    #[error("invalid {} request: must have valid {field} field: it is empty", .api.name())]
    Empty {
        /// The API of the request.
        api: Api,
        /// The empty field.
        field: &'static str,
    },
    /// A field has another type than its API defines.
    #[error("invalid {} request: must have valid {field} field: expected {expected}", .api.name())]
    WrongType {
        /// The API of the request.
        api: Api,
        /// The field.
        field: &'static str,
        /// What it should be, for example `a string`.
        expected: &'static str,
    },
}

impl ScanError {
    /// A stable code, as in OpenAI's error objects.
    pub const fn code(&self) -> &'static str {
        match self.kind {
            ScanErrorKind::Missing { .. } => "missing_required_parameter",
            ScanErrorKind::Empty { .. } => "invalid_value",
            ScanErrorKind::WrongType { .. } => "invalid_type",
            ScanErrorKind::TooLarge => "body_too_large",
            ScanErrorKind::TooDeep => "json_too_deep",
            ScanErrorKind::CompressedMessage => "compressed_message",
            ScanErrorKind::CutMessage | ScanErrorKind::MalformedMessage => "invalid_message",
            _ => "invalid_json",
        }
    }

    /// The field that is at fault, for the `param` of an error object.
    pub const fn param(&self) -> Option<&'static str> {
        match self.kind {
            ScanErrorKind::Missing { field, .. }
            | ScanErrorKind::Empty { field, .. }
            | ScanErrorKind::WrongType { field, .. } => Some(field),
            _ => None,
        }
    }
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.param()) {
            (ScanErrorKind::TooLarge | ScanErrorKind::CompressedMessage | ScanErrorKind::CutMessage, _) => self.kind.fmt(f),
            (ScanErrorKind::Missing { .. }, _) => self.kind.fmt(f),
            (ScanErrorKind::MalformedMessage, _) => write!(f, "{} at byte {}", self.kind, self.offset),
            (kind, Some(_)) => write!(f, "{kind} (at byte {})", self.offset),
            (kind, None) => write!(f, "invalid JSON: {kind} at byte {}", self.offset),
        }
    }
}

impl std::error::Error for ScanError {}
