//! Endpoints as people list them: llm-d's endpoints file, and static lists.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::{
    Checked, Diagnostics, EndpointUrl, Host, Span, Spanned,
    address::parse_port,
    yaml::{self, Node, Value},
};

/// The namespace of an endpoint that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// One endpoint, wherever it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointEntry {
    /// Name, unique with the namespace.
    pub name: String,
    /// Namespace, `default` unless given.
    pub namespace: String,
    /// Where it serves.
    pub url: EndpointUrl,
    /// What filters may look at.
    pub labels: BTreeMap<String, String>,
}

/// llm-d's endpoints file: `endpoints`, a list of name, namespace, address, port and labels.
///
/// Beyond llm-d, an address may be IPv6 or a host name, and a port may be a number (with a warning).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointsFile {
    /// The endpoints.
    #[serde(default)]
    pub endpoints: Vec<FileEndpoint>,
}

/// An endpoint of a file.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileEndpoint {
    /// Name, unique with the namespace.
    pub name: Spanned<String>,
    /// Namespace. Default `default`.
    #[serde(default)]
    pub namespace: Option<Spanned<String>>,
    /// IP address or host name.
    pub address: Spanned<String>,
    /// Port, in quotes.
    pub port: FilePort,
    /// What filters may look at.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A port as written: text as llm-d has it, or a number.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
