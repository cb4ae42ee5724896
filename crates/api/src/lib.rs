//! What people write: configuration files, header names, reason codes.
