//! Between protobuf messages and those of the state machine.

mod answer;
mod metadata;

use bytes::Bytes;
use weir_protocol_extproc::{BodyMode, Headers, Modes};

pub(crate) use self::answer::response;
pub use self::metadata::Metadata;
use crate::proto::envoy::{
    config::core::v3::HeaderMap,
    service::ext_proc::v3::{HttpHeaders, ProtocolConfiguration},
};

/// A body mode that this server does not know, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("body mode {0} is not supported; use FULL_DUPLEX_STREAMED")]
pub(crate) struct UnknownMode(i32);

/// How bodies come, as the first message says.
pub(crate) fn modes(config: Option<&ProtocolConfiguration>) -> Result<Modes, UnknownMode> {
    let Some(config) = config else { return Ok(Modes::default()) };
    let mode = |number| BodyMode::from_number(number).ok_or(UnknownMode(number));
    Ok(Modes {
        request: mode(config.request_body_mode)?,
        response: mode(config.response_body_mode)?,
        eager: config.send_body_without_waiting_for_header_response,
    })
}

/// Headers, and whether nothing follows them.
pub(crate) fn headers(message: HttpHeaders) -> (Headers, bool) {
    (fields(message.headers.unwrap_or_default()), message.end_of_stream)
}

fn fields(map: HeaderMap) -> Headers {
    let mut headers = Headers::with_capacity(map.headers.len());
    for one in map.headers {
        // Envoy uses the second form only.
        let value = if one.raw_value.is_empty() { Bytes::from(one.value) } else { one.raw_value };
        headers.push(one.key.as_bytes(), value);
    }
    headers
}
