//! The registry of plugin types and the compiled, immutable [`Plan`]: the ground of the decision core.
//!
//! An `EndpointPickerConfig` names plugins; each crate that has plugins registers their types in a [`Registry`]; [`compile`]
//! turns both into a `Plan`: instances in the order of the file, data producers in the order of their dependencies, columns for
//! the data that they pass on, and the set of sources that somebody reads. A plan is never changed; a reload compiles another.
//!
//! Cost: compiling is a cold path. On the hot path a plan is only read: one virtual call per plugin, never per endpoint.
//!
//! Not here: the plugins themselves, the scheduling cycle, and anything that waits.
#![deny(missing_docs)]

mod attributes;
mod compile;
mod data;
mod effective;
mod error;
mod plan;
mod plugin;
mod registry;
mod view;

pub use self::{
    attributes::{Attributes, Columns, EncoderMatch, LatencyPrediction, MediaItem, PrefixMatch, RequestAttributes},
    compile::{CompileOptions, compile},
    data::{Column, DataKey, DataSet},
    effective::{Effective, EffectiveData, EffectivePlugin, EffectiveProfile, EffectiveSource},
    error::PickError,
    plan::{InFlightPolicy, MetricsSource, Named, PageReader, PageSource, Plan, Profile, Scored},
    plugin::{
        Admitter, Decider, DiscoveryFile, EngineSpec, Figure, Filter, HeaderProcessor, KvEventSink, KvEventSource, ModelsSource,
        NumberConfig, Outgoing, PageConfig, Parts, Picker, PreRequest, Producer, ProfileHandler, ProfileResult, PromptSink,
        PromptStream, Report, Reporter, ResponseHeaders, SaturationDetector, Scorer, Scores, Screener, Served, SourceConfig,
        SourceTls, Told, TopologyLabels, UsageLimits,
    },
    registry::{
        Deprecation, Draft, ExtensionPoint, Need, Offer, Payload, PluginContext, PluginType, Reference, Registry, Stability,
        Wiring,
    },
    view::{Candidates, PoolView, RequestView, Targets},
};
