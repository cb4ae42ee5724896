//! What the configuration says of traces, and OpenTelemetry's environment variables where it says nothing.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, trace::Sampler};
use weir_api::{OtlpProtocol, TraceExporter, Tracing};
use weir_traces::Batching;

/// llm-d's share of traces that begin here.
const RATIO: f64 = 0.1;

/// Where spans go.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Console,
    Otlp { endpoint: String, protocol: OtlpProtocol },
}

/// How requests are traced.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) target: Target,
    pub(super) sampler: Sampler,
    pub(super) resource: Resource,
    pub(super) batching: Batching,
}

impl Options {
    pub(super) fn describe(&self) -> String {
        match &self.target {
            Target::Console => "to standard output".to_owned(),
            Target::Otlp { endpoint, protocol: OtlpProtocol::Grpc } => format!("to {endpoint}, by gRPC"),
            Target::Otlp { endpoint, protocol: OtlpProtocol::Http } => format!("to {endpoint}, by HTTP"),
        }
    }
}

/// How requests are traced, if they are, and what was odd about what was said.
pub(super) struct Found {
    pub(super) options: Option<Options>,
    pub(super) warnings: Vec<String>,
}

/// The environment.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(super) fn read(config: &Tracing, env: Env<'_>) -> Found {
    let set = |name: &str| env(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let mut reading = Reading { config, env: &set, warnings: Vec::new() };
    let options = reading.target().map(|target| Options {
        target,
        sampler: reading.sampler(),
        resource: reading.resource(),
        batching: reading.batching(),
    });
    Found { options, warnings: reading.warnings }
}

struct Reading<'a> {
    config: &'a Tracing,
    env: Env<'a>,
    warnings: Vec<String>,
}

