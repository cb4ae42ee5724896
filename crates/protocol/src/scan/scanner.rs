//! Reading a request while it arrives.

use super::{ScanError, ScanErrorKind, Scanned, reader::Reader};
use crate::{api::Api, grpc, json::Lexer};

/// Reads a request's body as it arrives.
///
/// Give [`feed`](Self::feed) all bytes so far whenever some have come, cut anywhere, and [`finish`](Self::finish) the whole body.
/// Each byte is read once, and however a body is cut, the result, or the error, is the same. gRPC messages are read at the end.
#[derive(Debug, Clone)]
pub struct Scanner {
    lexer: Lexer,
    reader: Reader,
    /// Bytes that are known to be UTF-8 and were read.
    valid: usize,
}

impl Scanner {
    /// A request to `api` of which nothing has come yet.
    pub fn new(api: Api) -> Self {
        Self::reusing(api, Scanned::default())
    }

    /// The same, with the memory of an earlier result.
    pub fn reusing(api: Api, memory: Scanned) -> Self {
        Self { lexer: Lexer::default(), reader: Reader::new(api, memory), valid: 0 }
    }

    /// The API given at the start.
    pub fn api(&self) -> Api {
        self.reader.out.api
    }

    /// More of the body has come; `body` is everything so far.
    ///
    /// # Errors
    /// As [`scan`](super::scan). The request is lost; what is called afterwards says nothing.
    pub fn feed(&mut self, body: &[u8]) -> Result<(), ScanError> {
        if u32::try_from(body.len()).is_err() {
            return Err(ScanError { offset: 0, kind: ScanErrorKind::TooLarge });
        }
        if self.api().is_grpc() {
            return Ok(());
        }
        self.read(body)
    }

    fn read(&mut self, body: &[u8]) -> Result<(), ScanError> {
        let fresh = body.get(self.valid..).unwrap_or_default();
        let (valid, broken) = match simdutf8::compat::from_utf8(fresh) {
            Ok(_) => (fresh.len(), false),
            // A character may be cut at the end.
            Err(error) => (error.valid_up_to(), error.error_len().is_some()),
        };
        self.valid += valid;
        self.lexer.run(&body[..self.valid], &mut self.reader).map_err(|error| *error)?;
        if broken { Err(self.not_utf8()) } else { Ok(()) }
    }

    const fn not_utf8(&self) -> ScanError {
        ScanError { offset: self.valid, kind: ScanErrorKind::InvalidUtf8 }
    }

    /// The body is complete.
    ///
    /// # Errors
    /// As [`scan`](super::scan).
    pub fn finish(&mut self, body: &[u8]) -> Result<(), ScanError> {
        self.feed(body)?;
        let mut body = body;
        if self.api().is_grpc() {
            let Some(json) = grpc::read_request(self.api(), body, &mut self.reader.out)? else {
                return self.reader.out.complete(body.len());
            };
            // A JSON document inside: offsets stay those of the whole body.
            body = &body[..json.end as usize];
            self.valid = json.start as usize;
            self.lexer = Lexer::starting(self.valid);
            self.read(body)?;
        }
        if self.valid < body.len() {
            return Err(self.not_utf8());
        }
        self.lexer.finish(body, &mut self.reader).map_err(|error| *error)?;
        if self.reader.not_an_object {
            return Err(ScanError { offset: 0, kind: ScanErrorKind::NotAnObject });
        }
        self.reader.out.complete(body.len())
    }

    /// What was found. Complete after [`finish`](Self::finish).
    pub fn into_scanned(self) -> Scanned {
        self.reader.out
    }
}
