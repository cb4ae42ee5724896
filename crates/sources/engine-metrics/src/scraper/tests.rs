mod fake;

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_pool::{Endpoint, EndpointSpec, EndpointUrl, Pool, Readiness};

use self::fake::{Fake, Framing, reply};
use super::Scraper;
use crate::{ENGINE_LABEL, MonotonicClock, ScrapeOptions, Secret};

const VLLM: &str = include_str!("../../../../../testdata/metrics/vllm.txt");
const SGLANG: &str = include_str!("../../../../../testdata/metrics/sglang.txt");
const TRTLLM: &str = include_str!("../../../../../testdata/metrics/trtllm-serve.txt");
const LLAMA_CPP: &str = include_str!("../../../../../testdata/metrics/llama-cpp.txt");
const MODELS: &str = r#"{"object":"list","data":[{"id":"base"},{"id":"adapter"}]}"#;

/// A scraper that runs, and stops with its test.
struct Bench {
    scraper: Scraper,
    task: JoinHandle<()>,
}

impl Bench {
    async fn start(pools: Vec<(Arc<Pool>, ScrapeOptions)>) -> Self {
        let scraper = Scraper::new(MonotonicClock::start().shared());
        scraper.set_pools(pools);
        let task = tokio::spawn({
            let scraper = scraper.clone();
            async move { scraper.run(CancellationToken::new()).await }
        });
        scraper.wait_first_round().await;
        Self { scraper, task }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn eager() -> ScrapeOptions {
    let interval = Duration::from_millis(10);
    ScrapeOptions { interval, idle_interval: interval, adaptive: false, ..ScrapeOptions::default() }
}

fn spec(name: &str, port: u16) -> EndpointSpec {
    EndpointSpec::new(name, EndpointUrl::http("127.0.0.1", port))
}

fn pool_of(specs: &[EndpointSpec]) -> Arc<Pool> {
    let pool = Arc::new(Pool::new("p"));
    pool.reconcile(specs);
    pool
}

fn endpoint(pool: &Pool, at: usize) -> Arc<Endpoint> {
    Arc::clone(&pool.load().endpoints[at])
}

/// Waits for something that another task brings about.
async fn until(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("never happened");
}

fn readiness(pool: &Pool) -> Readiness {
    endpoint(pool, 0).health.readiness()
}

#[tokio::test]
async fn a_page_is_published_however_it_is_framed() {
    for framing in [Framing::Length, Framing::Chunked, Framing::Pieces, Framing::UntilClose] {
        let fake = Fake::start(move |request| match request.path.as_str() {
            "/metrics" => reply(200, VLLM).framed(framing),
            "/v1/models" => reply(200, MODELS),
            _ => reply(404, ""),
        })
        .await;
        let pool = pool_of(&[spec("a", fake.port)]);
        let bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
        let endpoint = endpoint(&pool, 0);
        assert_eq!((endpoint.engine.waiting(), endpoint.engine.running()), (3, 17), "{framing:?}");
        assert_eq!((endpoint.engine.block_size_tokens(), endpoint.engine.num_blocks()), (16, 27_702));
        assert_eq!(*endpoint.models(), ["base", "adapter"]);
        assert_eq!(endpoint.health.readiness(), Readiness::Ready);
        until(|| bench.scraper.totals()[0].scrapes >= 5).await;
        let totals = bench.scraper.totals().remove(0);
        assert_eq!((totals.pool.as_str(), totals.errors), ("p", 0));
        assert!(totals.bytes > 4 * VLLM.len() as u64);
        assert_eq!(fake.connections() == 1, framing != Framing::UntilClose, "{framing:?}");
    }
}

#[tokio::test]
async fn an_endpoint_without_metrics_is_ready_when_it_answers_a_probe() {
    for (metrics, models, health, ready) in
        [(404, 200, 404, true), (404, 404, 200, true), (401, 401, 200, true), (501, 500, 503, false), (404, 404, 404, false)]
    {
        let fake = Fake::start(move |request| match request.path.as_str() {
            "/v1/models" => reply(models, MODELS),
            "/health" => reply(health, ""),
            _ => reply(metrics, ""),
        })
        .await;
        let pool = pool_of(&[spec("a", fake.port)]);
        let _bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
        let endpoint = endpoint(&pool, 0);
        let wanted = if ready { Readiness::Ready } else { Readiness::NotReady };
        assert_eq!(endpoint.health.readiness(), wanted, "{metrics} {models} {health}");
        assert_eq!(endpoint.models().len(), if models == 200 { 2 } else { 0 });
        assert_eq!(endpoint.engine.scraped_at(), None);
    }
}

#[tokio::test]
async fn a_page_without_known_families_is_no_metrics_page() {
    let fake = Fake::start(|request| match request.path.as_str() {
        "/metrics" => reply(200, LLAMA_CPP),
        "/v1/models" => reply(200, MODELS),
        _ => reply(404, ""),
    })
    .await;
    let pool = pool_of(&[spec("a", fake.port)]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    assert_eq!(readiness(&pool), Readiness::Ready);
    assert_eq!(endpoint(&pool, 0).engine.scraped_at(), None);
}

#[tokio::test]
async fn a_failing_page_is_a_failing_endpoint() {
    let fake = Fake::start(|_| reply(503, "loading")).await;
    let pool = pool_of(&[spec("a", fake.port)]);
    let bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    assert_eq!(readiness(&pool), Readiness::NotReady);
    assert!(bench.scraper.totals()[0].errors >= 1);
}

#[tokio::test]
async fn scraping_switched_off_leaves_the_probe() {
    let fake = Fake::start(|request| if request.path == "/v1/models" { reply(200, MODELS) } else { reply(500, "") }).await;
    let pool = pool_of(&[spec("a", fake.port)]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), ScrapeOptions { enabled: false, ..eager() })]).await;
    assert_eq!(readiness(&pool), Readiness::Ready);
    assert_eq!(endpoint(&pool, 0).models().len(), 2);
}

