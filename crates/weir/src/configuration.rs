//! Reading a configuration file.

use std::path::Path;

use weir_api::{Loaded, RouterConfig};

use crate::failure::Failure;

/// Reads a configuration file; findings come rendered.
pub(crate) fn load(path: &Path) -> Result<Loaded, Failure> {
    RouterConfig::load_file(path).map_err(|error| Failure::new(error.to_string()))
}
