//! Scrapes and decodes model-server metrics.
