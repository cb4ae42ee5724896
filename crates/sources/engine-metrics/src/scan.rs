//! Reads the wanted series of a metrics page, line by line.

use std::borrow::Cow;

use memchr::{memchr, memchr2};
use weir_pool::{LoraState, Scrape};

use crate::EngineMapping;

#[derive(Clone, Copy, Debug)]
enum Role {
    Waiting,
    Running,
    KvUsage,
    Lora,
    CacheInfo,
    BlockSize,
    NumBlocks,
}

const ROLES: usize = 7;
/// Most custom numbers of one engine; their places follow those of the roles.
const MAX_CUSTOM: usize = 32;
const PLACES: usize = ROLES + MAX_CUSTOM;

const LORA: usize = Role::Lora as usize;

/// One series to look for. Two roles may want the same family with other labels.
#[derive(Debug)]
struct Wanted {
    family: Vec<u8>,
    labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// Its role, or behind the roles the place of a custom number.
    place: usize,
}

/// What to look for, arranged so that most lines are passed over after their first bytes.
#[derive(Debug)]
pub(crate) struct Scanner {
    wanted: Vec<Wanted>,
    /// What all wanted families begin with.
    prefix: Vec<u8>,
    /// Bytes that may follow the prefix.
    next: [bool; 256],
    block_size_label: Option<Vec<u8>>,
    num_blocks_label: Option<Vec<u8>>,
    custom: usize,
}

/// The best series so far for one role.
#[derive(Clone, Copy)]
struct Found<'p> {
    value: f64,
    timestamp: f64,
    labels: &'p [u8],
}

impl Scanner {
    pub(crate) fn new(mapping: &EngineMapping) -> Self {
        let roles = [
            (&mapping.queued, Role::Waiting),
            (&mapping.running, Role::Running),
            (&mapping.kv_usage, Role::KvUsage),
            (&mapping.lora, Role::Lora),
            (&mapping.cache_info, Role::CacheInfo),
            (&mapping.cache_block_size, Role::BlockSize),
            (&mapping.cache_num_blocks, Role::NumBlocks),
        ];
        let roles = roles.into_iter().filter_map(|(spec, role)| Some((spec.as_ref()?, role as usize)));
        let custom = mapping.custom.iter().take(MAX_CUSTOM).zip(ROLES..).map(|((_, spec), place)| (spec, place));
        let wanted: Vec<Wanted> = roles
            .chain(custom)
            .map(|(spec, place)| {
                let labels = spec.labels.iter().map(|(name, value)| (name.clone().into(), value.clone().into())).collect();
                Wanted { family: spec.family.clone().into(), labels, place }
            })
            .collect();
        let mut prefix = wanted.first().map(|first| first.family.clone()).unwrap_or_default();
        for wanted in &wanted {
            let common = prefix.iter().zip(&wanted.family).take_while(|(a, b)| a == b).count();
            prefix.truncate(common);
        }
        let mut next = [false; 256];
        for wanted in &wanted {
            // A family that is the prefix ends there.
            let possible = wanted.family.get(prefix.len()..=prefix.len()).unwrap_or(b"{ \t");
            for byte in possible {
                next[usize::from(*byte)] = true;
            }
        }
        let bytes = |label: &Option<String>| label.clone().map(String::into_bytes);
        Self {
            wanted,
            prefix,
            next,
            block_size_label: bytes(&mapping.cache_block_size_label),
            num_blocks_label: bytes(&mapping.cache_num_blocks_label),
            custom: mapping.custom.len().min(MAX_CUSTOM),
        }
    }

    pub(crate) fn scan(&self, page: &[u8]) -> Scrape {
        if self.wanted.is_empty() {
            return Scrape::default();
        }
        let mut found: [Option<Found<'_>>; PLACES] = [None; PLACES];
        let mut rest = page;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if line.starts_with(&self.prefix) && line.get(self.prefix.len()).is_some_and(|byte| self.next[usize::from(*byte)]) {
                self.line(line, &mut found);
            }
        }
        self.collect(&found)
    }

    fn line<'p>(&self, line: &'p [u8], found: &mut [Option<Found<'p>>; PLACES]) {
        // Parsed at most once, however many roles share the family.
        let mut series = None;
        for wanted in &self.wanted {
            if !line.starts_with(&wanted.family) || !matches!(line.get(wanted.family.len()), Some(b'{' | b' ' | b'\t')) {
                continue;
            }
            if series.is_none() {
                series = parse(line, wanted.family.len());
            }
            let Some(new) = series else { return };
            if !wanted.labels.iter().all(|(name, value)| label(new.labels, name).is_some_and(|found| *unescape(found) == **value))
            {
                continue;
            }
            let slot = &mut found[wanted.place];
            let better = match (&slot, wanted.place) {
                (None, _) => true,
                (Some(old), LORA) => new.value > old.value || old.value.is_nan(),
                (Some(old), _) => new.timestamp > old.timestamp,
            };
            if better {
                *slot = Some(new);
            }
        }
    }