impl Reading<'_> {
    fn target(&mut self) -> Option<Target> {
        if (self.env)("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return None;
        }
        let named = self.config.endpoint.is_some()
            || (self.env)("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").is_some()
            || (self.env)("OTEL_EXPORTER_OTLP_ENDPOINT").is_some();
        let by_env = |this: &mut Self| match (this.env)("OTEL_TRACES_EXPORTER").as_deref() {
            Some("otlp") => TraceExporter::Otlp,
            Some("console" | "stdout") => TraceExporter::Console,
            Some("none") => TraceExporter::None,
            other => {
                if let Some(other) = other {
                    this.warnings.push(format!("OTEL_TRACES_EXPORTER={other} is none of otlp, console and none, and is ignored"));
                }
                if named { TraceExporter::Otlp } else { TraceExporter::None }
            }
        };
        match self.config.exporter.unwrap_or_else(|| by_env(self)) {
            TraceExporter::None => None,
            TraceExporter::Console => Some(Target::Console),
            TraceExporter::Otlp => {
                let protocol = self.protocol();
                Some(Target::Otlp { endpoint: self.endpoint(protocol), protocol })
            }
        }
    }

    fn protocol(&mut self) -> OtlpProtocol {
        if let Some(protocol) = self.config.protocol {
            return protocol;
        }
        let named = (self.env)("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| (self.env)("OTEL_EXPORTER_OTLP_PROTOCOL"));
        match named.as_deref() {
            None | Some("grpc") => OtlpProtocol::Grpc,
            Some("http/protobuf") => OtlpProtocol::Http,
            Some(other) => {
                self.warnings.push(format!("OTEL_EXPORTER_OTLP_PROTOCOL={other} is not spoken here: grpc is used"));
                OtlpProtocol::Grpc
            }
        }
    }

    /// A collector that is named for traces alone is called as it is named; otherwise HTTP has a path for them.
    fn endpoint(&self, protocol: OtlpProtocol) -> String {
        let with_scheme = |text: String| if text.contains("://") { text } else { format!("http://{text}") };
        if self.config.endpoint.is_none()
            && let Some(exact) = (self.env)("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        {
            return with_scheme(exact);
        }
        let named = self.config.endpoint.as_ref().map(|one| one.value.clone());
        let base = named.clone().or_else(|| (self.env)("OTEL_EXPORTER_OTLP_ENDPOINT")).map(with_scheme);
        match protocol {
            OtlpProtocol::Grpc => base.unwrap_or_else(|| "http://localhost:4317".to_owned()),
            OtlpProtocol::Http => {
                let base = base.unwrap_or_else(|| "http://localhost:4318".to_owned());
                let path = base.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned()));
                match path.as_deref() {
                    Some(path) if named.is_some() && path != "/" => base,
                    _ => format!("{}/v1/traces", base.trim_end_matches('/')),
                }
            }
        }
    }

    fn sampler(&mut self) -> Sampler {
        let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
        if let Some(ratio) = &self.config.sample_ratio {
            return by_parent(Sampler::TraceIdRatioBased(ratio.value));
        }
        let argument = (self.env)("OTEL_TRACES_SAMPLER_ARG");
        let ratio = match argument.as_deref().map(str::parse::<f64>) {
            Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => ratio,
            None => RATIO,
            Some(_) => {
                let said = argument.unwrap_or_default();
                self.warnings.push(format!("OTEL_TRACES_SAMPLER_ARG={said} is not from 0 to 1: {RATIO} is used"));
                RATIO
            }
        };
        match (self.env)("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("parentbased_traceidratio") => by_parent(Sampler::TraceIdRatioBased(ratio)),
            Some("traceidratio") => Sampler::TraceIdRatioBased(ratio),
            Some("always_on") => Sampler::AlwaysOn,
            Some("always_off") => Sampler::AlwaysOff,
            Some("parentbased_always_on") => by_parent(Sampler::AlwaysOn),
            Some("parentbased_always_off") => by_parent(Sampler::AlwaysOff),
            Some(other) => {
                self.warnings.push(format!("OTEL_TRACES_SAMPLER={other} is not known: parentbased_traceidratio is used"));
                by_parent(Sampler::TraceIdRatioBased(ratio))
            }
        }
    }

    fn resource(&mut self) -> Resource {
        let mut attributes =
            vec![KeyValue::new("service.name", "weir"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
        for pair in (self.env)("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default().split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) => attributes.push(KeyValue::new(key.trim().to_owned(), value.trim().to_owned())),
                None => self.warnings.push(format!("OTEL_RESOURCE_ATTRIBUTES: `{pair}` is not key=value")),
            }
        }
        let name = self.config.service_name.clone().or_else(|| (self.env)("OTEL_SERVICE_NAME"));
        attributes.extend(name.map(|name| KeyValue::new("service.name", name)));
        // Of several values for one key the last counts.
        Resource::builder_empty().with_attributes(attributes).build()
    }

    fn batching(&mut self) -> Batching {
        let defaults = Batching::default();
        let mut number = |name: &str, default: u64| match (self.env)(name).map(|text| text.parse::<u64>()) {
            None => default,
            Some(Ok(number)) if number > 0 => number,
            Some(_) => {
                self.warnings.push(format!("{name} is not a number above zero: {default} is used"));
                default
            }
        };
        Batching {
            queue: number("OTEL_BSP_MAX_QUEUE_SIZE", defaults.queue as u64) as usize,
            batch: number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", defaults.batch as u64) as usize,
            delay: Duration::from_millis(number("OTEL_BSP_SCHEDULE_DELAY", defaults.delay.as_millis() as u64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_api::Spanned;

    use super::*;

    fn read_with(config: &Tracing, variables: &[(&str, &str)]) -> Found {
        read(config, &|name| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned()))
    }

    fn target(config: &Tracing, variables: &[(&str, &str)]) -> Option<Target> {
        read_with(config, variables).options.map(|options| options.target)
    }

    fn otlp(endpoint: &str, protocol: OtlpProtocol) -> Option<Target> {
        Some(Target::Otlp { endpoint: endpoint.to_owned(), protocol })
    }

    #[test]
    fn nothing_is_traced_unless_somebody_says_so() {
        let silent = Tracing::default();
        assert_eq!(target(&silent, &[]), None);
        assert_eq!(target(&silent, &[("OTEL_TRACES_EXPORTER", "otlp")]), otlp("http://localhost:4317", OtlpProtocol::Grpc));
        assert_eq!(target(&silent, &[("OTEL_TRACES_EXPORTER", "console")]), Some(Target::Console));
        assert_eq!(
            target(&silent, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]),
            otlp("http://collector:4317", OtlpProtocol::Grpc)
        );
        let off = [("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_SDK_DISABLED", "true")];
        assert_eq!(target(&silent, &off), None);
        let none = Tracing { exporter: Some(TraceExporter::None), ..Tracing::default() };
        assert_eq!(target(&none, &[("OTEL_TRACES_EXPORTER", "otlp")]), None, "the file counts");
        let odd = read_with(&silent, &[("OTEL_TRACES_EXPORTER", "zipkin")]);
        assert!(odd.options.is_none() && odd.warnings[0].contains("zipkin"));
    }

    #[test]
    fn http_has_a_path_for_traces() {
        let http = [("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"), ("OTEL_TRACES_EXPORTER", "otlp")];
        let with = |more: (&'static str, &'static str)| target(&Tracing::default(), &[http[0], http[1], more]);
        let is = |endpoint: &str| otlp(endpoint, OtlpProtocol::Http);
        assert_eq!(target(&Tracing::default(), &http), is("http://localhost:4318/v1/traces"));
        assert_eq!(with(("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/base/")), is("http://c:1/base/v1/traces"));
        assert_eq!(with(("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/own")), is("http://c:1/own"));
        let file = |endpoint: &str| {
            let endpoint = Some(Spanned::nowhere(endpoint.to_owned()));
            let config = Tracing { endpoint, protocol: Some(OtlpProtocol::Http), ..Tracing::default() };
            target(&config, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other")])
        };
        assert_eq!(file("https://c"), is("https://c/v1/traces"));
        assert_eq!(file("https://c/own"), is("https://c/own"));
    }

    #[test]
    fn samplers_and_names() {
        let of = |config: &Tracing, variables: &[(&str, &str)]| {
            let variables = [variables, &[("OTEL_TRACES_EXPORTER", "console")]].concat();
            let found = read_with(config, &variables);
            let options = found.options.expect("it is on");
            let name = options.resource.get(&"service.name".into()).expect("it has a name").to_string();
            (format!("{:?}", options.sampler), name, found.warnings.len())
        };
        let ratio = |ratio: &str| format!("ParentBased(TraceIdRatioBased({ratio}))");
        let silent = Tracing::default();
        assert_eq!(of(&silent, &[]), (ratio("0.1"), "weir".to_owned(), 0));
        assert_eq!(
            of(&silent, &[("OTEL_TRACES_SAMPLER_ARG", "0.5"), ("OTEL_SERVICE_NAME", "s")]),
            (ratio("0.5"), "s".to_owned(), 0)
        );
        assert_eq!(of(&silent, &[("OTEL_TRACES_SAMPLER_ARG", "2")]), (ratio("0.1"), "weir".to_owned(), 1));
        assert_eq!(of(&silent, &[("OTEL_TRACES_SAMPLER", "always_on")]).0, "AlwaysOn");
        assert_eq!(of(&silent, &[("OTEL_TRACES_SAMPLER", "jaeger_remote")]), (ratio("0.1"), "weir".to_owned(), 1));
        assert_eq!(of(&silent, &[("OTEL_RESOURCE_ATTRIBUTES", "service.name=r,a=b")]).1, "r");
        let file =
            Tracing { sample_ratio: Some(Spanned::nowhere(1.0)), service_name: Some("f".to_owned()), ..Tracing::default() };
        let env = [("OTEL_TRACES_SAMPLER", "always_off"), ("OTEL_SERVICE_NAME", "s")];
        assert_eq!(of(&file, &env), (ratio("1.0"), "f".to_owned(), 0));
    }

    #[test]
    fn batches() {
        let of = |variables: &[(&str, &str)]| {
            let variables = [variables, &[("OTEL_TRACES_EXPORTER", "console")]].concat();
            let found = read_with(&Tracing::default(), &variables);
            (found.options.expect("it is on").batching, found.warnings.len())
        };
        assert_eq!(of(&[]), (Batching::default(), 0));
        let set =
            [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2"), ("OTEL_BSP_SCHEDULE_DELAY", "250")];
        assert_eq!(of(&set), (Batching { queue: 10, batch: 2, delay: Duration::from_millis(250) }, 0));
        assert_eq!(of(&[("OTEL_BSP_MAX_QUEUE_SIZE", "0")]), (Batching::default(), 1));
    }
}
