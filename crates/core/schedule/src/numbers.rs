//! Numbers of endpoints by name, for filters and scorers on attributes.

use weir_api::Diagnostic;
use weir_plan::{DataSet, PluginContext, PoolView, Reference};

/// An attribute of endpoints that is a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    /// `WaitingQueueSize/core-metrics-extractor`.
    Waiting,
    /// `RunningRequestsSize/core-metrics-extractor`.
    Running,
    /// `KVCacheUsagePercent/core-metrics-extractor`.
    KvUsage,
    /// Any other, by its key `attribute/producer`.
    Named(String),
}

/// Producer of attributes whose producer is not given.
const CORE: &str = "core-metrics-extractor";

impl Number {
    /// The attribute of this name. `producer` unset means the core metrics; empty means that the key has none.
    pub(crate) fn parse(
        context: &PluginContext<'_>,
        field: &str,
        attribute: &str,
        producer: Option<&str>,
    ) -> Result<Self, Diagnostic> {
        if attribute.is_empty() {
            return Err(context.error_at(field, "must not be empty"));
        }
        if producer.is_none()
            && let Some((name, from)) = attribute.split_once('/')
        {
            let error = context.error_at(field, format!("`{attribute}` holds attribute and producer"));
            return Err(error.with_help(format!("split it: {field}: {name}, producer: {from}")));
        }
        Ok(match (attribute, producer.unwrap_or(CORE)) {
            ("WaitingQueueSize", CORE) => Self::Waiting,
            ("RunningRequestsSize", CORE) => Self::Running,
            ("KVCacheUsagePercent", CORE) => Self::KvUsage,
            (name, "") => Self::Named(name.to_owned()),
            (name, producer) => Self::Named(format!("{name}/{producer}")),
        })
    }

    /// What has to find it, unless that is always there; `field` names it.
    pub(crate) fn found_by(&self, context: &PluginContext<'_>, field: &str) -> Vec<Reference> {
        match self {
            Self::Named(key) => vec![context.number(field, key.as_str())],
            _ => Vec::new(),
        }
    }

    pub(crate) fn reads(&self) -> DataSet {
        match self {
            Self::Waiting => DataSet::QUEUE,
            Self::Running => DataSet::RUNNING,
            Self::KvUsage => DataSet::KV_USAGE,
            Self::Named(_) => DataSet::ATTRIBUTES,
        }
    }

    /// The number of the `i`-th candidate; `None` if it is not known.
    pub(crate) fn of(&self, view: &PoolView<'_>, i: usize) -> Option<f64> {
        let state = view.state(i);
        match self {
            Self::Named(name) => view.endpoint(i).numbers.get(name),
            _ if state.age.is_none() => None,
            Self::Waiting => Some(state.waiting.into()),
            Self::Running => Some(state.running.into()),
            Self::KvUsage => Some(state.kv_usage),
        }
    }
}
