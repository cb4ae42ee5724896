//! Which of several replicas leads: one at a time holds a `Lease`, as Kubernetes' own components do it.
//!
//! A leader renews its lease and gives it back when it ends. Others take it when it was not renewed for its duration, by their own
//! clock from when they saw it renewed last, so that clocks need not agree. A leader that cannot reach the API server goes on leading
//! until it sees another holder: nobody would be better off without it.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// Longest time for giving the lease back.
const RELEASE: Duration = Duration::from_secs(2);

/// Which lease, and how it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseConfig {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who holds it; unique among replicas.
    pub identity: String,
    /// After so long without renewal another replica takes it.
    pub duration: Duration,
    /// A renewal that takes longer has failed.
    pub renew_deadline: Duration,
    /// How often it is renewed, or looked at.
    pub retry_period: Duration,
}

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Whether it is this process.
    pub leading: bool,
    /// Who it is, as far as known.
    pub holder: Option<String>,
    /// Whether the API server answered the last time.
    pub reachable: bool,
}

/// Takes part in an election until it is dropped. Only [`Election::stop`] gives the lease back.
#[derive(Debug)]
pub struct Election {
    state: watch::Receiver<Leadership>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Election {
    /// Begins to take part, and returns at once.
    pub fn start(client: Client, config: LeaseConfig) -> Self {
        let (sender, state) = watch::channel(Leadership::default());
        let cancel = CancellationToken::new();
        let api = Api::namespaced(client, &config.namespace);
        let candidate = Candidate { api, config, seen: None, state: sender };
        let task = tokio::spawn(candidate.run(cancel.clone()));
        Self { state, cancel, task }
    }

    /// Who leads, and when that changes.
    pub fn state(&self) -> watch::Receiver<Leadership> {
        self.state.clone()
    }

    /// Takes part no more, and gives the lease back if this process holds it.
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // A panic in it was reported by the runtime.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Election {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

struct Candidate {
    api: Api<Lease>,
    config: LeaseConfig,
    /// The lease as it was seen last, and since when it is like that.
    seen: Option<(LeaseSpec, Instant)>,
    state: watch::Sender<Leadership>,
}

/// What to do about a lease.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is ours.
    Renew,
    /// Nobody holds it any more.
    Take,
    /// Somebody else holds it.
    Wait,
}

impl Candidate {
    async fn run(mut self, cancel: CancellationToken) {
        while cancel.run_until_cancelled(self.turn()).await.is_some() {}
        if self.state.borrow().leading {
            self.publish(|state| state.leading = false);
            if timeout(RELEASE, self.release()).await.is_err() {
                warn!(
                    lease = self.config.name,
                    "the lease could not be given back; another replica takes it when it has run out"
                );
            }
        }
    }

    async fn turn(&mut self) {
        match timeout(self.config.renew_deadline, self.attempt()).await {
            Ok(Ok(holder)) => self.holder_is(holder),
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("the API server did not answer in time"),
        }
        // Replicas that began together should not ask together.
        let jitter = 1.0 + fastrand::f64() * 0.2;
        sleep(self.config.retry_period.mul_f64(jitter)).await;
    }

    /// Looks at the lease and does what is to be done. Returns who holds it now.
    async fn attempt(&mut self) -> kube::Result<Option<String>> {
        let Some(mut lease) = self.api.get_opt(&self.config.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(self.config.name.clone());
            lease.spec = Some(self.ours(&LeaseSpec::default(), Step::Take));
            return match self.api.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(Some(self.config.identity.clone())),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.take().unwrap_or_default();
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == spec => *since,
            _ => now,
        };
        self.seen = Some((spec.clone(), since));
        let step = step(&spec, &self.config, now.duration_since(since));
        if step == Step::Wait {
            return Ok(spec.holder_identity);
        }
        lease.spec = Some(self.ours(&spec, step));
        match self.api.replace(&self.config.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(Some(self.config.identity.clone())),
            // Somebody was faster; the next look tells who.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                debug!(lease = self.config.name, "another replica wrote the lease first");
                Ok(self.state.borrow().holder.clone())
            }
            Err(error) => Err(error),
        }
    }

    fn ours(&self, before: &LeaseSpec, step: Step) -> LeaseSpec {
        let now = Some(MicroTime(jiff::Timestamp::now()));
        let taken = step == Step::Take;
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(seconds(self.config.duration)),
            renew_time: now.clone(),
            acquire_time: if taken { now } else { before.acquire_time.clone() },
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(taken && before.holder_identity.is_some())),
            ..before.clone()
        }
    }

    async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(&self.config.name).await?;
            let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.config.identity))
            else {
                return Ok(());
            };
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
            self.api.replace(&self.config.name, &PostParams::default(), &lease).await.map(drop)
        };
        match released.await {
            Ok(()) => info!(lease = self.config.name, "the lease was given back"),
            Err(error) => warn!(lease = self.config.name, %error, "the lease could not be given back"),
        }
    }

    fn holder_is(&self, holder: Option<String>) {
        let before = self.state.borrow().clone();
        let leading = holder.as_ref() == Some(&self.config.identity);
        let lease = &self.config.name;
        match (before.leading, leading) {
            (false, true) => info!(lease, identity = self.config.identity, "this replica leads"),
            (true, false) => warn!(lease, holder, "another replica leads now"),
            (false, false) if before.holder != holder => info!(lease, holder, "another replica leads; this one stands by"),
            _ => {}
        }
        if !before.reachable && before != Leadership::default() {
            info!(lease, "the lease can be reached again");
        }
        self.publish(|state| *state = Leadership { leading, holder, reachable: true });
    }

    fn failed(&self, error: &str) {
        let before = self.state.borrow().clone();
        if before.reachable || before == Leadership::default() {
            warn!(
                lease = self.config.name,
                leading = before.leading,
                error,
                "the lease cannot be reached; nothing changes until it can"
            );
        }
        // Different from the beginning, so that it is told once.
        self.publish(|state| {
            state.reachable = false;
            state.holder.get_or_insert_default();
        });
    }

    fn publish(&self, change: impl FnOnce(&mut Leadership)) {
        self.state.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

fn step(spec: &LeaseSpec, config: &LeaseConfig, unchanged_for: Duration) -> Step {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    // The holder says how long it wants to be waited for.
    let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    if holder == config.identity {
        Step::Renew
    } else if holder.is_empty() || unchanged_for >= duration.unwrap_or(config.duration) {
        Step::Take
    } else {
        Step::Wait
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_its_holder_is_gone_for_its_duration() {
        let config = LeaseConfig {
            namespace: "team".to_owned(),
            name: "l".to_owned(),
            identity: "me".to_owned(),
            duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        };
        let held = |holder: &str, seconds| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        let after = |spec: &LeaseSpec, seconds| step(spec, &config, Duration::from_secs(seconds));
        assert_eq!(after(&held("me", 15), 100), Step::Renew);
        assert_eq!((after(&held("you", 15), 14), after(&held("you", 15), 15)), (Step::Wait, Step::Take));
        assert_eq!(after(&held("you", 60), 15), Step::Wait);
        assert_eq!((after(&held("", 60), 0), after(&LeaseSpec::default(), 0)), (Step::Take, Step::Take));
    }
}
