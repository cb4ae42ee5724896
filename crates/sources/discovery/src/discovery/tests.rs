use std::{fs, net::IpAddr};

use parking_lot::Mutex;
use tokio::time::{advance, timeout};
use weir_pool::{Endpoint, EndpointUrl};

use super::*;
use crate::scratch::Scratch;

const SOON: Duration = Duration::from_secs(20);

fn listing(endpoints: &[(&str, &str)]) -> String {
    let entry = |(name, address): &(&str, &str)| format!("- name: {name}\n  address: {address}\n  port: \"8000\"\n");
    format!("endpoints:\n{}", endpoints.iter().map(entry).collect::<String>())
}

fn ids(pool: &Pool) -> Vec<String> {
    pool.load().endpoints.iter().map(|endpoint| endpoint.id().to_owned()).collect()
}

fn file(path: &Path) -> Source {
    Source::File { path: path.to_owned(), watch: true }
}

async fn next(state: &mut watch::Receiver<SourceState>) -> SourceState {
    timeout(SOON, state.changed()).await.expect("no change in time").unwrap();
    state.borrow_and_update().clone()
}

#[tokio::test]
async fn a_file_is_followed_through_edits_good_and_bad() {
    let dir = Scratch::new();
    let path = dir.path("endpoints.yaml");
    fs::write(&path, listing(&[("a", "10.0.0.1"), ("b", "10.0.0.2")])).unwrap();
    let pool = Arc::new(Pool::new("p"));
    let discovery = Discovery::start(Arc::clone(&pool), file(&path), CancellationToken::new()).await.unwrap();
    let mut state = discovery.state();
    assert_eq!(*state.borrow_and_update(), SourceState { revision: 1, error: None });
    assert_eq!(ids(&pool), ["default/a", "default/b"]);
    let before = pool.snapshot();

    // A broken edit changes nothing and is reported.
    fs::write(&path, "endpoints:\n- name: a\n  adress: 10.0.0.1\n").unwrap();
    let broken = next(&mut state).await;
    let report = broken.error.unwrap();
    assert!(report.contains("adress") && report.contains("endpoints.yaml"), "{report}");
    assert_eq!(ids(&pool), ["default/a", "default/b"]);

    // A rename over the file; what is gone drains, what stays is the same endpoint.
    fs::write(dir.path("new"), listing(&[("b", "10.0.0.2"), ("c", "\"2001:db8::1\"")])).unwrap();
    fs::rename(dir.path("new"), &path).unwrap();
    assert_eq!(timeout(SOON, state.wait_for(|state| state.error.is_none())).await.unwrap().unwrap().revision, 2);
    state.mark_unchanged();
    assert_eq!(ids(&pool), ["default/b", "default/c"]);
    assert!(before.endpoints[0].health.is_draining());
    assert!(Arc::ptr_eq(&before.endpoints[1], &pool.load().endpoints[0]));
    assert_eq!(pool.load().endpoints[1].addresses()[0].to_string(), "[2001:db8::1]:8000");

    // Gone, empty, and back.
    fs::remove_file(&path).unwrap();
    assert!(next(&mut state).await.error.unwrap().contains("cannot read"));
    fs::write(&path, "").unwrap();
    assert!(next(&mut state).await.error.unwrap().contains("is empty"));
    assert_eq!(ids(&pool), ["default/b", "default/c"]);
    fs::write(&path, "endpoints: []\n").unwrap();
    timeout(SOON, state.wait_for(|state| state.error.is_none() && state.revision == 3)).await.unwrap().unwrap();
    assert!(ids(&pool).is_empty());
    discovery.stop().await;
}

