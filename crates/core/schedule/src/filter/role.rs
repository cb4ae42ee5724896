//! `decode-filter`, `prefill-filter`, `encode-filter`: keep the workers of one stage of disaggregated serving.

use std::sync::Arc;

use fastrand::Rng;
use weir_api::Diagnostic;
use weir_plan::{Candidates, DataSet, Draft, ExtensionPoint, Filter, Parts, PluginContext, PluginType, PoolView, RequestView};
use weir_pool::Endpoint;

use crate::declare::{NoParameters, beta};

/// Label that says which stages a worker serves.
const ROLE: &str = "llm-d.ai/role";

pub(crate) fn plugins() -> [PluginType; 3] {
    let filter = &[ExtensionPoint::Filter];
    [
        beta::<NoParameters>(
            "decode-filter",
            filter,
            "Keeps endpoints whose label `llm-d.ai/role` includes decode, and those without the label.",
            |context| draft(context, DECODE),
        ),
        beta::<NoParameters>(
            "prefill-filter",
            filter,
            "Keeps endpoints whose label `llm-d.ai/role` includes prefill.",
            |context| draft(context, PREFILL),
        ),
        beta::<NoParameters>(
            "encode-filter",
            filter,
            "Keeps endpoints whose label `llm-d.ai/role` includes encode.",
            |context| draft(context, ENCODE),
        ),
    ]
}

const DECODE: Stage = Stage { roles: &["decode", "prefill-decode", "both", "encode-prefill-decode"], unlabelled: true };
const PREFILL: Stage =
    Stage { roles: &["prefill", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode"], unlabelled: false };
const ENCODE: Stage = Stage { roles: &["encode", "encode-prefill", "encode-prefill-decode"], unlabelled: false };

/// Whether a worker prefills.
pub(crate) fn prefills(endpoint: &Endpoint) -> bool {
    PREFILL.served_by(endpoint)
}

/// Whether a worker decodes; one whose role is empty does.
pub(crate) fn decodes(endpoint: &Endpoint) -> bool {
    DECODE.served_by(endpoint) || endpoint.label(ROLE) == Some("")
}

struct Stage {
    roles: &'static [&'static str],
    /// Whether workers without the label serve it.
    unlabelled: bool,
}

impl Stage {
    fn served_by(&self, endpoint: &Endpoint) -> bool {
        endpoint.label(ROLE).map_or(self.unlabelled, |role| self.roles.contains(&role))
    }
}

fn draft(context: &mut PluginContext<'_>, stage: Stage) -> Result<Draft, Diagnostic> {
    let NoParameters {} = context.params()?;
    Ok(Draft::ready(Parts { filter: Some(Arc::new(stage)), ..Parts::default() }))
}

impl Filter for Stage {
    fn reads(&self) -> DataSet {
        DataSet::LABELS
    }

    fn filter(&self, _: &RequestView<'_>, view: &PoolView<'_>, _: &mut Rng, keep: &mut Candidates) {
        view.retain(keep, |i| self.served_by(view.endpoint(i)));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Fixture;

    #[test]
    fn roles_and_stages() {
        let roles = ["decode", "prefill", "encode", "encode-prefill", "prefill-decode", "both", "encode-prefill-decode", "other"];
        let labels = roles.map(|role| [("llm-d.ai/role", role)]);
        let mut labels: Vec<&[(&str, &str)]> = labels.iter().map(<[_; 1]>::as_slice).collect();
        labels.push(&[]);
        let fixture = Fixture::labelled(&labels);
        assert_eq!(fixture.filter("decode-filter", "{}"), [0, 4, 5, 6, 8]);
        assert_eq!(fixture.filter("prefill-filter", "{}"), [1, 3, 4, 5, 6]);
        assert_eq!(fixture.filter("encode-filter", "{}"), [2, 3, 6]);
    }
}
