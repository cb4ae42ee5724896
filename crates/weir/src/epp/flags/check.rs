//! What single flags cannot say about themselves, and which of them have no effect yet.

use std::time::Duration;

use super::{Flags, TlsVersion, read::CIPHER_SUITES};

/// The shortest time between two readings of a metrics page.
const MIN_REFRESH: Duration = Duration::from_millis(50);

/// What the author of a command line should know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::epp) struct Checked {
    /// A sentence each.
    pub(in crate::epp) warnings: Vec<String>,
    /// Flags that were given and have no effect: the flag, and why.
    pub(in crate::epp) inactive: Vec<(&'static str, &'static str)>,
}

impl Checked {
    /// One sentence about everything that has no effect.
    pub(in crate::epp) fn notice(&self) -> Option<String> {
        if self.inactive.is_empty() {
            return None;
        }
        let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
        for (flag, why) in &self.inactive {
            match reasons.iter_mut().find(|(known, _)| known == why) {
                Some((_, flags)) => flags.push(flag),
                None => reasons.push((why, vec![flag])),
            }
        }
        let parts: Vec<String> = reasons
            .iter()
            .map(|(why, flags)| format!("{} ({why})", flags.iter().map(|one| format!("--{one}")).collect::<Vec<_>>().join(", ")))
            .collect();
        Some(format!("accepted without effect: {}", parts.join("; ")))
    }
}

