//! Feature gates: switches for what is not everybody's default yet.

use crate::{Diagnostics, Spanned, nearest};

/// Every gate's name.
pub const GATES: &[&str] = &["flowControl", "haPopulateNonLeaderDatastore"];

/// Which gates are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureGates {
    /// `flowControl`: queues and priorities. Default closed.
    pub flow_control: bool,
    /// `haPopulateNonLeaderDatastore`: standbys keep watching. Default open.
    pub ha_populate_non_leader_datastore: bool,
}

impl Default for FeatureGates {
    fn default() -> Self {
        Self { flow_control: false, ha_populate_non_leader_datastore: true }
    }
}

impl FeatureGates {
    /// Reads `name`, `name=true` and `name=false`; later entries win. Values may be 1, t, true, 0, f or false in any case.
    ///
    /// # Errors
    /// An unknown gate or another value.
    pub fn parse(entries: &[Spanned<String>]) -> Result<Self, Diagnostics> {
        let mut gates = Self::default();
        let mut found = Diagnostics::new();
        for entry in entries {
            let (name, value) = entry.split_once('=').unwrap_or((entry, "true"));
            let (name, value) = (name.trim(), value.trim().to_ascii_lowercase());
            let on = match value.as_str() {
                "1" | "t" | "true" => Some(true),
                "0" | "f" | "false" => Some(false),
                _ => None,
            };
            let gate = match name {
                "flowControl" => &mut gates.flow_control,
                "haPopulateNonLeaderDatastore" => &mut gates.ha_populate_non_leader_datastore,
                _ => {
                    let error = entry.error(format!("unknown feature gate `{name}`"));
                    found.push(match nearest(name, GATES.iter().copied()) {
                        Some(gate) => error.with_help(format!("did you mean `{gate}`?")),
                        None => error.with_help(format!("the gates are {}", GATES.join(", "))),
                    });
                    continue;
                }
            };
            match on {
                Some(on) => *gate = on,
                None => found.push(
                    entry
                        .error(format!("the feature gate `{name}` cannot be {value:?}"))
                        .with_help(format!("write {name}=true or {name}=false")),
                ),
            }
        }
        if found.is_empty() { Ok(gates) } else { Err(found) }
    }
}
