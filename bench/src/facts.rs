//! Where a result comes from: machine, commit, time. And where it goes.

use std::{path::Path, process::Command};

use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facts {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_kib: u64,
    /// Short hash, with `+` when the working tree differs from it.
    commit: String,
    rustc: String,
    at: String,
}

impl Facts {
    pub(crate) fn gather() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let dirty = if output("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty() { "" } else { "+" };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let cpus = read("/proc/cpuinfo");
        Self {
            cores: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            cpu: field(&cpus, "model name"),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            memory_kib: memory.trim_end_matches(" kB").parse().unwrap_or_default(),
            commit: format!("{}{dirty}", output("git", &["rev-parse", "--short", "HEAD"])),
            rustc: output("rustc", &["--version"]),
            at: output("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        }
    }
}

/// Writes `value` as readable JSON, and says where.
pub(crate) fn store(path: &Path, value: &impl Serialize) -> crate::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, serde_json::to_string_pretty(value)? + "\n")?;
    println!("\nwritten: {}", path.display());
    Ok(())
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
