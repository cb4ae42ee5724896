//! Kubernetes objects that people write: inference pools, objectives, model rewrites.
//!
//! The types read what is in a cluster, whoever wrote it: unknown fields are ignored, what a server would have filled in is filled
//! in. [`crds`] are the definitions of those types, equal to upstream's in names, defaults and validation, for clusters that lack
//! them.
//!
//! Names and semantics: Gateway API Inference Extension v1.5 (`inference.networking.k8s.io`), llm-d (`llm-d.ai`).
//!
//! Not here: what becomes of them, and how they come.
#![deny(missing_docs)]

mod condition;
mod crd;
mod legacy_pool;
mod objective;
mod pool;
mod reference;
mod rewrite;
mod yaml;

pub use self::{
    condition::Condition,
    crd::{Bundle, crds},
    legacy_pool::{ExtensionRef, LegacyInferencePool, LegacyInferencePoolSpec, LegacyInferencePoolStatus, LegacyParentStatus},
    objective::{InferenceObjective, InferenceObjectiveSpec, InferenceObjectiveStatus},
    pool::{
        AppProtocol, EndpointPickerRef, FailureMode, InferencePool, InferencePoolSpec, InferencePoolStatus, LabelSelector,
        LabelValue, ParentReference, ParentStatus, Port,
    },
    reference::{LEGACY_GROUP, LLM_D_GROUP, POOL_GROUP, PoolRef},
    rewrite::{
        InferenceModelRewrite, InferenceModelRewriteSpec, InferenceModelRewriteStatus, MatchType, Model, ModelMatch, Rule, Target,
    },
    yaml::to_yaml,
};
