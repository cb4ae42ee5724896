//! A configuration with everything that was added to it, for people to read.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::ExtensionPoint;

/// One instance.
#[derive(Clone, Debug, Serialize)]
pub struct EffectivePlugin {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Why it is there, if the configuration does not list it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added_because: Option<String>,
    /// False: accepted, does nothing yet.
    pub active: bool,
    /// Where it takes part.
    pub points: &'static [ExtensionPoint],
    /// Its parameters as written.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub parameters: serde_json::Value,
}

/// One profile.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveProfile {
    /// Its name.
    pub name: String,
    /// Filters in order.
    pub filters: Vec<String>,
    /// Scorers in order, with weights.
    pub scorers: Vec<(String, f64)>,
    /// The picker.
    pub picker: String,
}

/// The whole.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Effective {
    /// Instances in the order of the file, then what was added.
    pub plugins: Vec<EffectivePlugin>,
    /// Profiles in order.
    pub profiles: Vec<EffectiveProfile>,
    /// The profile handler.
    pub handler: String,
    /// Facts that somebody reads.
    pub reads: Vec<&'static str>,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plugins:")?;
        for plugin in &self.plugins {
            write!(f, "- {{name: {}, type: {}", plugin.name, plugin.kind)?;
            if !plugin.parameters.is_null() {
                write!(f, ", parameters: {}", plugin.parameters)?;
            }
            f.write_char('}')?;
            match (&plugin.added_because, plugin.active) {
                (Some(why), true) => writeln!(f, "    # added: {why}")?,
                (Some(why), false) => writeln!(f, "    # added: {why}; not yet active")?,
                (None, true) => writeln!(f)?,
                (None, false) => writeln!(f, "    # not yet active")?,
            }
        }
        writeln!(f, "schedulingProfiles:    # run by {}", self.handler)?;
        for profile in &self.profiles {
            writeln!(f, "- name: {}\n  plugins:", profile.name)?;
            for filter in &profile.filters {
                writeln!(f, "  - {{pluginRef: {filter}}}")?;
            }
            for (scorer, weight) in &profile.scorers {
                writeln!(f, "  - {{pluginRef: {scorer}, weight: {weight}}}")?;
            }
            writeln!(f, "  - {{pluginRef: {}}}", profile.picker)?;
        }
        writeln!(f, "# reads: {}", if self.reads.is_empty() { "nothing".to_owned() } else { self.reads.join(", ") })
    }
}
