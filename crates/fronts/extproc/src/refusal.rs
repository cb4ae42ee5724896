//! Tells clients why they are not served.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_TYPE, RETRY_AFTER},
};
use weir_api::{
    ErrorFormat, Reason,
    headers::{REQUEST_DROPPED_REASON, WEIR_REASON},
};
use weir_protocol::{ErrorBody, ErrorStyle, anthropic_kind, grpc_status};
use weir_protocol_extproc::Immediate;
use weir_router::Refusal;

const X_DROPPED_REASON: HeaderName = HeaderName::from_static(REQUEST_DROPPED_REASON);
const X_WEIR_REASON: HeaderName = HeaderName::from_static(WEIR_REASON);

/// The proxy's answer to a client whose request is refused.
pub(crate) fn immediate(refusal: &Refusal, format: ErrorFormat, style: ErrorStyle) -> Immediate {
    let (status, reason) = (refusal.outcome.status, refusal.outcome.reason);
    let (kind, body) = match format {
        // It becomes the message of the status.
        ErrorFormat::Json if style == ErrorStyle::Grpc => ("text/plain", Bytes::copy_from_slice(refusal.message.as_bytes())),
        ErrorFormat::Json => {
            let kind = if style == ErrorStyle::Anthropic { anthropic_kind(status) } else { reason.error_type() };
            let error = ErrorBody { message: &refusal.message, kind, param: refusal.param, code: reason.as_str() };
            ("application/json", error.to_json(style))
        }
        ErrorFormat::Plain => ("text/plain", plain(status, &refusal.message)),
    };
    let mut headers =
        vec![(CONTENT_TYPE, HeaderValue::from_static(kind)), (X_WEIR_REASON, HeaderValue::from_static(reason.as_str()))];
    headers.extend(reason.dropped_reason().map(|dropped| (X_DROPPED_REASON, HeaderValue::from_static(dropped))));
    headers.extend(refusal.retry_after.map(|after| (RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)))));
    Immediate {
        status,
        headers,
        body,
        grpc_status: (style == ErrorStyle::Grpc).then(|| grpc_status(status).into()),
        details: reason.as_str(),
    }
}

/// A refusal that the router did not describe.
pub(crate) fn refusal(reason: Reason) -> Refusal {
    let message = match reason {
        Reason::BodyTooLarge => "The request's body is larger than this router allows.",
        _ => "The router failed to serve the request.",
    };
    Refusal::new(reason, message)
}

fn plain(status: u16, message: &str) -> Bytes {
    let code = match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        412 => "PreconditionFailed",
        429 => "ResourceExhausted",
        400..=499 => "BadRequest",
        503 => "ServiceUnavailable",
        _ => "Internal",
    };
    format!("inference error: {code} - {message}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(answer: &'a Immediate, name: &str) -> Option<&'a str> {
        answer.headers.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.to_str().ok())
    }

    #[test]
    fn a_refusal_says_why_in_both_forms() {
        let refusal = Refusal::new(Reason::NoEndpoints, "nobody is there");
        let json = immediate(&refusal, ErrorFormat::Json, ErrorStyle::OpenAi);
        assert_eq!((json.status, json.grpc_status), (503, None));
        assert_eq!(value(&json, "x-llm-d-request-dropped-reason"), Some("rejected-no-endpoints"));
        assert_eq!(value(&json, "x-weir-reason"), Some("no_endpoints"));
        assert_eq!(value(&json, "retry-after"), Some("1"));
        assert!(json.body.starts_with(b"{\"error\":{\"message\":\"nobody is there\""));
        let plain = immediate(&refusal, ErrorFormat::Plain, ErrorStyle::Grpc);
        assert_eq!(plain.body, "inference error: ServiceUnavailable - nobody is there");
        assert_eq!((value(&plain, "content-type"), plain.grpc_status), (Some("text/plain"), Some(14)));
        let grpc = immediate(&refusal, ErrorFormat::Json, ErrorStyle::Grpc);
        assert_eq!((grpc.body.as_ref(), grpc.grpc_status), (&b"nobody is there"[..], Some(14)));
        let anthropic = immediate(&refusal, ErrorFormat::Json, ErrorStyle::Anthropic);
        assert!(anthropic.body.starts_with(b"{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\""));
        let bad = immediate(&Refusal::new(Reason::InvalidJson, "x"), ErrorFormat::Plain, ErrorStyle::OpenAi);
        assert_eq!(
            (bad.body.as_ref(), value(&bad, "x-llm-d-request-dropped-reason")),
            (&b"inference error: BadRequest - x"[..], None)
        );
    }
}