impl Flags {
    /// Checks what flags say together, and fills in what follows from the environment.
    ///
    /// # Errors
    /// Everything that is wrong, a sentence each.
    pub(in crate::epp) fn check(
        &mut self,
        given: &[&'static str],
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Checked, Vec<String>> {
        let mut wrong = Vec::new();
        let mut found = Checked::default();
        for flag in &self.removed {
            wrong.push(format!(
                "--{flag} was removed: name the metric in `engineConfigs` of the plugin core-metrics-extractor, in --config-file"
            ));
        }
        if self.config_file.is_some() && self.config_text.is_some() {
            wrong.push("--config-file and --config-text exclude each other".to_owned());
        }
        self.check_endpoints(&mut wrong);
        self.check_ports(&mut wrong);
        self.check_tls(given, &mut wrong, &mut found);
        self.check_metrics(given, &mut wrong, &mut found);
        let namespace = self.pool_namespace.take().or_else(|| env("NAMESPACE").filter(|text| !text.is_empty()));
        self.pool_namespace = Some(namespace.unwrap_or_else(|| "default".to_owned()));
        self.deployment = env("POD_NAME").as_deref().and_then(deployment_of).map(str::to_owned);
        self.note_inactive(given, &mut found);
        if wrong.is_empty() { Ok(found) } else { Err(wrong) }
    }

    fn check_endpoints(&self, wrong: &mut Vec<String>) {
        if self.pool_name.is_some() && self.endpoint_selector.is_some() {
            wrong.push("--pool-name and --endpoint-selector exclude each other".to_owned());
        }
        if let Some(Err(error)) = self.endpoint_selector.as_deref().map(weir_api::check_selector) {
            wrong.push(format!("--endpoint-selector: {error}"));
        }
        let groups = ["inference.networking.k8s.io", "inference.networking.x-k8s.io"];
        if !groups.contains(&self.pool_group.as_str()) {
            wrong.push(format!("--pool-group {}: pools are in {} or {}", self.pool_group, groups[0], groups[1]));
        }
        match (&self.endpoint_selector, self.endpoint_target_ports.as_slice()) {
            (Some(_), []) => wrong.push("--endpoint-selector needs --endpoint-target-ports".to_owned()),
            (_, ports) if ports.len() > 8 => {
                wrong.push(format!("--endpoint-target-ports takes 1 to 8 ports, and here are {}", ports.len()));
            }
            _ => {}
        }
    }

    fn check_ports(&self, wrong: &mut Vec<String>) {
        let ports =
            [("grpc-port", self.grpc_port), ("grpc-health-port", self.grpc_health_port), ("metrics-port", self.metrics_port)];
        for (place, (flag, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports[..place].iter().find(|(_, other)| other == port && *port != 0) {
                wrong.push(format!("--{flag} is {port}, and so is --{other}"));
            }
        }
    }

    fn check_tls(&mut self, given: &[&str], wrong: &mut Vec<String>, found: &mut Checked) {
        if self.metrics_client_ca_file.is_some() && self.metrics_cert_dir.is_none() {
            wrong.push("--metrics-client-ca-file needs --metrics-cert-dir: without TLS no client has a certificate".to_owned());
        }
        if self.metrics_cert_dir.is_some() {
            wrong.push(
                "--metrics-cert-dir is not active yet, and metrics would be served in cleartext: leave it out, and keep the \
                 metrics port where only you can reach it"
                    .to_owned(),
            );
        }
        if !self.secure_serving {
            let idle = ["cert-path", "enable-cert-reload", "tls-min-version", "tls-cipher-suites"];
            found.inactive.extend(
                idle.into_iter()
                    .filter(|flag| given.contains(flag))
                    .map(|flag| (flag, "--secure-serving=false: there is no TLS")),
            );
            return;
        }
        if self.enable_cert_reload && self.cert_path.is_none() {
            found.inactive.push(("enable-cert-reload", "there is no --cert-path"));
        }
        if self.tls_min_version.is_some_and(|least| least < TlsVersion::V12) {
            found.warnings.push("--tls-min-version: TLS below 1.2 is never spoken".to_owned());
        }
        let is_spoken = |name: &String| CIPHER_SUITES.iter().any(|(known, spoken)| known == name && *spoken);
        let (spoken, weak): (Vec<String>, Vec<String>) = self.tls_cipher_suites.iter().cloned().partition(is_spoken);
        if !weak.is_empty() && spoken.is_empty() && self.tls_min_version != Some(TlsVersion::V13) {
            wrong.push(format!("--tls-cipher-suites: none of these is strong enough to be spoken: {}", weak.join(", ")));
        } else if !weak.is_empty() {
            found.warnings.push(format!("--tls-cipher-suites: too weak, not spoken: {}", weak.join(", ")));
        }
        self.tls_cipher_suites = spoken;
    }

    fn check_metrics(&mut self, given: &[&str], wrong: &mut Vec<String>, found: &mut Checked) {
        if self.refresh_metrics_interval < MIN_REFRESH {
            found.warnings.push(format!(
                "--refresh-metrics-interval {} ms is raised to {} ms",
                self.refresh_metrics_interval.as_secs_f64() * 1e3,
                MIN_REFRESH.as_millis()
            ));
            self.refresh_metrics_interval = MIN_REFRESH;
        }
        if self.metrics_staleness_threshold <= self.refresh_metrics_interval {
            wrong.push(
                "--metrics-staleness-threshold must be above --refresh-metrics-interval: every reading would be stale".to_owned(),
            );
        }
        let old: Vec<String> =
            given.iter().filter(|flag| flag.starts_with("model-server-metrics-")).map(|flag| format!("--{flag}")).collect();
        if !old.is_empty() {
            found.warnings.push(format!(
                "{} {} removed in llm-d 0.10: write the parameters of the plugin metrics-data-source, which {} now",
                old.join(", "),
                if old.len() == 1 { "was" } else { "were" },
                if old.len() == 1 { "it sets" } else { "they set" },
            ));
        }
    }

    fn note_inactive(&self, given: &[&'static str], found: &mut Checked) {
        const KUBERNETES: &str = "--endpoints-file lists the endpoints";
        const NOTHING: &str = "weir has no use for it";
        let listed = self.endpoints_file.is_some();
        let idle: [(&'static str, bool, &'static str); 11] = [
            ("pool-namespace", listed, KUBERNETES),
            ("pool-group", listed, KUBERNETES),
            ("endpoint-selector", listed, KUBERNETES),
            ("endpoint-target-ports", listed, KUBERNETES),
            ("endpoint-target-ports", !listed && self.endpoint_selector.is_none(), "an InferencePool says its ports itself"),
            ("metrics-endpoint-auth", self.metrics_endpoint_auth && listed, KUBERNETES),
            ("enable-grpc-stream-metrics", self.enable_grpc_stream_metrics, "they are always counted"),
            ("enable-pprof", self.enable_pprof, NOTHING),
            ("refresh-prometheus-metrics-interval", true, NOTHING),
            ("zap-stacktrace-level", true, NOTHING),
            ("zap-time-encoding", true, NOTHING),
        ];
        let idle = idle.into_iter().filter(|(flag, wanted, _)| *wanted && given.contains(flag));
        found.inactive.extend(idle.map(|(flag, _, why)| (flag, why)));
    }
}

/// The Deployment of a pod that is called `<deployment>-<replica set>-<pod>`.
fn deployment_of(pod: &str) -> Option<&str> {
    let part = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let (rest, last) = pod.rsplit_once('-')?;
    let (name, set) = rest.rsplit_once('-')?;
    (part(last) && part(set) && !name.is_empty()).then_some(name)
}
