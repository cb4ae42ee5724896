//! Filters, scorers, pickers and profiles: which endpoint.
