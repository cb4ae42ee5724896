//! One line about the router that is rewritten in place, for a person at a terminal.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::Arc,
    time::Duration,
};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use weir_router::Router;

const EVERY: Duration = Duration::from_secs(1);

/// Rewrites the line each second until `stop`; does nothing if stderr is not a terminal.
pub(crate) async fn run(router: impl Fn() -> Arc<Router>, stop: CancellationToken) {
    if !std::io::stderr().is_terminal() || !std::io::stdout().is_terminal() {
        return;
    }
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = total(&router());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => break,
        }
        let router = router();
        let now = total(&router);
        let rate = now.saturating_sub(before);
        before = now;
        let _ = write!(std::io::stderr(), "\r\x1b[K{}", line(&router, rate));
        let _ = std::io::stderr().flush();
    }
    let _ = write!(std::io::stderr(), "\r\x1b[K");
}

fn total(router: &Router) -> u64 {
    let sum =
        |pool: &weir_router::PoolRuntime| pool.pool.load().endpoints.iter().map(|one| one.ledger.total_requests()).sum::<u64>();
    router.pools().iter().map(sum).sum()
}

fn line(router: &Router, rate: u64) -> String {
    let status = router.status();
    let (ready, endpoints, inflight) = status.iter().fold((0, 0, 0), |(ready, all, inflight), pool| {
        (ready + pool.ready, all + pool.endpoints, inflight + pool.inflight_requests)
    });
    let mut kv = Vec::new();
    let mut waiting = 0;
    for pool in router.pools() {
        for one in &pool.pool.load().endpoints {
            kv.push(one.engine.kv_usage());
            waiting += one.engine.waiting();
        }
    }
    let mean_kv = if kv.is_empty() { 0.0 } else { kv.iter().sum::<f64>() / kv.len() as f64 };
    format!(
        "{ready}/{endpoints} endpoints ready  {rate} req/s  {inflight} in flight  {waiting} waiting in engines  KV {:.0} %",
        mean_kv * 100.0
    )
}
