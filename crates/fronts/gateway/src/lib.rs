//! HTTP reverse proxy with the picker in-process.
