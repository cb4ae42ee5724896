//! A line for each request, as the rest of the log looks.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use crate::Lines;

/// Whom lines are from, as filters of the log call it.
const TARGET: &str = "access";
/// Memory that a thread keeps for its next line.
const KEPT_BYTES: usize = 4 << 10;

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text; for terminals with colours.
    Text {
        /// Whether there are colours.
        ansi: bool,
    },
    /// JSON, an object a line.
    Json,
}

/// Writes a line for each request. The default writes nothing.
#[derive(Clone, Debug, Default)]
pub struct AccessLog {
    to: Option<(Format, Lines)>,
}

/// A request that was answered, or that is over without an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// Its id.
    pub id: &'a str,
    /// Who asked, if that is known.
    pub client: Option<&'a str>,
    /// Its method.
    pub method: &'a str,
    /// Its path, without the query.
    pub path: &'a str,
    /// The answer's status.
    pub status: u16,
    /// Who served it.
    pub endpoint: Option<&'a str>,
    /// Bytes of the bodies of request and response, if they are known.
    pub bytes: Option<(u64, u64)>,
    /// From its head to its end.
    pub took: Duration,
    /// Why it was refused or broken off, if it was.
    pub reason: Option<&'a str>,
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl AccessLog {
    /// A log that looks like `format` and goes to `lines`.
    pub fn new(format: Format, lines: Lines) -> Self {
        Self { to: Some((format, lines)) }
    }

    /// Whether somebody wants a line about a request that begins now.
    pub fn wanted(&self) -> bool {
        self.to.is_some() && tracing::enabled!(target: TARGET, tracing::Level::INFO)
    }

    /// Writes a line.
    pub fn write(&self, answered: &Answered<'_>) {
        let Some((format, lines)) = &self.to else { return };
        LINE.with_borrow_mut(|line| {
            line.clear();
            write(line, *format, SystemTime::now(), answered);
            lines.push(line.as_bytes());
            line.shrink_to(KEPT_BYTES);
        });
    }
}

/// One line with its end.
fn write(line: &mut String, format: Format, now: SystemTime, answered: &Answered<'_>) {
    let now = Timestamp::try_from(now).unwrap_or_default();
    let mut fields = Fields { line, format };
    match format {
        Format::Text { ansi: false } => _ = write!(fields.line, "{now:.6}  INFO {TARGET}:"),
        Format::Text { ansi: true } => {
            _ = write!(fields.line, "\x1b[2m{now:.6}\x1b[0m \x1b[32m INFO\x1b[0m \x1b[2m{TARGET}\x1b[0m\x1b[2m:\x1b[0m");
        }
        Format::Json => _ = write!(fields.line, "{{\"timestamp\":\"{now:.6}\",\"level\":\"INFO\""),
    }
    fields.text("id", answered.id);
    if let Some(client) = answered.client {
        fields.text("client", client);
    }
    fields.word("method", answered.method);
    fields.text("path", answered.path);
    fields.number("status", answered.status.into());
    fields.text("endpoint", answered.endpoint.unwrap_or("-"));
    if let Some((request, response)) = answered.bytes {
        fields.number("bytes_in", request);
        fields.number("bytes", response);
    }
    fields.milliseconds("ms", answered.took);
    fields.text("reason", answered.reason.unwrap_or("-"));
    fields.line.push_str(if format == Format::Json { ",\"target\":\"access\"}\n" } else { "\n" });
}

struct Fields<'a> {
    line: &'a mut String,
    format: Format,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        let [before, after] = match self.format {
            Format::Text { ansi: false } => [" ", "="],
            Format::Text { ansi: true } => [" \x1b[3m", "\x1b[0m\x1b[2m=\x1b[0m"],
            Format::Json => [",\"", "\":"],
        };
        for part in [before, name, after] {
            self.line.push_str(part);
        }
    }

    /// Anything, in quotes.
    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        if value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            self.line.push('"');
            self.line.push_str(value);
            self.line.push('"');
        } else if self.format == Format::Json {
            self.line.push_str(&serde_json::Value::from(value).to_string());
        } else {
            _ = write!(self.line, "{value:?}");
        }
    }

    /// A word that needs no quotes where nobody asks for them.
    fn word(&mut self, name: &str, value: &str) {
        if self.format == Format::Json {
            return self.text(name, value);
        }
        self.name(name);
        self.line.push_str(value);
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.line.push_str(itoa::Buffer::new().format(value));
    }

    /// To the microsecond.
    fn milliseconds(&mut self, name: &str, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.number(name, micros / 1000);
        // Three digits: what comes first is cut off.
        let digits = itoa::Buffer::new().format(1000 + micros % 1000).to_owned();
        self.line.push('.');
        self.line.push_str(&digits[1..]);
    }
}

#[cfg(test)]
mod tests;
