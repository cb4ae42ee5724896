//! A file that says how to schedule: weir's `RouterConfig`, or llm-d's `EndpointPickerConfig` by itself.

use std::path::Path;

use weir_api::{Checked, Diagnostics, EPP_KIND, EndpointPickerConfig, Loaded, Sources};

use crate::{configuration, failure::Failure};

pub(crate) enum Document {
    Router(Box<Loaded>),
    Picker { checked: Box<Checked<EndpointPickerConfig>>, sources: Sources },
}

impl Document {
    /// Reads and checks the file; findings come rendered.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text =
            std::fs::read_to_string(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
        if !is_picker_config(&text) {
            return Ok(Self::Router(Box::new(configuration::load(path)?)));
        }
        let sources = Sources::single(path.display().to_string(), text.clone());
        let checked = EndpointPickerConfig::parse(&text).map_err(|notes| Failure::new(notes.render(&sources)))?;
        Ok(Self::Picker { checked: Box::new(checked), sources })
    }

    pub(crate) fn sources(&self) -> &Sources {
        match self {
            Self::Router(loaded) => &loaded.sources,
            Self::Picker { sources, .. } => sources,
        }
    }

    pub(crate) fn warnings(&self) -> &Diagnostics {
        match self {
            Self::Router(loaded) => &loaded.warnings,
            Self::Picker { checked, .. } => &checked.warnings,
        }
    }

    /// Each pool's name and scheduling; a picker's configuration is for one pool without a name.
    pub(crate) fn schedulings(&self) -> Vec<(&str, &EndpointPickerConfig)> {
        match self {
            Self::Router(loaded) => {
                loaded.config.pools.iter().map(|pool| (pool.name.as_str(), pool.scheduling.config())).collect()
            }
            Self::Picker { checked, .. } => vec![("", &checked.value)],
        }
    }
}

/// Judged by the text, so that a document with errors is reported as what it was meant to be.
fn is_picker_config(text: &str) -> bool {
    text.lines().any(|line| line.strip_prefix("kind:").is_some_and(|kind| kind.trim().trim_matches(['"', '\'']) == EPP_KIND))
}