#[tokio::test]
async fn a_bad_first_file_is_an_error() {
    let dir = Scratch::new();
    let path = dir.path("endpoints.yaml");
    let pool = Arc::new(Pool::new("p"));
    let start = || Discovery::start(Arc::clone(&pool), file(&path), CancellationToken::new());
    assert!(matches!(start().await.unwrap_err(), DiscoveryError::Read { .. }));
    fs::write(&path, listing(&[("a", "10.0.0.1"), ("a", "10.0.0.2")])).unwrap();
    assert!(matches!(start().await.unwrap_err(), DiscoveryError::Invalid { .. }));
    fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(matches!(start().await.unwrap_err(), DiscoveryError::TooLarge { .. }));
    assert_eq!(pool.load().generation, 0);
}

/// A resolver that a test controls, and the names it was asked.
#[derive(Clone, Default)]
struct Dns {
    answer: Arc<Mutex<Vec<IpAddr>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    fn set(&self, ips: &[&str]) {
        *self.answer.lock() = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    }

    fn resolver(&self) -> Resolver {
        let dns = self.clone();
        Arc::new(move |name| {
            dns.asked.lock().push(name);
            let answer = dns.answer.lock().clone();
            Box::pin(async move { Ok(answer) })
        })
    }
}

fn addresses(endpoint: &Endpoint) -> Vec<String> {
    endpoint.addresses().iter().map(ToString::to_string).collect()
}

/// Lets the paused clock run for some seconds.
async fn seconds(count: u32) {
    for _ in 0..count {
        advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_again_and_again() {
    let dns = Dns::default();
    dns.set(&["10.0.0.1", "10.0.0.2"]);
    let pool = Arc::new(Pool::new("p"));
    let specs = vec![
        EndpointSpec::new("a", EndpointUrl::http("node.example", 8000)),
        EndpointSpec::new("b", EndpointUrl::http("node.example", 8001)),
        EndpointSpec::new("c", EndpointUrl::http("10.9.9.9", 1)),
    ];
    let source = Source::Static(specs);
    let _discovery = Discovery::start_with(Arc::clone(&pool), source, CancellationToken::new(), dns.resolver()).await.unwrap();
    let endpoints = pool.snapshot().endpoints.clone();
    assert_eq!(addresses(&endpoints[0]), ["10.0.0.1:8000", "10.0.0.2:8000"]);
    assert_eq!(addresses(&endpoints[1]), ["10.0.0.1:8001", "10.0.0.2:8001"]);
    assert_eq!(addresses(&endpoints[2]), ["10.9.9.9:1"]);
    // One lookup for both endpoints, none for the address.
    assert_eq!(*dns.asked.lock(), ["node.example"]);

    dns.set(&["10.0.0.3"]);
    seconds(29).await;
    assert_eq!(dns.asked.lock().len(), 1);
    seconds(2).await;
    assert_eq!(addresses(&endpoints[0]), ["10.0.0.3:8000"]);

    // A lookup that fails changes nothing.
    dns.set(&[]);
    seconds(31).await;
    assert_eq!(dns.asked.lock().len(), 3);
    assert_eq!(addresses(&endpoints[0]), ["10.0.0.3:8000"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_resolved_is_tried_sooner() {
    let dns = Dns::default();
    let pool = Arc::new(Pool::new("p"));
    let source = Source::Static(vec![EndpointSpec::new("a", EndpointUrl::http("node.example", 8000))]);
    let discovery = Discovery::start_with(Arc::clone(&pool), source, CancellationToken::new(), dns.resolver()).await.unwrap();
    let endpoint = Arc::clone(&pool.load().endpoints[0]);
    assert!(addresses(&endpoint).is_empty());
    dns.set(&["10.0.0.1"]);
    seconds(6).await;
    assert_eq!(addresses(&endpoint), ["10.0.0.1:8000"]);

    // Stopped, it asks no more; the endpoints stay.
    discovery.stop().await;
    seconds(60).await;
    assert_eq!(dns.asked.lock().len(), 2);
    assert_eq!(ids(&pool), ["default/a"]);
}

#[tokio::test]
async fn the_systems_resolver_knows_this_host() {
    let found = system()("localhost".to_owned()).await.unwrap();
    assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback));
}
