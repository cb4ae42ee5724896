//! A vLLM-compatible HTTP server over the virtual-time model server.