#[tokio::test]
async fn engines_are_recognised_without_a_label() {
    let sglang = Fake::start(|request| if request.path == "/metrics" { reply(200, SGLANG) } else { reply(404, "") }).await;
    let trtllm =
        Fake::start(|request| if request.path == "/prometheus/metrics" { reply(200, TRTLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[spec("a", sglang.port), spec("b", trtllm.port)]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    assert_eq!(endpoint(&pool, 0).engine.running(), 11);
    assert_eq!(endpoint(&pool, 1).engine.running(), 8);
}

#[tokio::test]
async fn a_label_is_final() {
    let fake = Fake::start(|request| if request.path == "/metrics" { reply(200, SGLANG) } else { reply(200, MODELS) }).await;
    let mut labelled = spec("a", fake.port);
    labelled.labels.insert(ENGINE_LABEL.to_owned(), "vllm".to_owned());
    let pool = pool_of(&[labelled]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    assert_eq!(endpoint(&pool, 0).engine.scraped_at(), None);
    assert_eq!(readiness(&pool), Readiness::Ready);
}

#[tokio::test]
async fn requests_carry_host_base_path_and_key() {
    let fake = Fake::start(|request| {
        let authorized = request.has("authorization: Bearer sk-1") && request.has(&format!("host: 127.0.0.1:{}", request.port));
        match request.path.as_str() {
            _ if !authorized => reply(401, ""),
            "/base/stats" => reply(200, VLLM),
            "/base/v1/models" => reply(200, MODELS),
            _ => reply(404, ""),
        }
    })
    .await;
    let mut with_base = spec("a", fake.port);
    with_base.url.base_path = "/base".to_owned();
    let pool = pool_of(&[with_base]);
    let options = ScrapeOptions { api_key: Some(Secret::new("sk-1").unwrap()), path: Some("/stats".to_owned()), ..eager() };
    let _bench = Bench::start(vec![(Arc::clone(&pool), options)]).await;
    assert_eq!(endpoint(&pool, 0).engine.running(), 17);
    assert_eq!(endpoint(&pool, 0).models().len(), 2);
}

#[tokio::test]
async fn metrics_may_be_on_another_port() {
    let api = Fake::start(|request| if request.path == "/v1/models" { reply(200, MODELS) } else { reply(404, "") }).await;
    let metrics = Fake::start(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[spec("a", api.port)]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), ScrapeOptions { port: Some(metrics.port), ..eager() })]).await;
    assert_eq!(endpoint(&pool, 0).engine.running(), 17);
    assert_eq!(endpoint(&pool, 0).models().len(), 2);
}

#[tokio::test]
async fn a_silent_endpoint_delays_only_itself() {
    let silent = Fake::start(|_| reply(200, "").framed(Framing::Never)).await;
    let good = Fake::start(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[spec("a", silent.port), spec("b", good.port)]);
    let options = ScrapeOptions { timeout: Duration::from_millis(300), ..eager() };
    let bench = Bench::start(vec![(Arc::clone(&pool), options)]).await;
    // The first round lasted as long as the silent endpoint's time-out.
    assert!(bench.scraper.totals()[0].scrapes >= 5);
    assert_eq!(readiness(&pool), Readiness::NotReady);
    assert_eq!(endpoint(&pool, 1).health.readiness(), Readiness::Ready);
}

#[tokio::test]
async fn an_endpoint_that_goes_and_comes_back() {
    let answer = |models: &'static str| {
        move |request: &fake::Request| match request.path.as_str() {
            "/metrics" => reply(200, VLLM),
            _ => reply(200, models),
        }
    };
    let fake = Fake::start(answer(MODELS)).await;
    let port = fake.port;
    let pool = pool_of(&[spec("a", port)]);
    let _bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    assert_eq!(readiness(&pool), Readiness::Ready);
    fake.stop().await;
    until(|| readiness(&pool) == Readiness::NotReady).await;
    let fake = Fake::start_at(port, answer(r#"{"data":[{"id":"other"}]}"#)).await;
    until(|| readiness(&pool) == Readiness::Ready && *endpoint(&pool, 0).models() == ["other"]).await;
    // A kept connection that the server closed between two scrapes is no failure.
    fake.close_connections();
    let before = fake.requests();
    until(|| fake.requests() > before + 3).await;
    assert_eq!(readiness(&pool), Readiness::Ready);
}

#[tokio::test]
async fn closed_connections_are_replaced_without_an_error() {
    let fake = Fake::start(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[spec("a", fake.port)]);
    let bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    for round in 1..4 {
        fake.close_connections();
        until(|| fake.connections() > round).await;
    }
    assert_eq!(bench.scraper.totals()[0].errors, 0);
}

#[tokio::test]
async fn pools_and_endpoints_change_while_it_runs() {
    let fake = Fake::start(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[]);
    let bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
    pool.reconcile(&[spec("a", fake.port)]);
    until(|| readiness(&pool) == Readiness::Ready).await;

    let other = pool_of(&[spec("b", fake.port)]);
    bench.scraper.set_pools(vec![(Arc::clone(&pool), eager()), (Arc::clone(&other), eager())]);
    bench.scraper.wait_first_round().await;
    assert_eq!(readiness(&other), Readiness::Ready);
    assert_eq!(fake.connections(), 2);

    bench.scraper.set_pools(vec![]);
    bench.scraper.wait_first_round().await;
    until(|| fake.open_connections() == 0).await;
}

#[tokio::test]
async fn traffic_makes_an_idle_endpoint_interesting() {
    let fake = Fake::start(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let pool = pool_of(&[spec("a", fake.port)]);
    let hour = Duration::from_secs(3600);
    let options = ScrapeOptions { adaptive: true, idle_interval: hour, ..eager() };
    let _bench = Bench::start(vec![(Arc::clone(&pool), options)]).await;
    let charge = endpoint(&pool, 0).ledger.charge(1, 1);
    let before = fake.requests();
    until(|| fake.requests() > before + 3).await;
    drop(charge);
}

#[tokio::test]
async fn pages_that_lack_a_family_are_counted() {
    for (page, incomplete) in [(VLLM, false), ("vllm:num_requests_running 3\n", true)] {
        let fake = Fake::start(move |request| if request.path == "/metrics" { reply(200, page) } else { reply(404, "") }).await;
        let pool = pool_of(&[spec("a", fake.port)]);
        let bench = Bench::start(vec![(Arc::clone(&pool), eager())]).await;
        until(|| bench.scraper.totals()[0].scrapes >= 3).await;
        let totals = bench.scraper.totals().remove(0);
        assert_eq!((totals.incomplete > 0, totals.errors), (incomplete, 0));
    }
}

#[tokio::test]
async fn endpoints_behind_tls() {
    let (fake, tls) = Fake::start_tls(|request| if request.path == "/metrics" { reply(200, VLLM) } else { reply(404, "") }).await;
    let url = format!("https://127.0.0.1:{}", fake.port).parse().unwrap();
    let pool = pool_of(&[EndpointSpec::new("a", url)]);
    let bench = Bench::start(vec![(Arc::clone(&pool), ScrapeOptions { tls: Some(tls), ..eager() })]).await;
    assert_eq!(endpoint(&pool, 0).engine.running(), 17);
    until(|| fake.requests() >= 5).await;
    assert_eq!((fake.connections(), bench.scraper.totals()[0].errors), (1, 0));

    bench.scraper.set_pools(vec![(pool_of(&[]), eager()), (Arc::clone(&pool), eager())]);
    until(|| readiness(&pool) == Readiness::NotReady).await;
}
