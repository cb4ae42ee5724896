//! Connections to endpoints.

mod conn;
mod dial;
mod exchange;
mod idle;
mod nudge;
mod outgoing;

pub(crate) use self::{
    conn::{Conn, DataError},
    dial::{dial, dial_h2},
    exchange::{Exchange, Failure, Limits, Rest},
    idle::Transport,
    outgoing::{Outgoing, Upload, UploadWatch},
};
