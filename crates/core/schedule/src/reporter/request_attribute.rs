//! `request-attribute-reporter`: reports what an expression makes of the tokens used, for rate limits by cost.

use std::sync::Arc;

use cel::Value;
use schemars::JsonSchema;
use serde::Deserialize;
use weir_api::{Diagnostic, headers::LB_NAMESPACE};
use weir_plan::{Draft, ExtensionPoint, Parts, PluginContext, PluginType, Report, Reporter};
use weir_protocol::Usage;

use crate::{
    declare::beta,
    expression::{Expression, number, object},
};

pub(crate) fn plugin() -> PluginType {
    beta::<Params>(
        "request-attribute-reporter",
        &[ExtensionPoint::Reporter],
        "Reports, at the end of a response, what a CEL expression makes of the tokens used, as a number in the proxy's metadata.",
        draft,
    )
}

/// What is reported.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    /// Exactly one.
    attributes: Vec<Attribute>,
}

/// A number and where it goes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Attribute {
    /// Where it goes.
    key: MetadataKey,
    /// CEL over `usage`: `prompt_tokens`, `completion_tokens`, `total_tokens`, and `prompt_tokens_details.cached_tokens` where the
    /// engine says so. The result is cut to a whole number; 0 and -1 are not reported.
    expression: String,
    /// CEL over `usage`; unless it is true nothing is reported.
    condition: Option<String>,
}

/// A place in the proxy's metadata.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetadataKey {
    /// Its namespace. Default: `envoy.lb`.
    namespace: Option<String>,
    /// Its name.
    name: String,
}

const USAGE: &str = "usage";

fn draft(context: &mut PluginContext<'_>) -> Result<Draft, Diagnostic> {
    let params: Params = context.params()?;
    let Ok([attribute]) = <[Attribute; 1]>::try_from(params.attributes) else {
        return Err(context.error_at("attributes", "must hold exactly one attribute"));
    };
    if attribute.key.name.is_empty() {
        return Err(context.error_at("attributes", "key.name must not be empty"));
    }
    let sample = [(USAGE, value(&Usage { prompt_tokens: 8, completion_tokens: 4, total_tokens: 12, cached_tokens: Some(2) }))];
    let expression = Expression::compile(context, "attributes", &attribute.expression, &sample)?;
    let condition = attribute.condition.filter(|condition| !condition.trim().is_empty());
    let condition = condition.map(|condition| Expression::compile(context, "attributes", &condition, &sample)).transpose()?;
    let namespace = attribute.key.namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| LB_NAMESPACE.to_owned());
    let reporter = AttributeReporter { namespace: namespace.into(), name: attribute.key.name.into(), expression, condition };
    Ok(Draft::ready(Parts { reporter: Some(Arc::new(reporter)), ..Parts::default() }))
}

struct AttributeReporter {
    namespace: Arc<str>,
    name: Arc<str>,
    expression: Expression,
    condition: Option<Expression>,
}

fn value(usage: &Usage) -> Value {
    let number = |tokens: u64| Value::Float(tokens as f64);
    let totals = [
        ("prompt_tokens", number(usage.prompt_tokens)),
        ("completion_tokens", number(usage.completion_tokens)),
        ("total_tokens", number(usage.total_tokens)),
    ];
    match usage.cached_tokens {
        None => object(totals),
        Some(cached) => {
            let [prompt, completion, total] = totals;
            object([prompt, completion, total, ("prompt_tokens_details", object([("cached_tokens", number(cached))]))])
        }
    }
}

impl Reporter for AttributeReporter {
    fn report(&self, usage: &Usage) -> Option<Report> {
        let evaluate = |expression: &Expression| expression.evaluate(std::iter::once((USAGE, value(usage)))).ok();
        if let Some(condition) = &self.condition
            && evaluate(condition) != Some(Value::Bool(true))
        {
            return None;
        }
        let result = evaluate(&self.expression).filter(|result| !matches!(result, Value::Bool(_)))?;
        let value = number(&result).filter(|number| number.is_finite())? as i64;
        (value != 0 && value != -1).then(|| Report {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{compile, refused};

    const KIND: &str = "request-attribute-reporter";

    fn report(attribute: &str, usage: &Usage) -> Option<(String, String, i64)> {
        let plan =
            compile(&format!("plugins: [{{type: {KIND}, parameters: {{attributes: [{attribute}]}}}}, {{type: queue-scorer}}]"))
                .unwrap();
        let found = plan.reporters[0].plugin.report(usage)?;
        Some((found.namespace.to_string(), found.name.to_string(), found.value))
    }

    fn cost(expression: &str, condition: &str, usage: &Usage) -> Option<i64> {
        let condition = if condition.is_empty() { String::new() } else { format!(", condition: '{condition}'") };
        report(&format!("{{key: {{name: cost}}, expression: '{expression}'{condition}}}"), usage).map(|(.., value)| value)
    }

    #[test]
    fn numbers_from_usage() {
        let usage = Usage { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15, cached_tokens: None };
        assert_eq!(cost("usage.prompt_tokens + 2.0 * usage.completion_tokens", "", &usage), Some(20));
        assert_eq!(cost("usage.total_tokens / 4.0", "", &usage), Some(3), "cut");
        assert_eq!(cost("usage.total_tokens - 15.0", "", &usage), None, "0");
        assert_eq!(cost("usage.total_tokens - 16.0", "", &usage), None, "-1");
        assert_eq!(cost("usage.total_tokens > 1.0", "", &usage), None, "no number");
        assert_eq!(cost("usage.total_tokens", "usage.completion_tokens > 10.0", &usage), None);
        assert_eq!(cost("usage.total_tokens", "usage.completion_tokens > 1.0", &usage), Some(15));
        let cached = "usage.prompt_tokens - (has(usage.prompt_tokens_details) ? usage.prompt_tokens_details.cached_tokens : 0.0)";
        assert_eq!(cost(cached, "", &usage), Some(10));
        assert_eq!(cost(cached, "", &Usage { cached_tokens: Some(8), ..usage }), Some(2));
        assert_eq!(cost("usage.prompt_tokens_details.cached_tokens", "", &usage), None, "not reported");
    }

    #[test]
    fn where_it_goes() {
        let usage = Usage { total_tokens: 3, ..Usage::default() };
        let with = |key: &str| report(&format!("{{key: {key}, expression: usage.total_tokens}}"), &usage).map(|(a, b, _)| (a, b));
        assert_eq!(with("{name: n}"), Some(("envoy.lb".to_owned(), "n".to_owned())));
        assert_eq!(with("{name: n, namespace: my.ns}"), Some(("my.ns".to_owned(), "n".to_owned())));
    }

    #[test]
    fn parameters_that_are_refused() {
        let one = "{key: {name: n}, expression: usage.total_tokens}";
        for (attributes, why) in [
            (String::new(), "exactly one"),
            (format!("{one}, {one}"), "exactly one"),
            ("{key: {name: ''}, expression: usage.total_tokens}".to_owned(), "key.name"),
            ("{key: {name: n}, expression: 'use.total'}".to_owned(), "no variable `use`"),
            ("{key: {name: n}, expression: usage.total_tokens, condition: 'usage.'}".to_owned(), "no CEL expression"),
        ] {
            let found = refused(KIND, &format!("{{attributes: [{attributes}]}}"));
            assert!(found.contains(why), "{attributes}: {found}");
        }
    }
}