    fn collect(&self, found: &[Option<Found<'_>>; PLACES]) -> Scrape {
        let count = |role: Role| found[role as usize].and_then(|found| to_count(found.value));
        let info = |name: &Option<Vec<u8>>| {
            let value = label(found[Role::CacheInfo as usize]?.labels, name.as_ref()?)?;
            to_count(to_number(value)?)
        };
        Scrape {
            waiting: count(Role::Waiting),
            running: count(Role::Running),
            kv_usage: found[Role::KvUsage as usize].map(|found| found.value).filter(|value| value.is_finite()),
            block_size_tokens: info(&self.block_size_label).or_else(|| count(Role::BlockSize)),
            num_blocks: info(&self.num_blocks_label).or_else(|| count(Role::NumBlocks)),
            lora: found[Role::Lora as usize].map(|found| LoraState {
                active: names(label(found.labels, b"running_lora_adapters")),
                waiting: names(label(found.labels, b"waiting_lora_adapters")),
                max: label(found.labels, b"max_lora").and_then(to_number).and_then(to_count).unwrap_or(0),
            }),
            custom: found[ROLES..][..self.custom].iter().map(|found| found.map(|found| found.value)).collect(),
        }
    }
}

/// One series of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<'p> {
    pub(crate) value: f64,
    labels: &'p [u8],
}

impl Series<'_> {
    /// Whether it has this label.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        label(self.labels, name).is_some()
    }

    /// Whether it has this label with this value.
    pub(crate) fn is(&self, name: &[u8], value: &[u8]) -> bool {
        label(self.labels, name).is_some_and(|found| *unescape(found) == *value)
    }
}

/// The series of one family, in their order.
pub(crate) fn series<'p>(page: &'p [u8], family: &'p [u8]) -> impl Iterator<Item = Series<'p>> {
    let named = move |line: &&[u8]| line.starts_with(family) && matches!(line.get(family.len()), Some(b'{' | b' ' | b'\t'));
    let lines = page.split(|byte| *byte == b'\n').filter(named);
    lines.filter_map(move |line| parse(line, family.len())).map(|found| Series { value: found.value, labels: found.labels })
}

/// Takes a sample line apart: labels (without braces), value, timestamp (negative infinity if there is none).
fn parse(line: &[u8], name_len: usize) -> Option<Found<'_>> {
    let rest = line.get(name_len..)?;
    let (labels, rest) = match rest.strip_prefix(b"{") {
        Some(inside) => {
            let end = closing_brace(inside)?;
            (inside.get(..end)?, inside.get(end + 1..)?)
        }
        None => (&[][..], rest),
    };
    let mut words = rest.split(|byte| matches!(byte, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let value = to_number(words.next()?)?;
    let timestamp = words.next().and_then(to_number).filter(|at| !at.is_nan()).unwrap_or(f64::NEG_INFINITY);
    Some(Found { value, timestamp, labels })
}

/// Position of the `}` that is in no quotes.
fn closing_brace(labels: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'}', labels.get(at..)?)?;
        if labels.get(at) == Some(&b'}') {
            return Some(at);
        }
        at += 1;
        at += closing_quote(labels.get(at..)?)? + 1;
    }
}

/// Position of the `"` that is not escaped.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// The value of a label, still escaped.
fn label<'p>(labels: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let mut rest = labels;
    loop {
        rest = rest.trim_ascii_start();
        let equals = memchr(b'=', rest)?;
        let key = rest.get(..equals)?.trim_ascii();
        let quoted = rest.get(equals + 1..)?.trim_ascii_start().strip_prefix(b"\"")?;
        let end = closing_quote(quoted)?;
        if key == name {
            return quoted.get(..end);
        }
        rest = quoted.get(end + 1..)?.trim_ascii_start();
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
}

fn unescape(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'\\', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => plain.push(b'\n'),
                Some(other) => plain.push(*other),
                None => plain.push(b'\\'),
            },
            other => plain.push(*other),
        }
    }
    Cow::Owned(plain)
}

/// A comma-separated list, trimmed, without empty entries.
fn names(value: Option<&[u8]>) -> Vec<String> {
    let Some(value) = value else { return Vec::new() };
    String::from_utf8_lossy(&unescape(value))
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn to_number(word: &[u8]) -> Option<f64> {
    // `f64::from_str` also reads what Prometheus writes for the special values: `NaN`, `+Inf`, `-Inf`.
    std::str::from_utf8(word).ok()?.trim().parse().ok()
}

/// A count; NaN is none, what does not fit is cut off.
fn to_count(value: f64) -> Option<u32> {
    // `as` saturates at both ends.
    if value.is_nan() { None } else { Some(value as u32) }
}

#[cfg(test)]
mod tests;
