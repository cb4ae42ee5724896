//! `context-length-aware`: prompts go to endpoints whose range of lengths they fit. Scorer, and if asked for filter too.

use std::sync::Arc;

use fastrand::Rng;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::Diagnostic;
use weir_plan::{
    Candidates, DataKey, DataSet, Draft, ExtensionPoint, Filter, Need, Parts, PluginContext, PluginType, PoolView, PromptStream,
    RequestView, Scorer,
};

use crate::{declare::beta, producer::Counting};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "context-length-aware",
        &[ExtensionPoint::Scorer, ExtensionPoint::Filter],
        "Prefers endpoints whose label gives a range of prompt lengths, `min-max`, that the prompt fits; the narrower the better.",
        draft,
    )
}

/// Where the range stands, and whether endpoints that do not fit are removed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Label of endpoints that gives the range of tokens, both ends included.
    label: String,
    /// Whether endpoints whose range the prompt does not fit are removed. Those without the label stay, malformed labels do not.
    enable_filtering: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self { label: "llm-d.ai/context-length-range".to_owned(), enable_filtering: false }
    }
}

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let Params { label, enable_filtering } = context.params()?;
    if label.is_empty() {
        return Err(context.error_at("label", "must not be empty"));
    }
    let need = Need::required(DataKey::TokenizedPrompt, None);
    let tokens_from = need.producer.clone();
    let missing = context.error(format!("`{tokens_from}` produces no tokens"));
    Ok(Draft::wired(vec![need], Vec::new(), move |wiring| {
        let prompt = wiring.prompt_stream(&tokens_from).ok_or(missing)?;
        let plugin = Arc::new(ContextLength { label, prompt });
        let filter: Option<Arc<dyn Filter>> = if enable_filtering { Some(plugin.clone()) } else { None };
        Ok(Parts { scorer: Some(plugin), filter, ..Parts::default() })
    }))
}

struct ContextLength {
    label: String,
    prompt: Arc<dyn PromptStream>,
}

/// Prompt lengths that an endpoint is meant for, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    min: u64,
    max: u64,
}

impl Range {
    fn parse(label: &str) -> Option<Self> {
        let (min, max) = label.split_once('-')?;
        let (min, max) = (min.trim().parse().ok()?, max.trim().parse().ok()?);
        (min <= max).then_some(Self { min, max })
    }

    fn contains(self, tokens: u64) -> bool {
        (self.min..=self.max).contains(&tokens)
    }

    /// In the range 0.3 to 1: narrow ranges, and room behind the prompt, are better. Outside at most 0.3, less with distance.
    fn score(self, tokens: u64) -> f64 {
        if !self.contains(tokens) {
            let distance = if tokens < self.min { self.min - tokens } else { tokens - self.max };
            return 0.3 / (1.0 + distance as f64 / 1_000.0);
        }
        let width = (self.max - self.min) as f64;
        if width == 0.0 {
            return 1.0;
        }
        let narrow = 1.0 / (1.0 + width / 10_000.0);
        let room = (self.max - tokens) as f64 / width;
        0.3 + 0.7 * (0.7 * narrow + 0.3 * room)
    }
}

impl ContextLength {
    /// Tokens of the prompt; 0 if it is not known.
    fn tokens(&self, request: &RequestView<'_>, view: &PoolView<'_>) -> u64 {
        view.attributes().prompt_tokens.unwrap_or_else(|| {
            let mut counting = Counting::default();
            if self.prompt.stream(request, &mut counting) { counting.tokens() } else { 0 }
        })
    }
}

impl Scorer for ContextLength {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT | DataSet::LABELS
    }

    fn score(&self, request: &RequestView<'_>, view: &PoolView<'_>, out: &mut [f64]) {
        let tokens = self.tokens(request, view);
        for (i, score) in out.iter_mut().enumerate() {
            *score = match view.endpoint(i).label(&self.label) {
                None => 0.5,
                Some(label) => Range::parse(label).map_or(0.0, |range| range.score(tokens)),
            };
        }
    }
}

impl Filter for ContextLength {
    fn reads(&self) -> DataSet {
        DataSet::PROMPT | DataSet::LABELS
    }

    fn filter(&self, request: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        let tokens = self.tokens(request, view);
        view.retain(keep, |i| match view.endpoint(i).label(&self.label) {
            None => true,
            Some(label) => Range::parse(label).is_some_and(|range| range.contains(tokens)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fixture, refused};

    const KIND: &str = "context-length-aware";
    const LABEL: &str = "llm-d.ai/context-length-range";

    fn fixture(key: &str, ranges: &[Option<&str>]) -> Fixture {
        let labels: Vec<Vec<(&str, &str)>> =
            ranges.iter().map(|range| range.map(|range| (key, range)).into_iter().collect()).collect();
        Fixture::labelled(&labels.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn golden_vectors() {
        let fixture = fixture(LABEL, &[Some("0-20"), Some("0-10000"), Some("500-1000"), None, Some("x"), Some("0-0")]);
        let scores = fixture.score(KIND, "{}");
        for (score, want) in scores.iter().zip([0.999_022, 0.755, 0.2, 0.5, 0.0, 1.0]) {
            assert!((score - want).abs() < 1e-5, "{scores:?}");
        }
    }

    #[test]
    fn filtering_keeps_ranges_that_fit_and_endpoints_without_one() {
        let fixture = fixture(LABEL, &[Some("0-100"), Some("100-500"), Some("0-2000"), None, Some("bad")]);
        assert_eq!(fixture.filter(KIND, "{enableFiltering: true}"), [0, 2, 3]);
        assert_eq!(fixture.filter(KIND, "{}"), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn the_prompt_is_counted_if_nobody_else_did() {
        let mut fixture = fixture("range", &[Some("0-10"), Some("11-100")]);
        fixture.chat(&"x".repeat(80));
        assert_eq!(fixture.filter(KIND, "{enableFiltering: true, label: range}"), [1]);
        fixture.attributes.prompt_tokens = Some(3);
        assert_eq!(fixture.filter(KIND, "{enableFiltering: true, label: range}"), [0]);
    }

    #[test]
    fn labels_that_are_no_range() {
        for label in ["", "0-100-200", "100-50", "abc-100", "5", "-5", "1-"] {
            assert_eq!(Range::parse(label), None, "{label}");
        }
        assert!(refused(KIND, "{label: ''}").contains("must not be empty"));
    }
}
