//! Usage in a stream of server-sent events.

use memchr::memchr;

use super::{Report, Usage, add};

/// Longer lines and events count, but are not searched.
const MAX_LINE: usize = 64 * 1024;

/// Watches a streamed answer: counts its events and merges the usages reported.
///
/// Feed it the bytes as they come, cut anywhere. It looks for line ends and reads JSON only in
/// events that contain a `usage` object. Holds at most 128 KiB, and usually nothing: a line or
/// event that lies whole in one chunk is read where it is.
///
/// Lines end with LF or CRLF; several `data` lines of one event are one document; the space after
/// `data:` is optional (WHATWG HTML, server-sent events).
#[derive(Debug, Clone, Default)]
pub struct SseUsage {
    report: Report,
    usage: Option<Usage>,
    events: u64,
    done: bool,
    /// The start of a line whose end has not come yet, up to one byte above the limit.
    line: Vec<u8>,
    event: Event,
}

/// The event whose blank line has not come yet.
#[derive(Debug, Clone, Default)]
struct Event {
    /// Its data lines joined by LF, up to the limit.
    data: Vec<u8>,
    lines: u32,
    too_long: bool,
}

impl SseUsage {
    /// Starts at the beginning of a body.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn of(report: Report) -> Self {
        Self { report, ..Self::default() }
    }

    /// The next bytes of the body.
    pub fn feed(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = memchr(b'\n', rest) {
            let (head, tail) = (&rest[..end], &rest[end + 1..]);
            if self.line.is_empty() {
                self.read_line(head, tail);
            } else {
                self.keep(head);
                let mut line = std::mem::take(&mut self.line);
                self.read_line(&line, tail);
                line.clear();
                self.line = line;
            }
            rest = tail;
        }
        self.keep(rest);
    }

    /// The body has ended, perhaps without its last line end. Returns the usage.
    pub fn finish(&mut self) -> Option<Usage> {
        if !self.line.is_empty() {
            self.feed(b"\n");
        }
        self.end_event();
        self.usage
    }

    /// What was reported so far.
    pub fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Events with data so far, `[DONE]` not counted. An event counts from its first line on.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether `[DONE]` has come.
    pub fn done(&self) -> bool {
        self.done
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.line.capacity() + self.event.data.capacity()
    }

    fn keep(&mut self, part: &[u8]) {
        let room = (MAX_LINE + 1).saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..part.len().min(room)]);
    }

    /// A whole line; `next` is what is known of the body behind it.
    fn read_line(&mut self, line: &[u8], next: &[u8]) {
        let too_long = line.len() > MAX_LINE;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            self.end_event();
            return;
        }
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let data = data.strip_prefix(b" ").unwrap_or(data);
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        if self.event.lines == 0 && !data.is_empty() {
            self.events += 1;
        }
        if too_long {
            self.event.lines += 1;
            self.event.too_long = true;
            return;
        }
        self.search(data);
        let ends_here = self.event.lines == 0 && (next.starts_with(b"\n") || next.starts_with(b"\r\n"));
        if !ends_here && !data.is_empty() {
            self.event.push(data);
        }
    }

    fn end_event(&mut self) {
        if self.event.lines > 1 && !self.event.too_long {
            let data = std::mem::take(&mut self.event.data);
            self.search(&data);
            self.event.data = data;
        }
        self.event.data.clear();
        self.event.lines = 0;
        self.event.too_long = false;
    }

    fn search(&mut self, data: &[u8]) {
        if self.report.is_in(data)
            && let Ok(Some(usage)) = self.report.read(data)
        {
            add(&mut self.usage, usage);
        }
    }
}

impl Event {
    fn push(&mut self, data: &[u8]) {
        self.lines += 1;
        if self.data.len() + 1 + data.len() > MAX_LINE {
            self.too_long = true;
        }
        if !self.too_long {
            if self.lines > 1 {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        }
    }
}
