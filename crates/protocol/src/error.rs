//! Errors as clients of OpenAI's API expect them.

use bytes::Bytes;

use crate::{json::push_json_string, scan::ScanError};

/// The content of an error object, `{"error":{"message","type","param","code"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// For people.
    pub message: &'a str,
    /// OpenAI's class of errors, for example `invalid_request_error`.
    pub kind: &'a str,
    /// The field that is at fault.
    pub param: Option<&'a str>,
    /// The stable reason, for programs.
    pub code: &'a str,
}

impl ErrorBody<'_> {
    /// The body of an answer with content type `application/json`.
    pub fn to_json(&self) -> Bytes {
        let mut out = Vec::with_capacity(96 + self.message.len());
        self.write(&mut out);
        Bytes::from(out)
    }

    /// An event that tells a client amid a stream that it ends in error.
    pub fn to_sse(&self) -> Bytes {
        let mut out = Vec::with_capacity(104 + self.message.len());
        out.extend_from_slice(b"data: ");
        self.write(&mut out);
        out.extend_from_slice(b"\n\n");
        Bytes::from(out)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"error\":{\"message\":");
        push_json_string(out, self.message);
        out.extend_from_slice(b",\"type\":");
        push_json_string(out, self.kind);
        out.extend_from_slice(b",\"param\":");
        match self.param {
            Some(param) => push_json_string(out, param),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"code\":");
        push_json_string(out, self.code);
        out.extend_from_slice(b"}}");
    }
}

impl ScanError {
    /// The body for a 400 answer.
    pub fn to_json(&self) -> Bytes {
        ErrorBody { message: &self.to_string(), kind: "invalid_request_error", param: self.param(), code: self.code() }.to_json()
    }
}

/// OpenAI's class of errors for an HTTP status.
pub fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 => "service_unavailable_error",
        _ => "server_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        route::Api,
        scan::{Scanned, scan},
    };

    #[test]
    fn shapes() {
        let error = ErrorBody { message: "no \"x\"\n", kind: error_kind(404), param: None, code: "model_not_found" };
        let json = r#"{"error":{"message":"no \"x\"\n","type":"not_found_error","param":null,"code":"model_not_found"}}"#;
        assert_eq!(error.to_json(), json);
        assert_eq!(error.to_sse(), format!("data: {json}\n\n"));
    }

    #[test]
    fn a_scan_error_names_its_field() {
        let error = scan(Api::Completions, b"{\"prompt\":7}", &mut Scanned::default()).unwrap_err();
        let value: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(value["error"]["param"], "prompt");
        assert_eq!(value["error"]["code"], "invalid_type");
    }
}
