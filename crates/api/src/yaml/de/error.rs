//! What went wrong while decoding.

use std::fmt;

use serde::de::{Expected, Unexpected};

use super::{Path, message};
use crate::diagnostic::{Diagnostic, Span};

/// What went wrong, before it is known where.
pub(super) struct Error(Box<Inner>);

#[derive(Default)]
struct Inner {
    message: String,
    help: Option<String>,
    place: Option<(Span, String)>,
    missing: Option<&'static str>,
}

impl Error {
    pub(super) fn new(message: String, help: Option<String>) -> Self {
        Self(Box::new(Inner { message, help, ..Inner::default() }))
    }

    /// The same, placed at a node unless it was placed deeper already.
    pub(super) fn at(mut self, span: Span, path: &Path<'_>) -> Self {
        if self.0.place.is_none() {
            self.0.place = Some((span, path.text()));
        }
        self
    }

    pub(super) fn place(&self) -> Option<(Span, String)> {
        self.0.place.clone()
    }

    /// The field that is missing, if that is the error.
    pub(super) fn missing(&self) -> Option<&'static str> {
        self.0.missing
    }

    pub(super) fn into_diagnostic(self, place: &(Span, String)) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(place.0, &place.1, self.0.message);
        diagnostic.help = self.0.help.or(diagnostic.help);
        diagnostic
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string(), None)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (message, help) = message::mismatch(&found, &expected.to_string());
        Self::new(message, help)
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let (message, help) = message::unknown_value(variant, expected);
        Self::new(message, help)
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let (message, help) = message::unknown_field(field, expected);
        Self::new(message, help)
    }

    fn missing_field(field: &'static str) -> Self {
        let mut error = Self::new(format!("the field `{field}` is missing"), None);
        error.0.missing = Some(field);
        error
    }
}
