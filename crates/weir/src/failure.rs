//! Why a command could not do what it was asked, for the person who asked.

use std::fmt;

/// What went wrong, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    help: Option<String>,
    /// Exit code: 1 for failures, 64 for wrong use (as in BSD's sysexits).
    pub(crate) code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, code: 1 }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { code: 64, ..Self::new(message) }
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Diagnostics come rendered, with their own `error:` or `warning:`.
        if !self.message.starts_with("error") && !self.message.starts_with("warning") {
            f.write_str("error: ")?;
        }
        f.write_str(self.message.trim_end())?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}
