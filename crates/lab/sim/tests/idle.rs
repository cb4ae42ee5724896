//! What a hundred idle workers cost; alone in its process, so that nothing else is counted.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use weir_sim::{SimConfig, start};

/// User and system time of this process; the kernel counts in hundredths of a second.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundred_idle_workers_cost_less_than_two_hundredths_of_a_core() {
    let mut workers = Vec::new();
    for _ in 0..100 {
        workers.push(start(SimConfig::default_profile("m"), "127.0.0.1:0".parse().unwrap()).await.unwrap());
    }
    let (before, began) = (cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let share = (cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(share <= 0.02, "{share} of a core");
    assert!(workers.iter().all(|worker| worker.stats().running == 0));
}
