//! Where the endpoints are listed, if the configuration says so.

use weir_api::{Diagnostics, EndpointPickerConfig};

use super::assemble::Built;
use crate::{DiscoveryFile, SourceConfig};

/// The file that `dataLayer.discovery` names.
pub(super) fn discovery(config: &EndpointPickerConfig, built: &[Built], notes: &mut Diagnostics) -> Option<DiscoveryFile> {
    let file = |one: &Built| match &one.parts.source {
        Some(SourceConfig::File(file)) => Some(file.clone()),
        _ => None,
    };
    let named = config.data_layer.as_ref().and_then(|layer| layer.discovery.as_ref()).map(|one| &one.plugin_ref);
    for one in built.iter().filter(|one| one.listed && named.is_none_or(|named| named.value != one.name)) {
        if file(one).is_some() {
            let warning = one.at.warning(format!("`{}` has no effect: dataLayer.discovery does not name it", one.name));
            notes.push(warning.with_help(format!("write dataLayer: {{discovery: {{pluginRef: {}}}}}", one.name)));
        }
    }
    let named = named?;
    // That there is one of the name has been checked.
    let one = built.iter().find(|one| one.name == named.value)?;
    let found = file(one);
    if found.is_none() {
        notes.push(named.error(format!("`{named}` finds no endpoints")).with_help("name a plugin of type file-discovery"));
    }
    found
}
