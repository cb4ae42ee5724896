//! The set of endpoints of one pool.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;

use crate::{Endpoint, EndpointSpec};

/// The endpoints at one moment, in the order in which discovery lists them.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows with each change of the set.
    pub generation: u64,
    /// The endpoints, ready or not.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// What [`Pool::reconcile`] changed.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// Endpoints that are new.
    pub added: Vec<Arc<Endpoint>>,
    /// Endpoints that are gone: they drain.
    pub removed: Vec<Arc<Endpoint>>,
}

impl Reconciled {
    /// Whether the set stayed as it was.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// Hears of endpoints that come and go.
pub trait EndpointEvents: Send + Sync {
    /// These came, and those went. What changed its URL or its labels goes and comes. Called one at a time, in the order of the
    /// changes, after the pool shows them; a call must not change the pool.
    fn endpoints_changed(&self, added: &[Arc<Endpoint>], removed: &[Arc<Endpoint>]);
}

/// One pool: interchangeable endpoints that serve the same models.
#[derive(Debug)]
pub struct Pool {
    name: String,
    snapshot: ArcSwap<Snapshot>,
    app_protocol: ArcSwap<String>,
    /// Held by whoever changes the set.
    change: Mutex<Change>,
}

#[derive(Default)]
struct Change {
    /// Serial of the next new endpoint.
    next_serial: u32,
    subscribers: Vec<Weak<dyn EndpointEvents>>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("subscribers", &self.subscribers.len()).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool without endpoints.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            app_protocol: ArcSwap::default(),
            change: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its endpoints speak (`http`, `kubernetes.io/h2c`); empty if nobody says.
    pub fn app_protocol(&self) -> Arc<String> {
        self.app_protocol.load_full()
    }

    /// Whoever knows the pool says what its endpoints speak.
    pub fn set_app_protocol(&self, protocol: &str) {
        if **self.app_protocol.load() != protocol {
            self.app_protocol.store(Arc::new(protocol.to_owned()));
        }
    }

    /// The endpoints now. Cheap; do not keep it across an await.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The endpoints now, to keep.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells `events` of the endpoints that are there, and from now on of those that come and go, for as long as somebody holds it.
    /// Subscribing twice changes nothing.
    pub fn subscribe(&self, events: &Arc<dyn EndpointEvents>) {
        let mut change = self.change.lock();
        change.subscribers.retain(|one| one.strong_count() > 0);
        // The addresses alone: one type may have several tables of functions.
        let known = |one: &Weak<dyn EndpointEvents>| std::ptr::addr_eq(one.as_ptr(), Arc::as_ptr(events));
        if !change.subscribers.iter().any(known) {
            change.subscribers.push(Arc::downgrade(events));
            events.endpoints_changed(&self.snapshot.load().endpoints, &[]);
        }
    }

    /// Makes the set equal `wanted`. An endpoint that is listed unchanged keeps its identity and all its state; one that is gone,
    /// or came back with another URL or labels, starts to drain.
    pub fn reconcile(&self, wanted: &[EndpointSpec]) -> Reconciled {
        let mut change = self.change.lock();
        let old = self.snapshot.load_full();
        let mut known: HashMap<(&str, &str), &Arc<Endpoint>> =
            old.endpoints.iter().map(|e| ((e.spec().namespace.as_str(), e.spec().name.as_str()), e)).collect();
        let mut report = Reconciled::default();
        let mut endpoints = Vec::with_capacity(wanted.len());
        for spec in wanted {
            match known.remove(&(spec.namespace.as_str(), spec.name.as_str())) {
                Some(endpoint) if endpoint.spec() == spec => endpoints.push(Arc::clone(endpoint)),
                replaced => {
                    report.removed.extend(replaced.cloned());
                    let endpoint = Arc::new(Endpoint::with_serial(spec.clone(), change.next_serial));
                    change.next_serial += 1;
                    report.added.push(Arc::clone(&endpoint));
                    endpoints.push(endpoint);
                }
            }
        }
        report.removed.extend(known.into_values().cloned());
        for endpoint in &report.removed {
            endpoint.health.drain();
        }
        let reordered = !endpoints.iter().map(|e| e.id()).eq(old.endpoints.iter().map(|e| e.id()));
        if !report.is_empty() || reordered {
            self.snapshot.store(Arc::new(Snapshot { generation: old.generation + 1, endpoints }));
        }
        if !report.is_empty() {
            for one in change.subscribers.iter().filter_map(Weak::upgrade) {
                one.endpoints_changed(&report.added, &report.removed);
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EndpointUrl;

    fn spec(name: &str, port: u16) -> EndpointSpec {
        EndpointSpec::new(name, EndpointUrl::http("10.0.0.1", port))
    }

    #[test]
    fn an_unchanged_endpoint_keeps_its_state_and_a_changed_one_drains() {
        let pool = Pool::new("p");
        assert_eq!(pool.reconcile(&[spec("a", 1), spec("b", 2), spec("c", 3)]).added.len(), 3);
        let before = pool.snapshot();
        let _inflight = before.endpoints[0].ledger.charge(7, 0);

        let report = pool.reconcile(&[spec("a", 1), spec("b", 9)]);
        let after = pool.snapshot();
        assert_eq!((report.added.len(), report.removed.len()), (1, 2));
        assert!(Arc::ptr_eq(&before.endpoints[0], &after.endpoints[0]));
        assert_eq!(after.endpoints[0].ledger.tokens(), 7);
        assert!(before.endpoints[1].health.is_draining() && !after.endpoints[1].health.is_draining());
        assert!(after.generation > before.generation);

        assert!(pool.reconcile(&[spec("a", 1), spec("b", 9)]).is_empty());
        assert_eq!(pool.snapshot().generation, after.generation);
    }

    #[test]
    fn a_name_listed_twice_drains_nothing_that_stays() {
        let pool = Pool::new("p");
        pool.reconcile(&[spec("a", 1)]);
        pool.reconcile(&[spec("b", 1), spec("a", 1)]);
        assert_eq!(pool.snapshot().endpoints[0].id(), "default/b");
        assert!(pool.snapshot().endpoints.iter().all(|e| !e.health.is_draining()));
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(Vec<String>, Vec<String>)>>);

    impl EndpointEvents for Heard {
        fn endpoints_changed(&self, added: &[Arc<Endpoint>], removed: &[Arc<Endpoint>]) {
            let ids = |list: &[Arc<Endpoint>]| list.iter().map(|one| one.id().to_owned()).collect();
            self.0.lock().push((ids(added), ids(removed)));
        }
    }

    #[test]
    fn subscribers_hear_of_what_is_there_comes_and_goes() {
        let pool = Pool::new("p");
        pool.reconcile(&[spec("a", 1)]);
        let heard = Arc::new(Heard::default());
        let events: Arc<dyn EndpointEvents> = heard.clone();
        pool.subscribe(&events);
        pool.subscribe(&events);
        pool.reconcile(&[spec("a", 1)]);
        pool.reconcile(&[spec("a", 9), spec("b", 1)]);
        let [a, b] = ["default/a", "default/b"].map(str::to_owned);
        assert_eq!(*heard.0.lock(), [(vec![a.clone()], vec![]), (vec![a.clone(), b], vec![a])]);
        drop((events, heard));
        pool.reconcile(&[]);
        assert!(pool.change.lock().subscribers.iter().all(|one| one.strong_count() == 0));
    }
}
