//! The configuration files that weir is started with, and the start.

use std::{fmt::Write as _, net::SocketAddr, path::Path};

use crate::{Result, process::Process};

/// Queue, KV-cache use and prefix with the weights of the default plan, written out.
pub(crate) const THREE_SCORERS: &str = "
    scheduling:
      plugins:
        - type: queue-scorer
        - type: kv-cache-utilization-scorer
        - type: prefix-cache-scorer
      schedulingProfiles:
        - name: default
          plugins:
            - {pluginRef: queue-scorer, weight: 2}
            - {pluginRef: kv-cache-utilization-scorer, weight: 2}
            - {pluginRef: prefix-cache-scorer, weight: 3}
";

/// Any endpoint, whatever it holds or does.
pub(crate) const RANDOM: &str = "
    scheduling:
      plugins:
        - type: random-picker
      schedulingProfiles:
        - name: default
          plugins:
            - {pluginRef: random-picker}
";

/// One pool of static endpoints behind one address.
pub(crate) struct RouterConfig<'a> {
    pub(crate) http: u16,
    pub(crate) admin: u16,
    pub(crate) endpoints: &'a [SocketAddr],
    /// The pool's `scheduling`, indented to be one of its keys; empty for the default plan.
    pub(crate) scheduling: &'a str,
    /// Whether idle endpoints are asked less often; `None` leaves the default.
    pub(crate) adaptive: Option<bool>,
}

impl RouterConfig<'_> {
    pub(crate) fn to_yaml(&self) -> String {
        let mut yaml = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: RouterConfig\nlisten:\n  http: 127.0.0.1:{}\n  admin: 127.0.0.1:{}\n",
            self.http, self.admin
        );
        // No proxy here writes a line per request.
        yaml.push_str("gateway: {accessLog: false}\n");
        yaml.push_str("pools:\n  - name: chat\n    endpoints:\n      static:\n");
        for (at, address) in self.endpoints.iter().enumerate() {
            let _ = writeln!(yaml, "        - {{name: chat-{at}, url: \"http://{address}\"}}");
        }
        if let Some(adaptive) = self.adaptive {
            let _ = writeln!(yaml, "    metrics: {{adaptive: {adaptive}}}");
        }
        yaml.push_str(self.scheduling.trim_start_matches('\n'));
        yaml
    }

    /// Writes the file to a scratch folder, starts `weir serve` with it; returns where it will listen.
    pub(crate) fn start(&self, weir: &Path, run: &str, cores: &str) -> Result<(Process, SocketAddr)> {
        let folder = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        // Apart from the log, whose growth would wake whoever watches the file.
        std::fs::create_dir_all(folder.join("config"))?;
        let (file, log) = (folder.join(format!("config/{run}.yaml")), folder.join(format!("{run}.log")));
        std::fs::write(&file, self.to_yaml())?;
        println!("weir: {} serve --config {} (log: {})", weir.display(), file.display(), log.display());
        let arguments = ["serve".to_owned(), "--config".to_owned(), file.display().to_string()];
        let process = Process::start("weir", cores, weir.as_os_str(), &arguments, &log)?;
        Ok((process, SocketAddr::from(([127, 0, 0, 1], self.http))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weir_takes_the_files_without_a_word() {
        let endpoints = [SocketAddr::from(([127, 0, 0, 1], 8001)), SocketAddr::from(([127, 0, 0, 1], 8002))];
        for scheduling in ["", THREE_SCORERS, RANDOM] {
            for adaptive in [None, Some(false)] {
                let yaml = RouterConfig { http: 8080, admin: 9090, endpoints: &endpoints, scheduling, adaptive }.to_yaml();
                let mut no_file = |_: &Path| Err(std::io::ErrorKind::NotFound.into());
                let loaded = weir_api::RouterConfig::parse("bench", &yaml, Path::new(""), &mut no_file).unwrap();
                assert!(loaded.warnings.is_empty(), "{yaml}");
                assert_eq!(loaded.config.pools[0].metrics.adaptive, adaptive.unwrap_or(true));
            }
        }
    }
}
