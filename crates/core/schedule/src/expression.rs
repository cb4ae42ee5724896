//! Expressions in the Common Expression Language (CEL): filters, scorers and reports for those who do not compile.
//!
//! An expression is compiled when the configuration is read and tried out once on made-up values, so that mistakes stand at their
//! place. Evaluating one builds maps of the values that it names: a few microseconds and some allocations an endpoint, unlike every
//! other plugin.

mod filter;
mod scorer;
mod values;

use cel::{Context, ExecutionError, Program, Value};
use weir_api::{Diagnostic, nearest};
use weir_plan::{PluginContext, PluginType};

pub(crate) use self::values::object;

pub(crate) fn plugins() -> Vec<PluginType> {
    vec![filter::plugin(), scorer::plugin()]
}

/// A compiled expression.
pub(crate) struct Expression {
    program: Program,
    text: String,
}

/// Whether a macro binds the variable, as in `list.exists(one, one.id == "a")`.
fn is_bound(text: &str, variable: &str) -> bool {
    let begins = |rest: &str| rest.trim_start().strip_prefix(variable).is_some_and(|rest| rest.trim_start().starts_with(','));
    [".all(", ".exists(", ".exists_one(", ".existsOne(", ".map(", ".filter("]
        .iter()
        .any(|call| text.split(call).skip(1).any(begins))
}

impl Expression {
    /// Compiles `text`, which stands in `field`, may use these variables, and is tried out on `sample` values of them.
    pub(crate) fn compile(
        context: &PluginContext<'_>,
        field: &str,
        text: &str,
        sample: &[(&'static str, Value)],
    ) -> Result<Self, Diagnostic> {
        if text.trim().is_empty() {
            return Err(context.error_at(field, "must not be empty"));
        }
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first().map_or("cannot be read", |error| error.msg.as_str());
            let column = errors.errors.first().map_or(0, |error| error.pos.1);
            context.error_at(field, format!("no CEL expression: {first} (column {column} of `{text}`)"))
        })?;
        let names = || sample.iter().map(|(name, _)| *name);
        for variable in program.references().variables() {
            if !names().any(|name| name == variable) && !is_bound(text, variable) {
                let error = context.error_at(field, format!("there is no variable `{variable}`"));
                let all = names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                return Err(match nearest(variable, names()) {
                    Some(near) => error.with_help(format!("did you mean `{near}`?")),
                    None => error.with_help(format!("there are {all}")),
                });
            }
        }
        let this = Self { program, text: text.to_owned() };
        match this.evaluate(sample.iter().map(|(name, value)| (*name, value.clone()))) {
            // Labels, headers and custom metrics differ from endpoint to endpoint: that one is missing is no mistake.
            Ok(_) | Err(ExecutionError::NoSuchKey(_)) => Ok(this),
            Err(error) => {
                let error = context.error_at(field, format!("`{text}`: {error}"));
                Err(error.with_help("numbers are floating-point: write 1.0, not 1; guard what may be missing with has()"))
            }
        }
    }

    /// Whether it names this variable.
    pub(crate) fn uses(&self, variable: &str) -> bool {
        self.program.references().has_variable(variable)
    }

    /// Whether this word occurs in it.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    /// Its value; variables that it does not name are left out.
    pub(crate) fn evaluate(&self, values: impl Iterator<Item = (&'static str, Value)>) -> Result<Value, ExecutionError> {
        let mut context = Context::default();
        for (name, value) in values {
            context.add_variable_from_value(name, value);
        }
        self.program.execute(&context)
    }
}

/// A number, as which any CEL number and truth value counts.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(number) => Some(*number as f64),
        Value::UInt(number) => Some(*number as f64),
        Value::Bool(truth) => Some(f64::from(*truth)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
