//! Token counts that a model server reports.

mod sse;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use memchr::memmem;

pub use self::{sse::SseUsage, tail::JsonUsageTail};
use crate::{
    json::{Cursor, Result},
    scan::prompt::whole_number,
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
    /// `prompt_tokens_details.cached_tokens` or `input_tokens_details.cached_tokens`: how much of
    /// the prompt the server found in its cache. `None` if it does not say.
    pub cached_tokens: Option<u64>,
}

impl Usage {
    /// Reads the object that is next, `depth` containers deep.
    fn read(cursor: &mut Cursor<'_>, depth: u32) -> Result<Self> {
        let (mut usage, mut total) = (Self::default(), None);
        cursor.object(depth, |cursor, key| {
            match key {
                b"prompt_tokens" | b"input_tokens" => usage.prompt_tokens = number(cursor, depth)?.unwrap_or(0),
                b"completion_tokens" | b"output_tokens" => usage.completion_tokens = number(cursor, depth)?.unwrap_or(0),
                b"total_tokens" => total = number(cursor, depth)?,
                b"prompt_tokens_details" | b"input_tokens_details" if cursor.next()? == b'{' => {
                    cursor.object(depth + 1, |cursor, key| {
                        match key {
                            b"cached_tokens" => usage.cached_tokens = number(cursor, depth + 1)?,
                            _ => drop(cursor.skip(depth + 1)?),
                        }
                        Ok(())
                    })?;
                }
                _ => drop(cursor.skip(depth)?),
            }
            Ok(())
        })?;
        usage.total_tokens = total.unwrap_or(usage.prompt_tokens.saturating_add(usage.completion_tokens));
        Ok(usage)
    }
}

/// A whole number, also one in a string.
fn number(cursor: &mut Cursor<'_>, depth: u32) -> Result<Option<u64>> {
    let raw = cursor.skip(depth)?.of(cursor.body());
    let raw = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
    Ok(std::str::from_utf8(raw).ok().and_then(whole_number))
}

const KEY: &[u8] = b"\"usage\"";

static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(KEY));

/// Whether `text`, a whole document, has a key `usage` with an object somewhere.
fn mentions(text: &[u8]) -> bool {
    FINDER.find_iter(text).any(|at| object_behind(text, at, false).is_some())
}

/// Where the object of the key `usage` at `at` starts, if it is one. `cut` says that bytes before
/// `text` are missing.
///
/// Inside a JSON string a quote has a backslash before it, so a hit without one is a key (or a
/// whole string), never a part of somebody's text.
fn object_behind(text: &[u8], at: usize, cut: bool) -> Option<usize> {
    let in_string = if at == 0 { cut } else { text[at - 1] == b'\\' };
    let colon = skip_space(text, at + KEY.len());
    let value = skip_space(text, colon + 1);
    (!in_string && text.get(colon) == Some(&b':') && text.get(value) == Some(&b'{')).then_some(value)
}

fn skip_space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')).count()
}
