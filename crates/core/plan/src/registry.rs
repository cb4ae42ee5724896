//! Plugin types: what a configuration may name.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::de::DeserializeOwned;
use weir_api::{Diagnostic, Diagnostics, Params, Severity};

use crate::{Column, Columns, DataKey, Decider, Parts, PromptStream, TopologyLabels};

/// How settled a plugin type is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stability {
    /// May change or go; llm-d starts it only with `--allow-experimental-plugins`.
    Alpha,
    /// Changes are announced.
    Beta,
}

/// Where a plugin takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtensionPoint {
    /// Chooses profiles.
    ProfileHandler,
    /// Reads headers before a request is admitted.
    RequestHeader,
    /// Narrows the candidates of all profiles.
    Screener,
    /// Admits or refuses requests.
    Admission,
    /// Says whether a request is to be served by several workers.
    Decider,
    /// Removes candidates.
    Filter,
    /// Scores candidates.
    Scorer,
    /// Chooses among scored candidates.
    Picker,
    /// Finds facts about a request.
    DataProducer,
    /// Learns of decisions.
    PreRequest,
    /// Adds response headers.
    ResponseHeader,
    /// Reports a number at the end of a response.
    Reporter,
    /// Reads requests.
    Parser,
    /// Brings facts about endpoints.
    DataSource,
    /// Reads what a source brings.
    Extractor,
    /// Takes part in flow control.
    FlowControl,
}

/// A name that still works, and what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deprecation {
    /// The old name.
    pub alias: &'static str,
    /// llm-d version that deprecated it.
    pub since: &'static str,
    /// llm-d version that removes it.
    pub removed_in: &'static str,
}

/// A type that configurations may name.
pub struct PluginType {
    /// Its name.
    pub name: &'static str,
    /// Old names.
    pub deprecated: &'static [Deprecation],
    /// How settled it is.
    pub stability: Stability,
    /// Where it takes part.
    pub points: &'static [ExtensionPoint],
    /// One sentence for the reference.
    pub summary: &'static str,
    /// False: it is accepted, and does nothing yet.
    pub active: bool,
    /// Reads the parameters of one instance.
    pub draft: fn(&mut PluginContext<'_>) -> Result<Draft, Diagnostic>,
    /// JSON Schema of the parameters.
    pub parameters: fn() -> schemars::Schema,
}

impl fmt::Debug for PluginType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginType").field("name", &self.name).field("active", &self.active).finish_non_exhaustive()
    }
}

/// What an instance's parameters are read with.
#[derive(Debug)]
pub struct PluginContext<'a> {
    /// The instance's name.
    pub name: &'a str,
    params: &'a Params,
    notes: &'a mut Diagnostics,
}

impl<'a> PluginContext<'a> {
    /// A context for one instance; warnings, and all errors but the returned one, are added to `notes`.
    pub fn new(name: &'a str, params: &'a Params, notes: &'a mut Diagnostics) -> Self {
        Self { name, params, notes }
    }

    /// Reads the parameters; missing parameters read as an empty object.
    pub fn params<T: DeserializeOwned>(&mut self) -> Result<T, Diagnostic> {
        let mut found = Diagnostics::new();
        let params = self.params.decode_noting(&mut found);
        let mut first = None;
        for one in found.iter() {
            if first.is_none() && one.severity == Severity::Error {
                first = Some(one.clone());
            } else {
                self.notes.push(one.clone());
            }
        }
        match (params, first) {
            (Some(params), None) => Ok(params),
            (_, first) => Err(first.unwrap_or_else(|| self.params.error("cannot be read"))),
        }
    }

    /// An error about the parameters as a whole.
    pub fn error(&self, message: impl Into<String>) -> Diagnostic {
        self.params.error(message)
    }

    /// An error about one field, given as a dotted path such as `sessionIdConfig.sources`.
    pub fn error_at(&self, field: &str, message: impl Into<String>) -> Diagnostic {
        self.params.error_at(field, message)
    }

    /// Another instance that this one works with, named by a field; it is built before.
    pub fn reference(&self, field: &str, name: impl Into<String>) -> Reference {
        let name = name.into();
        let missing = self.error_at(field, format!("`{}` depends on `{name}`, and no plugin is named so", self.name));
        Reference { name, missing }
    }

    /// A number of endpoints, by its key `attribute/producer`, that a field names.
    pub fn number(&self, field: &str, key: impl Into<String>) -> Reference {
        let name = key.into();
        let missing = self.error_at(field, format!("`{}` reads {name}, which no plugin produces", self.name));
        Reference { name, missing }
    }

    /// Adds a warning about the parameters as a whole.
    pub fn warn(&mut self, message: impl Into<String>) {
        self.notes.push(Diagnostic::warning(self.params.at(), self.params.path(), message));
    }
}

/// Data that an instance consumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub key: DataKey,
    /// Name of the instance that produces it.
    pub producer: String,
    /// Required: its producer is created if missing. Optional: used if there.
    pub required: bool,
    /// Type of the producer that is created if it is missing and `producer` is named like that type.
    pub creates: &'static str,
}

impl Need {
    /// Required data; `producer` unset means the default producer.
    pub fn required(key: DataKey, producer: Option<&str>) -> Self {
        let creates = key.default_producer();
        Self { key, producer: producer.unwrap_or(creates).to_owned(), required: true, creates }
    }

    /// Data that is used if there.
    pub fn optional(key: DataKey, producer: Option<&str>) -> Self {
        Self { required: false, ..Self::required(key, producer) }
    }
}

/// Another instance, or a number, that an instance works with.
#[derive(Clone, Debug)]
pub struct Reference {
    pub(crate) name: String,
    /// What is said if there is nothing of that name.
    pub(crate) missing: Diagnostic,
}

