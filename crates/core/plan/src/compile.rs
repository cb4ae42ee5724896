//! From a configuration to a plan: llm-d's loader rules, with every finding at once and at its place.
//!
//! Order: instances, defaults, implicit producers until nothing is missing, building in the order of dependencies, profiles.

mod assemble;
mod data_layer;
mod discovery;
mod effective;
mod instances;
mod roles;
mod traps;

use weir_api::{Diagnostics, EndpointPickerConfig};

use crate::{Plan, Registry};

use self::instances::Instances;

/// What a configuration does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Whether types of stability Alpha may be used.
    pub allow_experimental: bool,
    /// What every tie and draw comes from.
    pub seed: u64,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self { allow_experimental: true, seed: 0x5eed }
    }
}

/// Compiles a configuration.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file, warnings included.
pub fn compile(config: &EndpointPickerConfig, registry: &Registry, options: CompileOptions) -> Result<Plan, Diagnostics> {
    let mut notes = Diagnostics::new();
    let mut instances = Instances::draft(config, registry, options, &mut notes);
    instances.add_defaults(config, registry, &mut notes);
    instances.add_missing_producers(registry, &mut notes);
    instances.check_references(&mut notes);
    instances.check_numbers(&mut notes);
    roles::check(config, &instances, &mut notes);
    traps::warn(config, &instances, &mut notes);
    if notes.has_errors() {
        notes.sort();
        return Err(notes);
    }
    let plan = assemble::assemble(config, instances, options, &mut notes);
    notes.sort();
    match plan {
        Some(plan) if !notes.has_errors() => Ok(Plan { warnings: notes.warnings().cloned().collect(), ..plan }),
        _ => Err(notes),
    }
}

#[cfg(test)]
mod tests;
