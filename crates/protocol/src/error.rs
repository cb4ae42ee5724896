//! Errors as the clients of each API expect them.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::{api::ErrorStyle, json::push_json_string, scan::ScanError};

/// The content of an error object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// For people.
    pub message: &'a str,
    /// The API's class of errors, for example `invalid_request_error`.
    pub kind: &'a str,
    /// The field that is at fault.
    pub param: Option<&'a str>,
    /// The stable reason, for programs.
    pub code: &'a str,
}

impl ErrorBody<'_> {
    /// The body of an answer with content type `application/json`: `{"error":{"message","type","param","code"}}` in OpenAI's form,
    /// `{"type":"error","error":{"type","message","code"}}` in Anthropic's, whose clients pass over the code.
    pub fn to_json(&self, style: ErrorStyle) -> Bytes {
        let mut out = Vec::with_capacity(96 + self.message.len());
        self.write(style, &mut out);
        Bytes::from(out)
    }

    /// An event that tells a client amid a stream that it ends in error.
    pub fn to_sse(&self, style: ErrorStyle) -> Bytes {
        let mut out = Vec::with_capacity(128 + self.message.len());
        if style == ErrorStyle::Anthropic {
            out.extend_from_slice(b"event: error\n");
        }
        out.extend_from_slice(b"data: ");
        self.write(style, &mut out);
        out.extend_from_slice(b"\n\n");
        Bytes::from(out)
    }

    fn write(&self, style: ErrorStyle, out: &mut Vec<u8>) {
        if style == ErrorStyle::Anthropic {
            out.extend_from_slice(b"{\"type\":\"error\",\"error\":{\"type\":");
            push_json_string(out, self.kind);
            out.extend_from_slice(b",\"message\":");
            push_json_string(out, self.message);
        } else {
            out.extend_from_slice(b"{\"error\":{\"message\":");
            push_json_string(out, self.message);
            out.extend_from_slice(b",\"type\":");
            push_json_string(out, self.kind);
            out.extend_from_slice(b",\"param\":");
            match self.param {
                Some(param) => push_json_string(out, param),
                None => out.extend_from_slice(b"null"),
            }
        }
        out.extend_from_slice(b",\"code\":");
        push_json_string(out, self.code);
        out.extend_from_slice(b"}}");
    }
}

impl ScanError {
    /// The body for a 400 answer.
    pub fn to_json(&self, style: ErrorStyle) -> Bytes {
        let message = self.to_string();
        ErrorBody { message: &message, kind: "invalid_request_error", param: self.param(), code: self.code() }.to_json(style)
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

/// Anthropic's class of errors for an HTTP status.
pub fn anthropic_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        _ => "api_error",
    }
}

/// The gRPC status for an HTTP status: gRPC's own mapping, and what it leaves to taste.
pub fn grpc_status(status: u16) -> u16 {
    match status {
        401 => 16,
        403 => 7,
        404 => 5,
        408 | 504 => 4,
        412 => 9,
        413 | 429 => 8,
        499 => 1,
        400..=498 => 3,
        502 | 503 => 14,
        _ => 13,
    }
}

/// A message as `grpc-message` carries it: percent-encoded but for printable ASCII.
pub fn grpc_message(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::Api,
        scan::{Scanned, scan},
    };

    #[test]
    fn shapes() {
        let error = ErrorBody { message: "no \"x\"\n", kind: error_kind(404), param: None, code: "model_not_found" };
        let json = r#"{"error":{"message":"no \"x\"\n","type":"not_found_error","param":null,"code":"model_not_found"}}"#;
        assert_eq!(error.to_json(ErrorStyle::OpenAi), json);
        assert_eq!(error.to_sse(ErrorStyle::OpenAi), format!("data: {json}\n\n"));
        let error = ErrorBody { kind: anthropic_kind(404), ..error };
        let json = r#"{"type":"error","error":{"type":"not_found_error","message":"no \"x\"\n","code":"model_not_found"}}"#;
        assert_eq!(error.to_json(ErrorStyle::Anthropic), json);
        assert_eq!(error.to_sse(ErrorStyle::Anthropic), format!("event: error\ndata: {json}\n\n"));
        assert_eq!((grpc_status(404), grpc_status(503), grpc_message("50 % é\n")), (5, 14, "50 %25 %C3%A9%0A".to_owned()));
    }

    #[test]
    fn a_scan_error_names_its_field() {
        let error = scan(Api::Completions, b"{\"prompt\":7}", &mut Scanned::default()).unwrap_err();
        let value: serde_json::Value = serde_json::from_slice(&error.to_json(ErrorStyle::OpenAi)).unwrap();
        assert_eq!(value["error"]["param"], "prompt");
        assert_eq!(value["error"]["code"], "invalid_type");
    }
}
