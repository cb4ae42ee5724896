//! One request's life: parse, resolve, produce, schedule, send, observe.
