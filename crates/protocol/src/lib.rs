//! Request and response wire formats: scanned in place, never built into a tree.
