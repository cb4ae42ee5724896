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

/// One source of facts about endpoints.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveSource {
    /// Its name.
    pub name: String,
    /// Those that read what it brings.
    pub extractors: Vec<String>,
    /// Whether `dataLayer.injectDefaults` added it.
    pub added: bool,
    /// Why it is not started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_started: Option<&'static str>,
}

/// One datum that an instance reads.
#[derive(Clone, Debug, Serialize)]
pub struct EffectiveData {
    /// Who reads it.
    pub reader: String,
    /// What, as `dataType/producerName`.
    pub key: String,
    /// Whether it is there.
    pub produced: bool,
}

/// The whole. Written out, it is a document that comes to the same.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Effective {
    /// Gates, each `name=true` or `name=false`.
    pub gates: Vec<String>,
    /// Instances in the order of the file, then what was added.
    pub plugins: Vec<EffectivePlugin>,
    /// Profiles in order.
    pub profiles: Vec<EffectiveProfile>,
    /// The profile handler.
    pub handler: String,
    /// Sources of facts about endpoints.
    pub sources: Vec<EffectiveSource>,
    /// Where endpoints come from, if the document says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<String>,
    /// Parsers in order.
    pub parsers: Vec<String>,
    /// Flow control with its detector, as a document has it.
    pub flow_control: serde_json::Value,
    /// Who reads what from whom.
    pub data: Vec<EffectiveData>,
    /// Facts that somebody reads.
    pub reads: Vec<&'static str>,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "apiVersion: {}\nkind: {}", weir_api::EPP_API_VERSION, weir_api::EPP_KIND)?;
        writeln!(f, "featureGates: [{}]", list(&self.gates))?;
        writeln!(f, "plugins:")?;
        for plugin in &self.plugins {
            self.plugin(plugin, f)?;
        }
        writeln!(f, "schedulingProfiles:    # run by {}", self.handler)?;
        for profile in &self.profiles {
            writeln!(f, "- name: {}\n  plugins:", scalar(&profile.name))?;
            for filter in &profile.filters {
                writeln!(f, "  - {{pluginRef: {}}}", scalar(filter))?;
            }
            for (scorer, weight) in &profile.scorers {
                writeln!(f, "  - {{pluginRef: {}, weight: {weight}}}", scalar(scorer))?;
            }
            writeln!(f, "  - {{pluginRef: {}}}", scalar(&profile.picker))?;
        }
        writeln!(f, "dataLayer:\n  injectDefaults: false")?;
        if let Some(discovery) = &self.discovery {
            writeln!(f, "  discovery: {{pluginRef: {}}}", scalar(discovery))?;
        }
        writeln!(f, "  sources:{}", if self.sources.is_empty() { " []" } else { "" })?;
        for source in &self.sources {
            let extractors: Vec<String> = source.extractors.iter().map(|one| format!("{{pluginRef: {}}}", scalar(one))).collect();
            write!(f, "  - {{pluginRef: {}, extractors: [{}]}}", scalar(&source.name), extractors.join(", "))?;
            let added = source.added.then_some("added: dataLayer.injectDefaults".to_owned());
            let stopped = source.not_started.map(|why| format!("not started: {why}"));
            comment(f, added.into_iter().chain(stopped))?;
        }
        let parsers: Vec<String> = self.parsers.iter().map(|one| format!("{{pluginRef: {}}}", scalar(one))).collect();
        writeln!(f, "requestHandler: {{parsers: [{}]}}", parsers.join(", "))?;
        writeln!(f, "flowControl: {}", self.flow_control)?;
        for one in &self.data {
            let missing = if one.produced { "" } else { " (nobody produces it)" };
            writeln!(f, "# {} reads {}{missing}", one.reader, one.key)?;
        }
        writeln!(f, "# facts read: {}", if self.reads.is_empty() { "none".to_owned() } else { self.reads.join(", ") })
    }
}

impl Effective {
    fn plugin(&self, plugin: &EffectivePlugin, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "- {{name: {}, type: {}", scalar(&plugin.name), plugin.kind)?;
        if !plugin.parameters.is_null() {
            write!(f, ", parameters: {}", plugin.parameters)?;
        }
        f.write_char('}')?;
        let added = plugin.added_because.as_ref().map(|why| format!("added: {why}"));
        comment(f, added.into_iter().chain((!plugin.active).then(|| "not yet active".to_owned())))
    }
}

fn comment(f: &mut fmt::Formatter<'_>, parts: impl Iterator<Item = String>) -> fmt::Result {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { writeln!(f) } else { writeln!(f, "    # {}", parts.join("; ").replace('\n', " ")) }
}

fn list(items: &[String]) -> String {
    items.iter().map(|one| scalar(one)).collect::<Vec<_>>().join(", ")
}

/// A text as a YAML scalar: as it is where that can be nothing else.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./=".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
