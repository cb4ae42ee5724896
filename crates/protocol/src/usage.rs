//! Token counts that a model server reports.

mod grpc;
mod sse;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::LazyLock;

use memchr::memmem;

pub use self::{sse::SseUsage, tail::JsonUsageTail, watch::ResponseWatch};
use crate::{
    json::{Cursor, Result},
    scan::whole_number,
};

/// The `usage` object of an answer. Fields that are absent or malformed are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// `prompt_tokens` or `input_tokens`.
    pub prompt_tokens: u64,
    /// `completion_tokens` or `output_tokens`.
    pub completion_tokens: u64,
    /// `total_tokens`; the sum of the other two if absent.
    pub total_tokens: u64,
    /// `prompt_tokens_details.cached_tokens`, `input_tokens_details.cached_tokens` or `cache_read_input_tokens`: how much of
    /// the prompt the server found in its cache. `None` if it does not say.
    pub cached_tokens: Option<u64>,
}

impl Usage {
    /// Takes over what a later report of the same answer says. Anthropic's servers report the prompt first and the answer last.
    pub fn merge(&mut self, later: Self) {
        let whole = later.prompt_tokens > 0 && later.completion_tokens > 0 && later.total_tokens > 0;
        if later.prompt_tokens > 0 {
            self.prompt_tokens = later.prompt_tokens;
        }
        if later.completion_tokens > 0 {
            self.completion_tokens = later.completion_tokens;
        }
        self.cached_tokens = later.cached_tokens.or(self.cached_tokens);
        self.total_tokens = if whole { later.total_tokens } else { self.prompt_tokens.saturating_add(self.completion_tokens) };
    }

    /// Reads the object that is next, `depth` containers deep. `None` if it says itself that it is not the last word.
    fn read(cursor: &mut Cursor<'_>, depth: u32) -> Result<Option<Self>> {
        let (mut usage, mut total, mut last) = (Self::default(), None, true);
        cursor.object(depth, |cursor, key| {
            match key {
                b"prompt_tokens" | b"input_tokens" => usage.prompt_tokens = number(cursor, depth)?.unwrap_or(0),
                b"completion_tokens" | b"output_tokens" => usage.completion_tokens = number(cursor, depth)?.unwrap_or(0),
                b"total_tokens" => total = number(cursor, depth)?,
                b"cache_read_input_tokens" | b"cached_tokens" => usage.cached_tokens = number(cursor, depth)?,
                b"prompt_tokens_details" | b"input_tokens_details" if cursor.next()? == b'{' => {
                    cursor.object(depth + 1, |cursor, key| {
                        match key {
                            b"cached_tokens" => usage.cached_tokens = number(cursor, depth + 1)?,
                            _ => drop(cursor.skip(depth + 1)?),
                        }
                        Ok(())
                    })?;
                }
                // SGLang's reports of a stream are all alike but for this.
                b"finish_reason" => last = cursor.skip(depth)?.of(cursor.body()) != b"null",
                _ => drop(cursor.skip(depth)?),
            }
            Ok(())
        })?;
        usage.total_tokens = total.unwrap_or(usage.prompt_tokens.saturating_add(usage.completion_tokens));
        Ok(last.then_some(usage))
    }
}

/// A whole number, also one in a string.
fn number(cursor: &mut Cursor<'_>, depth: u32) -> Result<Option<u64>> {
    let raw = cursor.skip(depth)?.of(cursor.body());
    let raw = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
    Ok(std::str::from_utf8(raw).ok().and_then(whole_number))
}

/// The field in which an API's servers report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Report {
    /// `usage`
    #[default]
    Usage,
    /// SGLang's `meta_info`
    MetaInfo,
}

static USAGE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"usage\""));
static META_INFO: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"meta_info\""));

impl Report {
    /// The name with its quotes.
    const fn key(self) -> &'static [u8] {
        match self {
            Self::Usage => b"\"usage\"",
            Self::MetaInfo => b"\"meta_info\"",
        }
    }

    const fn name(self) -> &'static [u8] {
        match self {
            Self::Usage => b"usage",
            Self::MetaInfo => b"meta_info",
        }
    }

    /// Whether `text`, a whole document, has such a key with an object somewhere.
    fn is_in(self, text: &[u8]) -> bool {
        let finder = match self {
            Self::Usage => &USAGE,
            Self::MetaInfo => &META_INFO,
        };
        finder.find_iter(text).any(|at| self.object_behind(text, at, false).is_some())
    }

    /// Where the object of the key at `at` starts, if it is one. `cut` says that bytes before
    /// `text` are missing.
    ///
    /// Inside a JSON string a quote has a backslash before it, so a hit without one is a key (or a
    /// whole string), never a part of somebody's text.
    fn object_behind(self, text: &[u8], at: usize, cut: bool) -> Option<usize> {
        let in_string = if at == 0 { cut } else { text[at - 1] == b'\\' };
        let colon = skip_space(text, at + self.key().len());
        let value = skip_space(text, colon + 1);
        (!in_string && text.get(colon) == Some(&b':') && text.get(value) == Some(&b'{')).then_some(value)
    }

    /// What a whole document reports: at the top, in the `response` of the responses API, or in the `message` of Anthropic's.
    fn read(self, data: &[u8]) -> Result<Option<Usage>> {
        let mut usage = None;
        let mut cursor = Cursor::new(data);
        if cursor.next()? != b'{' {
            return Ok(None);
        }
        cursor.object(1, |cursor, key| {
            let object = cursor.next()? == b'{';
            match key {
                _ if object && key == self.name() => usage = Usage::read(cursor, 2)?,
                b"response" | b"message" if object => cursor.object(2, |cursor, key| {
                    match key {
                        b"usage" if cursor.next()? == b'{' => usage = Usage::read(cursor, 3)?,
                        _ => drop(cursor.skip(2)?),
                    }
                    Ok(())
                })?,
                _ => drop(cursor.skip(1)?),
            }
            Ok(())
        })?;
        cursor.end()?;
        Ok(usage)
    }
}

fn skip_space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count()
}

/// Adds a report to what was reported before.
fn add(usage: &mut Option<Usage>, later: Usage) {
    match usage {
        Some(usage) => usage.merge(later),
        None => *usage = Some(later),
    }
}
