//! Connections to endpoints.

mod conn;
mod dial;
mod exchange;
mod idle;
mod nudge;
mod outgoing;

pub(crate) use self::{
    conn::{Conn, DataError},
    dial::dial,
    exchange::{Exchange, Failure, Limits, Rest},
    idle::Transport,
    outgoing::{Outgoing, Upload, UploadWatch},
};
