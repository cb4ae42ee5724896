//! Reads one HTTP/1.1 response out of a buffer that fills up: no socket, no copy of the body.

use std::ops::Range;

use memchr::memchr;

/// Longest head, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Longest line that announces a chunk, in bytes.
const MAX_CHUNK_LINE_BYTES: usize = 256;

/// Why bytes are not a response that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResponseError {
    #[error("the answer is not HTTP/1.1")]
    Malformed,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the connection closed in the middle of the answer")]
    CutOff,
}

/// A response that is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Where the body lies in the buffer.
    pub(crate) body: Range<usize>,
    /// Whether the connection can be used again.
    pub(crate) keep_alive: bool,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// It ends here.
    Until(usize),
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    keep_alive: bool,
    body: Body,
}

/// Where reading stands. Feed it the same buffer, fuller each time.
#[derive(Debug)]
pub(crate) struct ResponseReader {
    limit: usize,
    head: Option<Head>,
    /// First byte that was not looked at yet.
    at: usize,
    body: Range<usize>,
}

impl ResponseReader {
    /// Reads a response whose body, with the framing, has at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, head: None, at: 0, body: 0..0 }
    }

    /// Bytes the buffer needs in all to hold the answer, if that is known.
    pub(crate) fn wanted(&self) -> Option<usize> {
        match self.head?.body {
            Body::Until(end) => Some(end),
            Body::Chunked | Body::UntilClose => None,
        }
    }

    /// Goes on; `buffer` is everything received so far. `None`: more is needed. Chunks are moved together within the buffer.
    pub(crate) fn advance(&mut self, buffer: &mut [u8]) -> Result<Option<Response>, ResponseError> {
        let head = match self.head {
            Some(head) => head,
            None => match self.read_head(buffer)? {
                Some(head) => head,
                None => return Ok(None),
            },
        };
        let done = match head.body {
            Body::Until(end) => {
                self.body.end = end.min(buffer.len());
                buffer.len() >= end
            }
            Body::Chunked => self.read_chunks(buffer)?,
            Body::UntilClose => {
                self.body.end = buffer.len();
                false
            }
        };
        if self.body.start.saturating_add(self.limit) < buffer.len() {
            return Err(ResponseError::TooLarge(self.limit));
        }
        // Bytes after the answer were not asked for: such a connection is not used again.
        let exact = match head.body {
            Body::Until(end) => buffer.len() == end,
            Body::Chunked => buffer.len() == self.at,
            Body::UntilClose => false,
        };
        Ok(done.then(|| Response { status: head.status, body: self.body.clone(), keep_alive: head.keep_alive && exact }))
    }

    /// The peer closed the connection.
    pub(crate) fn closed(&self) -> Result<Response, ResponseError> {
        match self.head {
            Some(Head { status, body: Body::UntilClose, .. }) => {
                Ok(Response { status, body: self.body.clone(), keep_alive: false })
            }
            _ => Err(ResponseError::CutOff),
        }
    }

    fn read_head(&mut self, buffer: &[u8]) -> Result<Option<Head>, ResponseError> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut parsed = httparse::Response::new(&mut headers);
            let unread = buffer.get(self.at..).unwrap_or_default();
            let len = match parsed.parse(unread).map_err(|_| ResponseError::Malformed)? {
                httparse::Status::Complete(len) => len,
                httparse::Status::Partial if unread.len() > MAX_HEAD_BYTES => return Err(ResponseError::Malformed),
                httparse::Status::Partial => return Ok(None),
            };
            self.at += len;
            let status = parsed.code.unwrap_or(0);
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let head = self.framing(status, parsed.version == Some(1), parsed.headers)?;
            self.body = self.at..self.at;
            self.head = Some(head);
            return Ok(Some(head));
        }
    }

    fn framing(&self, status: u16, one_one: bool, headers: &[httparse::Header<'_>]) -> Result<Head, ResponseError> {
        let mut keep_alive = one_one;
        let mut length = None;
        let mut chunked = false;
        for header in headers {
            let name = header.name;
            if name.eq_ignore_ascii_case("content-length") {
                let text = std::str::from_utf8(header.value).map_err(|_| ResponseError::Malformed)?.trim();
                let value = text.parse::<usize>().map_err(|_| ResponseError::Malformed)?;
                if length.replace(value).is_some_and(|before| before != value) {
                    return Err(ResponseError::Malformed);
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if !header.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseError::Malformed);
                }
                chunked = true;
            } else if name.eq_ignore_ascii_case("connection") {
                for word in header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if word.eq_ignore_ascii_case(b"close") {
                        keep_alive = false;
                    } else if word.eq_ignore_ascii_case(b"keep-alive") && !one_one {
                        keep_alive = true;
                    }
                }
            }
        }
        let body = if matches!(status, 204 | 304) {
            Body::Until(self.at)
        } else if chunked {
            Body::Chunked
        } else if let Some(length) = length {
            if length > self.limit {
                return Err(ResponseError::TooLarge(self.limit));
            }
            Body::Until(self.at + length)
        } else {
            Body::UntilClose
        };
        Ok(Head { status, keep_alive, body })
    }

    /// Takes all chunks that are complete; true after the last one and its trailers.
    fn read_chunks(&mut self, buffer: &mut [u8]) -> Result<bool, ResponseError> {
        loop {
            let unread = buffer.get(self.at..).unwrap_or_default();
            let Some(line) = line(unread)? else { return Ok(false) };
            let size = chunk_size(unread.get(..line).unwrap_or_default()).ok_or(ResponseError::Malformed)?;
            if size > self.limit {
                return Err(ResponseError::TooLarge(self.limit));
            }
            let start = self.at + line + 1;
            if size == 0 {
                return self.read_trailers(buffer, start);
            }
            let end = start + size;
            // The line end after the data must be here too.
            match buffer.get(end..end + 2) {
                Some(b"\r\n") => self.at = end + 2,
                Some(_) => return Err(ResponseError::Malformed),
                None => return Ok(false),
            }
            if self.body.is_empty() {
                // Most pages are one chunk: it stays where it is.
                self.body = start..end;
            } else {
                buffer.copy_within(start..end, self.body.end);
                self.body.end += size;
            }
        }
    }

    fn read_trailers(&mut self, buffer: &[u8], start: usize) -> Result<bool, ResponseError> {
        let mut at = start;
        loop {
            let unread = buffer.get(at..).unwrap_or_default();
            if at - start > MAX_HEAD_BYTES {
                return Err(ResponseError::Malformed);
            }
            let Some(line) = line(unread)? else { return Ok(false) };
            at += line + 1;
            if unread.get(..line).unwrap_or_default().trim_ascii().is_empty() {
                self.at = at;
                return Ok(true);
            }
        }
    }
}

/// Position of the line's end.
fn line(unread: &[u8]) -> Result<Option<usize>, ResponseError> {
    let window = unread.get(..MAX_CHUNK_LINE_BYTES.min(unread.len())).unwrap_or_default();
    match memchr(b'\n', window) {
        None if unread.len() >= MAX_CHUNK_LINE_BYTES => Err(ResponseError::Malformed),
        end => Ok(end),
    }
}

fn chunk_size(line: &[u8]) -> Option<usize> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    // Fewer digits than a usize has, so that it cannot overflow.
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    digits.iter().try_fold(0, |size, digit| Some(size << 4 | (*digit as char).to_digit(16)? as usize))
}

#[cfg(test)]
mod tests;