pub struct FilePort(#[schemars(with = "String")] Spanned<Node>);

impl<'de> Deserialize<'de> for FilePort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl FilePort {
    fn check(&self, found: &mut Diagnostics) -> Option<u16> {
        let (text, quoted) = match &self.0.value.value {
            Value::String(text) => (text.clone(), true),
            Value::Int(n) => (n.to_string(), false),
            _ => {
                found.push(self.0.error(format!("expected a port in quotes, found {}", self.0.value.describe())));
                return None;
            }
        };
        match parse_port(&text) {
            Ok(port) if quoted => Some(port),
            Ok(port) => {
                let warning = self.0.warning("the port is a number; llm-d takes only text here");
                found.push(warning.with_help(format!("put it in quotes: \"{port}\"")));
                Some(port)
            }
            Err(error) => {
                found.push(self.0.error(error.to_string()));
                None
            }
        }
    }
}

impl EndpointsFile {
    /// Reads a file of at most 1 MiB. An empty file, or one without endpoints, is a list of none.
    ///
    /// # Errors
    /// Everything that is wrong with it; one bad entry makes the whole file bad.
    pub fn parse(text: &str) -> Result<Checked<Vec<EndpointEntry>>, Diagnostics> {
        let node = yaml::parse(text)?;
        if node.value == Value::Null {
            return Ok(Checked::default());
        }
        let (file, mut found) = yaml::decode::<Self>(&node, "", yaml::Case::Sensitive);
        let Some(file) = file.filter(|_| !found.has_errors()) else {
            return Err(found);
        };
        let mut entries = Vec::with_capacity(file.endpoints.len());
        let mut names = Names::default();
        for endpoint in &file.endpoints {
            let namespace = endpoint.namespace.as_ref().map_or(DEFAULT_NAMESPACE, |n| n.as_str());
            names.add(&endpoint.name, namespace, &mut found);
            let host = endpoint.address.parse::<Host>().map_err(|e| found.push(endpoint.address.error(e.to_string())));
            let port = endpoint.port.check(&mut found);
            if let (Ok(host), Some(port)) = (host, port) {
                entries.push(EndpointEntry {
                    name: endpoint.name.value.clone(),
                    namespace: namespace.to_owned(),
                    url: EndpointUrl::http(host, port),
                    labels: endpoint.labels.clone(),
                });
            }
        }
        Ok(Checked { value: entries, warnings: found.into_result()? })
    }
}

/// Names that were seen, and where.
#[derive(Default)]
pub(crate) struct Names {
    seen: HashMap<(String, String), Span>,
}

impl Names {
    /// Reports an empty name, one of odd characters, and one that is taken.
    pub(crate) fn add(&mut self, name: &Spanned<String>, namespace: &str, found: &mut Diagnostics) {
        if name.is_empty() || name.len() > 253 || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            let message = "an endpoint's name has 1 to 253 characters, none of them a space";
            found.push(name.error(message));
            return;
        }
        if let Some(first) = self.seen.insert((namespace.to_owned(), name.value.clone()), name.at) {
            let message = format!("two endpoints are called `{name}`; the first is on line {}", first.line);
            found.push(name.error(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let found = match EndpointsFile::parse(text) {
            Ok(checked) => checked.warnings,
            Err(found) => found,
        };
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_what_llm_d_reads() {
        let text = "endpoints:\n- name: a\n  address: 10.0.0.5\n  port: \"8000\"\n  labels: {llm-d.ai/role: decode}\n- {name: a, namespace: x, address: '::1', port: '1'}\n- {name: b, address: engine.local, port: '65535'}\n";
        let checked = EndpointsFile::parse(text).unwrap();
        assert!(checked.warnings.is_empty());
        let urls: Vec<String> = checked.value.iter().map(|e| format!("{}/{} {}", e.namespace, e.name, e.url)).collect();
        assert_eq!(urls, ["default/a http://10.0.0.5:8000", "x/a http://[::1]:1", "default/b http://engine.local:65535"]);
        assert_eq!(checked.value[0].labels["llm-d.ai/role"], "decode");
        let example = include_str!("../../../testdata/config/endpoints.yaml");
        assert_eq!(EndpointsFile::parse(example).unwrap().value.len(), 1);
    }

    #[test]
    fn nothing_is_no_endpoints() {
        for text in ["", "endpoints:\n", "endpoints: []\n", "{}"] {
            assert_eq!(EndpointsFile::parse(text).unwrap().value, []);
        }
    }

    #[test]
    fn findings_say_where() {
        for (text, want) in [
            (
                "endpoints:\n- {name: a, address: 1.2.3.4, port: 80}",
                "2:37: warning: endpoints[0].port: the port is a number; llm-d takes only text here (put it in quotes: \"80\")",
            ),
            ("endpoints:\n- {address: 1.2.3.4, port: '80'}", "2:3: error: endpoints[0]: the field `name` is missing"),
            (
                "endpoints:\n- {name: a, address: 1.2.3.400, port: '80'}",
                "2:22: error: endpoints[0].address: \"1.2.3.400\" is neither an IP address nor a host name",
            ),
            (
                "endpoints:\n- {name: a, address: 1.2.3.4, port: '0'}",
                "2:37: error: endpoints[0].port: the port \"0\" is not a number from 1 to 65535",
            ),
            (
                "endpoints:\n- {name: a, address: 1.2.3.4, port: 99999}",
                "2:37: error: endpoints[0].port: the port \"99999\" is not a number from 1 to 65535",
            ),
            (
                "endpoints:\n- {name: a, address: 1.2.3.4, port: [1]}",
                "2:37: error: endpoints[0].port: expected a port in quotes, found a list",
            ),
            (
                "endpoints:\n- {name: a, address: a, port: '1'}\n- {name: a, namespace: default, address: b, port: '1'}",
                "3:10: error: endpoints[1].name: two endpoints are called `a`; the first is on line 2",
            ),
            (
                "endpoints:\n- {name: 'a b', address: a, port: '1'}",
                "2:10: error: endpoints[0].name: an endpoint's name has 1 to 253 characters, none of them a space",
            ),
            ("endpoint: []", "1:1: error: endpoint: unknown field `endpoint` (did you mean `endpoints`?)"),
            ("- a", "1:1: error: expected a mapping, found a list"),
        ] {
            assert_eq!(found(text), [want], "{text}");
        }
    }

    #[test]
    fn one_bad_entry_spoils_all() {
        let text = "endpoints:\n- {name: a, address: a, port: '1'}\n- {name: b, address: '', port: x}";
        assert_eq!(found(text).len(), 2);
    }
}
