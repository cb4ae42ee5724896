//! The kinds of model servers a pool may have, and which of them an endpoint is.

use std::sync::Arc;

use weir_pool::EndpointSpec;

use crate::{Engine, EngineMapping, engine::has_load};

/// Label that names an endpoint's kind of model server.
pub const ENGINE_LABEL: &str = "llm-d.ai/engine-type";
/// Older spelling of [`ENGINE_LABEL`]; read if the other one is absent.
pub const LEGACY_ENGINE_LABEL: &str = "inference.networking.k8s.io/engine-type";

/// All mappings of one pool.
#[derive(Debug)]
pub struct EngineMappings {
    label: String,
    default: Arc<Engine>,
    engines: Vec<Arc<Engine>>,
}

/// Why mappings do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingsError {
    /// The default is not among the engines.
    #[error("default engine `{0}` is neither built in nor configured")]
    UnknownDefault(String),
    /// A configured engine has no name.
    #[error("an engine needs a name")]
    Unnamed,
    /// `default` is no engine's name.
    #[error("an engine cannot be called `default`")]
    Reserved,
    /// Two configured engines have one name.
    #[error("engine `{0}` is configured twice")]
    Twice(String),
}

impl Default for EngineMappings {
    /// The built-in engines, `vllm` unless the label says otherwise.
    fn default() -> Self {
        let engines: Vec<_> = EngineMapping::built_in().into_iter().map(|mapping| Arc::new(Engine::new(mapping))).collect();
        let default = engines.first().map_or_else(|| Arc::new(Engine::new(EngineMapping::default())), Arc::clone);
        Self { label: ENGINE_LABEL.to_owned(), default, engines }
    }
}

impl EngineMappings {
    /// The built-in engines and `configured` ones; one with the name of a built-in engine replaces it entirely. `label` is the label
    /// key (usually [`ENGINE_LABEL`]), `default_engine` the engine of endpoints without it (usually `vllm`).
    pub fn new(label: &str, default_engine: &str, configured: Vec<EngineMapping>) -> Result<Self, MappingsError> {
        let mut engines: Vec<Arc<Engine>> = Vec::new();
        for mapping in configured {
            if mapping.name.is_empty() {
                return Err(MappingsError::Unnamed);
            }
            if mapping.name == "default" {
                return Err(MappingsError::Reserved);
            }
            if engines.iter().any(|engine| engine.name() == mapping.name) {
                return Err(MappingsError::Twice(mapping.name));
            }
            engines.push(Arc::new(Engine::new(mapping)));
        }
        for mapping in EngineMapping::built_in() {
            if !engines.iter().any(|engine| engine.name() == mapping.name) {
                engines.push(Arc::new(Engine::new(mapping)));
            }
        }
        let default = engines.iter().find(|engine| engine.name() == default_engine);
        let default = Arc::clone(default.ok_or_else(|| MappingsError::UnknownDefault(default_engine.to_owned()))?);
        Ok(Self { label: label.to_owned(), default, engines })
    }

    /// The engine that an endpoint's label names; `None` if it has no such label. An unknown name is the default engine.
    pub fn labelled(&self, endpoint: &EndpointSpec) -> Option<&Arc<Engine>> {
        let label = endpoint.labels.get(&self.label).or_else(|| endpoint.labels.get(LEGACY_ENGINE_LABEL))?;
        Some(self.engines.iter().find(|engine| engine.name() == label).unwrap_or(&self.default))
    }

    /// The engine of endpoints without the label.
    pub fn default_engine(&self) -> &Arc<Engine> {
        &self.default
    }

    /// All engines, configured ones first.
    pub(crate) fn engines(&self) -> impl Iterator<Item = &Arc<Engine>> {
        self.engines.iter()
    }

    /// The first engine that finds its load on a page; configured engines are tried before built-in ones. For an endpoint without the
    /// label, on whose page the default engine finds nothing.
    pub fn detect(&self, page: &[u8]) -> Option<&Arc<Engine>> {
        self.engines.iter().find(|engine| has_load(&engine.decode(page)))
    }
}

#[cfg(test)]
mod tests {
    use weir_pool::EndpointUrl;

    use super::*;
    use crate::FamilySpec;

    fn named(name: &str) -> EngineMapping {
        EngineMapping { name: name.to_owned(), queued: Some(FamilySpec::plain("mine")), ..EngineMapping::default() }
    }

    fn endpoint(labels: &[(&str, &str)]) -> EndpointSpec {
        let mut spec = EndpointSpec::new("a", EndpointUrl::http("10.0.0.1", 1));
        spec.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        spec
    }

    #[test]
    fn the_label_decides_and_its_old_spelling_counts() {
        let mappings = EngineMappings::default();
        let name = |labels: &[(&str, &str)]| mappings.labelled(&endpoint(labels)).map(|engine| engine.name().to_owned());
        assert_eq!(name(&[]), None);
        assert_eq!(name(&[(ENGINE_LABEL, "sglang")]).as_deref(), Some("sglang"));
        assert_eq!(name(&[(LEGACY_ENGINE_LABEL, "triton")]).as_deref(), Some("triton"));
        assert_eq!(name(&[(ENGINE_LABEL, "sglang"), (LEGACY_ENGINE_LABEL, "triton")]).as_deref(), Some("sglang"));
        assert_eq!(name(&[(ENGINE_LABEL, "never-heard-of")]).as_deref(), Some("vllm"));
    }

    #[test]
    fn a_configured_engine_replaces_a_built_in_one_entirely() {
        let mappings = EngineMappings::new("kind", "mine", vec![named("vllm"), named("mine")]).unwrap();
        let vllm = mappings.labelled(&endpoint(&[("kind", "vllm")])).unwrap();
        assert_eq!(vllm.mapping().running, None);
        assert_eq!(mappings.default_engine().name(), "mine");
    }

    #[test]
    fn mappings_that_do_not_fit_are_refused() {
        let refuse = |default: &str, engines| EngineMappings::new(ENGINE_LABEL, default, engines).unwrap_err();
        assert_eq!(refuse("vlllm", vec![]), MappingsError::UnknownDefault("vlllm".to_owned()));
        assert_eq!(refuse("vllm", vec![named("default")]), MappingsError::Reserved);
        assert_eq!(refuse("vllm", vec![named("")]), MappingsError::Unnamed);
        assert_eq!(refuse("vllm", vec![named("a"), named("a")]), MappingsError::Twice("a".to_owned()));
    }
}
