//! Which of several replicas leads, and what follows from it.

use std::sync::Arc;

use tokio::sync::watch;
use weir_api::{LeaderElection, RouterConfig};
use weir_kubernetes::{Client, Election, Leadership, LeaseConfig};

use super::kubernetes;

/// This process's part in an election.
pub(super) struct Leading {
    election: Election,
    lease: LeaseConfig,
}

/// Who leads, to look at.
#[derive(Clone)]
pub(crate) struct LeaderView {
    state: watch::Receiver<Leadership>,
    /// The lease.
    pub(crate) lease: Arc<LeaseConfig>,
}

impl LeaderView {
    /// Whether this process leads.
    pub(crate) fn leads(&self) -> bool {
        self.state.borrow().leading
    }

    /// For the health page.
    pub(crate) fn describe(&self) -> serde_json::Value {
        let state = self.state.borrow();
        serde_json::json!({
            "leading": state.leading,
            "holder": state.holder.as_deref().filter(|holder| !holder.is_empty()),
            "reachable": state.reachable,
            "lease": format!("{}/{}", self.lease.namespace, self.lease.name),
            "identity": self.lease.identity,
        })
    }

    pub(super) fn changes(&self) -> watch::Receiver<Leadership> {
        self.state.clone()
    }
}

impl Leading {
    pub(super) fn start(client: Client, config: &RouterConfig, election: &LeaderElection) -> Self {
        let lease = lease(config, election);
        Self { election: Election::start(client, lease.clone()), lease }
    }

    pub(super) fn view(&self) -> LeaderView {
        LeaderView { state: self.election.state(), lease: Arc::new(self.lease.clone()) }
    }

    /// Gives the lease back.
    pub(super) async fn stop(self) {
        self.election.stop().await;
    }
}

fn lease(config: &RouterConfig, election: &LeaderElection) -> LeaseConfig {
    let first = config.pools.first();
    let pool = first.map_or("weir", |pool| pool.name.as_str());
    let of_pool = || first.and_then(|pool| pool.endpoints.kubernetes.as_ref()).map(kubernetes::namespace);
    let given = election.namespace.as_ref().map(|namespace| namespace.value.clone());
    let namespace = given.or_else(of_pool).unwrap_or_else(kubernetes::own_namespace);
    let name = election.lease.as_ref().map(|lease| lease.value.clone());
    let host = ["POD_NAME", "HOSTNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    LeaseConfig {
        name: name.unwrap_or_else(|| format!("epp-{namespace}-{pool}.llm-d.ai")),
        identity: format!("{}_{}", host.as_deref().unwrap_or("weir"), uuid::Uuid::new_v4()),
        duration: election.lease_duration.value.get(),
        renew_deadline: election.renew_deadline.value.get(),
        retry_period: election.retry_period.value.get(),
        namespace,
    }
}
