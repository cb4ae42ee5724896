//! Block hashing and the approximate prefix index.
