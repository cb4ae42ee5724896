//! Child processes under test: started on given cores, measured through `/proc`, never left behind.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{
    Result,
    wire::{Conn, response_head},
};

/// The core of the process under test, and the core of everything else, as `taskset` masks.
pub(crate) const PROXY_CORE: &str = "0x1";
pub(crate) const OTHER_CORE: &str = "0x2";

/// `/proc` counts CPU time in these; it is 100 on every Linux architecture that Rust knows.
const TICKS_PER_SECOND: f64 = 100.0;

/// A running child; dropping it kills and reaps it.
pub(crate) struct Process {
    name: String,
    child: Child,
}

/// Memory in KiB: now, and at most since the last [`Process::reset_peak`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    pub(crate) peak_kib: u64,
}

impl Process {
    /// Starts a program pinned to `cores`; its output goes to `log`.
    pub(crate) fn start(name: &str, cores: &str, program: &OsStr, args: &[String], log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        let mut command = pinned(cores, program);
        command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Starts a part of this program, which prints one line when it listens; returns that line.
    pub(crate) fn start_self(cores: &str, args: &[&str]) -> Result<(Self, String)> {
        let mut command = pinned(cores, std::env::current_exe()?.as_os_str());
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Self { name: args.join(" "), child: command.spawn()? };
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            return Err(format!("`{}` ended before it was ready", process.name).into());
        }
        Ok((process, line.trim().to_owned()))
    }

    /// User and system seconds of all its threads since it started, to 10 ms.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| format!("unreadable stat of {}", self.name))?;
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        let kib = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let missing = || format!("no memory in the status of {}", self.name);
        Ok(Memory { resident_kib: kib("VmRSS:").ok_or_else(missing)?, peak_kib: kib("VmHWM:").ok_or_else(missing)? })
    }

    /// Forgets the peak so far.
    pub(crate) fn reset_peak(&self) -> Result<()> {
        Ok(std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")?)
    }

    /// Waits until `addr` answers `POST path` with 200 (`GET` when `body` is empty).
    pub(crate) async fn wait_ready(&mut self, addr: SocketAddr, path: &str, body: &str, limit: Duration) -> Result<()> {
        let answers = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Err(format!("{} ended with {status}", self.name).into());
                }
                if matches!(ask(addr, path, body).await, Ok((200, _))) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(limit, answers).await {
            Ok(result) => result,
            Err(_) => Err(format!("{} is not ready after {limit:?}", self.name).into()),
        }
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).map_err(|error| format!("{} is gone: {error}", self.name).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own: status and body.
pub(crate) async fn ask(addr: SocketAddr, path: &str, body: &str) -> Result<(u16, Vec<u8>)> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut conn = Conn::connect(addr).await?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    conn.write(request.as_bytes()).await?;
    let head = conn.head(response_head).await?;
    let mut answer = Vec::new();
    conn.body(head.framing, |data| answer.extend_from_slice(data)).await?;
    Ok((head.status, answer))
}

/// Runs a part of this program to its end and returns what it printed.
pub(crate) fn output_of_self(cores: &str, args: &[String]) -> Result<String> {
    let output = pinned(cores, std::env::current_exe()?.as_os_str()).args(args).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("`{}` ended with {}", args.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A port nobody listens on now. It may be taken before it is used; then the start fails visibly.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// `count` consecutive ports nobody listens on now; returns the first.
pub(crate) fn free_ports(count: u16) -> Result<u16> {
    for _ in 0..100 {
        let first = free_port()?;
        let held: Vec<_> =
            (first..first.saturating_add(count)).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return Ok(first);
        }
    }
    Err(format!("no {count} free consecutive ports").into())
}

/// A command on these cores that dies with this process, however this process ends.
fn pinned(cores: &str, program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "taskset", cores]).arg(program);
    command
}

/// Fields 14 and 15 of `/proc/PID/stat`; the name in field 2 may contain anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    #[test]
    fn cpu_ticks_ignore_what_is_in_the_name() {
        let stat = "42 (a) 1 b) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20 0 1 0";
        assert_eq!(super::cpu_ticks(stat), Some(333));
        assert_eq!(super::cpu_ticks("nonsense"), None);
    }
}
