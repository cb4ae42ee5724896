//! Endpoints and what is known of them now.
