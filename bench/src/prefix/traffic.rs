//! Sends the workload as its requests fall due, whatever the fleet does, and measures first tokens.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{fleet::Fleet, requests::Workload};
use crate::{
    Result,
    wire::{Conn, response_head},
};

const REQUEST_LIMIT: Duration = Duration::from_secs(60);
const CONTENT: &[u8] = b"\"content\":\"";
const END: &[u8] = b"data: [DONE]";

/// One policy under one seed; requests due in the warm-up do not count.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) requests: usize,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    pub(super) ttft_mean_ms: f64,
    pub(super) ttft_p50_ms: f64,
    pub(super) ttft_p99_ms: f64,
    /// Prompt tokens found in a worker's cache, of all prompt tokens.
    pub(super) hit_ratio: f64,
}

pub(super) async fn run(target: SocketAddr, fleet: &Fleet, workload: &Workload) -> Result<Outcome> {
    let idle = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let mut sent = JoinSet::new();
    let mut before = None;
    for (at, &(due, _)) in workload.arrivals().iter().enumerate() {
        if before.is_none() && due >= workload.warm_up() {
            tokio::time::sleep_until((start + workload.warm_up()).into()).await;
            before = Some(fleet.cache_counters().await?);
        }
        let body = workload.body(at);
        tokio::time::sleep_until((start + due).into()).await;
        let (idle, counts) = (Arc::clone(&idle), due >= workload.warm_up());
        sent.spawn(async move {
            let asking = tokio::time::timeout(REQUEST_LIMIT, ask(target, &idle, &body));
            let first_token = asking.await.map_err(|_| "no whole answer in time".into()).flatten();
            (counts, first_token.map(|at| at.duration_since(start + due)))
        });
    }
    let (mut ttft_ms, mut errors, mut first_error) = (Vec::new(), 0, None);
    while let Some(one) = sent.join_next().await {
        match one? {
            (true, Ok(ttft)) => ttft_ms.push(ttft.as_secs_f64() * 1e3),
            (false, Ok(_)) => {}
            (_, Err(error)) => {
                errors += 1;
                first_error.get_or_insert(error.to_string());
            }
        }
    }
    let (before, after) = (before.unwrap_or_default(), fleet.cache_counters().await?);
    ttft_ms.sort_by(f64::total_cmp);
    let quantile = |q: f64| ttft_ms.get(((ttft_ms.len() as f64 * q) as usize).min(ttft_ms.len().saturating_sub(1))).copied();
    Ok(Outcome {
        requests: ttft_ms.len(),
        errors,
        first_error,
        ttft_mean_ms: ttft_ms.iter().sum::<f64>() / ttft_ms.len().max(1) as f64,
        ttft_p50_ms: quantile(0.5).unwrap_or_default(),
        ttft_p99_ms: quantile(0.99).unwrap_or_default(),
        hit_ratio: (after.hits - before.hits) / (after.queries - before.queries).max(1.0),
    })
}

/// Reads one stream to its end and returns when its first text came.
async fn ask(target: SocketAddr, idle: &Mutex<Vec<Conn>>, body: &str) -> Result<Instant> {
    let free = idle.lock().pop();
    let mut conn = match free {
        Some(conn) => conn,
        None => Conn::connect(target).await?,
    };
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench.local\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    conn.write((head + body).as_bytes()).await?;
    let head = conn.head(response_head).await?;
    let (mut first_token, mut ended, mut error) = (None, false, Vec::new());
    conn.body(head.framing, |data| {
        if head.status != 200 {
            error.extend_from_slice(&data[..data.len().min(500)]);
        }
        if first_token.is_none() && has_text(data) {
            first_token = Some(Instant::now());
        }
        ended |= memchr::memmem::find(data, END).is_some();
    })
    .await?;
    if head.status != 200 {
        return Err(format!("status {}: {}", head.status, String::from_utf8_lossy(&error)).into());
    }
    if !ended {
        return Err("stream without its end marker".into());
    }
    idle.lock().push(conn);
    first_token.ok_or_else(|| "stream without text".into())
}

/// Whether an event carries text: the first chunk of a chat names only the role.
fn has_text(data: &[u8]) -> bool {
    memchr::memmem::find_iter(data, CONTENT).any(|at| data.get(at + CONTENT.len()).is_some_and(|&byte| byte != b'"'))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_role_is_not_text() {
        assert!(!super::has_text(br#"data: {"delta":{"role":"assistant","content":""}}"#));
        assert!(super::has_text(br#"data: {"delta":{"content":""}} data: {"delta":{"content":"x"}}"#));
    }
}
