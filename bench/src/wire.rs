//! HTTP/1.1 as cheap as it gets: one reused buffer a connection, no header map, bodies as slices.
//!
//! Serves both ends (mock backend and load generator) so that what is measured is the proxy
//! between them. Bounded: a head larger than the buffer is an error.

use std::{io, net::SocketAddr};

use httparse::Status;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BUFFER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `content-length`, or 0 when a request has neither header.
    Length(u64),
    Chunked,
}

/// The wanted part of a response head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
}

/// One connection and what was read from it and not yet used.
pub(crate) struct Conn {
    stream: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0 })
    }

    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(addr).await?)
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// True when nothing that was read is left over: no answer came without being asked for.
    pub(crate) fn is_drained(&self) -> bool {
        self.start == self.end
    }

    /// Reads until `parse` finds a whole head; it returns the head's length and what it wants of it.
    pub(crate) async fn head<T>(&mut self, parse: impl Fn(&[u8]) -> io::Result<Option<(usize, T)>>) -> io::Result<T> {
        loop {
            if !self.is_drained()
                && let Some((length, head)) = parse(&self.buffer[self.start..self.end])?
            {
                self.start += length;
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    /// Reads one body to its end; `on_data` sees the payload in order, without chunk framing.
    pub(crate) async fn body(&mut self, framing: Framing, mut on_data: impl FnMut(&[u8])) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.exactly(length, &mut on_data).await,
            Framing::Chunked => loop {
                let size = self.chunk_size().await?;
                if size == 0 {
                    return self.trailers().await;
                }
                self.exactly(size, &mut on_data).await?;
                self.line().await?;
            },
        }
    }

    async fn exactly(&mut self, mut left: u64, on_data: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while left > 0 {
            if self.is_drained() {
                self.fill().await?;
            }
            let have = (self.end - self.start).min(usize::try_from(left).unwrap_or(usize::MAX));
            on_data(&self.buffer[self.start..self.start + have]);
            self.start += have;
            left -= have as u64;
        }
        Ok(())
    }

    async fn chunk_size(&mut self) -> io::Result<u64> {
        loop {
            match httparse::parse_chunk_size(&self.buffer[self.start..self.end]) {
                Ok(Status::Complete((length, size))) => {
                    self.start += length;
                    return Ok(size);
                }
                Ok(Status::Partial) => self.fill().await?,
                Err(_) => return Err(malformed("chunk size")),
            }
        }
    }

    async fn trailers(&mut self) -> io::Result<()> {
        while self.line().await? > 0 {}
        Ok(())
    }

    /// Skips one line and returns its length without the line end.
    async fn line(&mut self) -> io::Result<usize> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.start..self.end]) {
                self.start += at + 1;
                return Ok(at.saturating_sub(1));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        if self.is_drained() {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            if self.start == 0 {
                return Err(malformed("head larger than the buffer"));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.end += read;
                Ok(())
            }
        }
    }
}

/// For [`Conn::head`]: status and framing of a response.
pub(crate) fn response_head(bytes: &[u8]) -> io::Result<Option<(usize, ResponseHead)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    match head.parse(bytes) {
        Ok(Status::Complete(length)) => {
            let status = head.code.unwrap_or_default();
            Ok(Some((length, ResponseHead { status, framing: framing(head.headers)? })))
        }
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(malformed("response head")),
    }
}

/// For [`Conn::head`]: framing of a request, and what `pick` makes of its path and headers.
pub(crate) fn request_head<T>(
    bytes: &[u8],
    pick: impl FnOnce(&str, &[httparse::Header<'_>]) -> T,
) -> io::Result<Option<(usize, (Framing, T))>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(Status::Complete(length)) => {
            let picked = pick(head.path.unwrap_or_default(), head.headers);
            Ok(Some((length, (framing(head.headers)?, picked))))
        }
        Ok(Status::Partial) => Ok(None),
        Err(_) => Err(malformed("request head")),
    }
}

/// The value of header `name`, whatever its case.
pub(crate) fn header<'a>(headers: &[httparse::Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn framing(headers: &[httparse::Header<'_>]) -> io::Result<Framing> {
    if header(headers, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Framing::Chunked);
    }
    let Some(value) = header(headers, "content-length") else { return Ok(Framing::Length(0)) };
    let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    length.map(Framing::Length).ok_or_else(|| malformed("content-length"))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
