//! Scrapes and decodes model-server metrics.
mod clock;
mod engine;
mod family;
mod mappings;
mod scan;

pub use self::{
    clock::{Clock, MonotonicClock},
    engine::{Engine, EngineMapping},
    family::{FamilySpec, FamilySpecError},
    mappings::{ENGINE_LABEL, EngineMappings, LEGACY_ENGINE_LABEL, MappingsError},
};