/// What a data source delivers, and what an extractor can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A page of metrics in Prometheus text format.
    MetricsPage,
    /// The list of an engine's models.
    ModelList,
    /// Endpoints that come, change and go.
    EndpointEvents,
    /// Kubernetes objects that come, change and go.
    KubernetesObjects,
}

/// Data that an instance produces, under its own name.
pub type Offer = DataKey;

type Build = Box<dyn FnOnce(&Wiring<'_>) -> Result<Parts, Diagnostic>>;

/// An instance whose parameters are read and whose neighbours are not known yet.
pub struct Draft {
    pub(crate) needs: Vec<Need>,
    pub(crate) offers: Vec<Offer>,
    pub(crate) references: Vec<Reference>,
    /// Numbers of endpoints that it reads.
    pub(crate) numbers: Vec<Reference>,
    /// Numbers of endpoints that it finds, by their keys.
    pub(crate) finds: Vec<String>,
    pub(crate) brings: Option<Payload>,
    pub(crate) takes: Vec<Payload>,
    pub(crate) build: Build,
}

impl Draft {
    /// An instance that needs nobody.
    pub fn ready(parts: Parts) -> Self {
        Self::wired(Vec::new(), Vec::new(), |_| Ok(parts))
    }

    /// An instance that consumes or produces data.
    pub fn wired(
        needs: Vec<Need>,
        offers: Vec<Offer>,
        build: impl FnOnce(&Wiring<'_>) -> Result<Parts, Diagnostic> + 'static,
    ) -> Self {
        let (references, numbers, finds, takes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { needs, offers, references, numbers, finds, brings: None, takes, build: Box::new(build) }
    }

    /// The same, built after the instances that it works with.
    #[must_use]
    pub fn after(self, references: Vec<Reference>) -> Self {
        Self { references, ..self }
    }

    /// The same, reading numbers of endpoints.
    #[must_use]
    pub fn reading(self, numbers: Vec<Reference>) -> Self {
        Self { numbers, ..self }
    }

    /// The same, finding numbers of endpoints with these keys.
    #[must_use]
    pub fn finding(self, numbers: Vec<String>) -> Self {
        Self { finds: numbers, ..self }
    }

    /// The same, as a data source of such payloads.
    #[must_use]
    pub fn bringing(self, payload: Payload) -> Self {
        Self { brings: Some(payload), ..self }
    }

    /// The same, as an extractor of such payloads.
    #[must_use]
    pub fn taking(self, payloads: &[Payload]) -> Self {
        Self { takes: payloads.to_vec(), ..self }
    }
}

/// The neighbours of an instance that is being built: everything that it needs is built already.
#[derive(Clone, Copy)]
pub struct Wiring<'a> {
    pub(crate) own_name: &'a str,
    pub(crate) columns: &'a Columns,
    pub(crate) prompt_streams: &'a [(String, Arc<dyn PromptStream>)],
    pub(crate) deciders: &'a [(String, Arc<dyn Decider>)],
    pub(crate) topologies: &'a [(String, Arc<TopologyLabels>)],
    pub(crate) profiles: &'a [String],
}

impl Wiring<'_> {
    /// Where the producer of this name writes its prefix matches.
    pub fn prefix_column(&self, producer: &str) -> Option<Column> {
        Column::of(&self.columns.prefix, producer)
    }

    /// Where this instance writes its prefix matches, if it offers any.
    pub fn own_prefix_column(&self) -> Option<Column> {
        self.prefix_column(self.own_name)
    }

    /// Where the producer of this name writes its latency predictions.
    pub fn latency_column(&self, producer: &str) -> Option<Column> {
        Column::of(&self.columns.latency, producer)
    }

    /// Where the producer of this name writes its encoder-cache matches.
    pub fn encoder_column(&self, producer: &str) -> Option<Column> {
        Column::of(&self.columns.encoder, producer)
    }

    /// Where this instance writes its encoder-cache matches, if it offers any.
    pub fn own_encoder_column(&self) -> Option<Column> {
        self.encoder_column(self.own_name)
    }

    /// The token producer of this name.
    pub fn prompt_stream(&self, producer: &str) -> Option<Arc<dyn PromptStream>> {
        self.prompt_streams.iter().find(|(name, _)| name == producer).map(|(_, stream)| Arc::clone(stream))
    }

    /// The decider of this name.
    pub fn decider(&self, name: &str) -> Option<Arc<dyn Decider>> {
        self.deciders.iter().find(|(one, _)| one == name).map(|(_, decider)| Arc::clone(decider))
    }

    /// The labels that the extractor of this name looks at.
    pub fn topology(&self, producer: &str) -> Option<Arc<TopologyLabels>> {
        self.topologies.iter().find(|(name, _)| name == producer).map(|(_, labels)| Arc::clone(labels))
    }

    /// Names of the plan's profiles, in order.
    pub fn profiles(&self) -> &[String] {
        self.profiles
    }
}

/// All plugin types of this program.
#[derive(Debug, Default)]
pub struct Registry {
    types: BTreeMap<&'static str, PluginType>,
}

impl Registry {
    /// Adds a type. A later one of the same name replaces the earlier.
    pub fn register(&mut self, plugin: PluginType) {
        self.types.insert(plugin.name, plugin);
    }

    /// The type of a name or of an old name, the latter with its deprecation.
    pub fn find(&self, name: &str) -> Option<(&PluginType, Option<Deprecation>)> {
        self.types.get(name).map(|found| (found, None)).or_else(|| {
            self.types.values().find_map(|one| one.deprecated.iter().find(|old| old.alias == name).map(|old| (one, Some(*old))))
        })
    }

    /// All types, by name.
    pub fn types(&self) -> impl Iterator<Item = &PluginType> {
        self.types.values()
    }
}
