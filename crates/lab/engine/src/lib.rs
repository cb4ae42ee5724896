//! A model server in virtual time: batching, KV cache, latency model.
