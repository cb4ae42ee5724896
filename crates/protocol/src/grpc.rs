//! gRPC messages as far as they are read: length-prefixed frames, and the few fields of a protobuf message that matter.
//!
//! Only what a router needs is decoded, in place; fields that nobody asks for are passed over, unknown ones too.

mod frames;
mod request;
mod wire;

pub(crate) use self::{
    frames::Frames,
    request::{last_bytes, read_request},
    wire::{Field, Fields, Value, varint},
};
