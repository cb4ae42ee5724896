//! `grpc.health.v1`.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tonic::{Request, Response, Status};

use crate::proto::grpc::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse, health_check_response::ServingStatus,
    health_server,
};

/// Answered `SERVING` as long as the process runs.
const LIVENESS: &str = "liveness";
/// Names that are listed, and the only ones that are known under leader election.
const READINESS: [&str; 3] = ["", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor"];

type Question = Box<dyn Fn() -> bool + Send + Sync>;

/// What health checks are answered.
///
/// `liveness` is the process's own: it is serving until it ends. Every other name is serving while the router is ready, the process
/// does not drain, and it leads, if there is a leader; under leader election names that nobody knows are unknown.
#[derive(Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

struct Inner {
    ready: Question,
    leads: Option<Question>,
    draining: AtomicBool,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("draining", &self.inner.draining).finish_non_exhaustive()
    }
}

impl Health {
    /// Health of a process without leader election. `ready` is asked at every check.
    pub fn new(ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self::of(Box::new(ready), None)
    }

    /// Health of one of several replicas, of which one leads.
    pub fn with_leader(
        ready: impl Fn() -> bool + Send + Sync + 'static,
        leads: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::of(Box::new(ready), Some(Box::new(leads)))
    }

    fn of(ready: Question, leads: Option<Question>) -> Self {
        Self { inner: Arc::new(Inner { ready, leads, draining: AtomicBool::new(false) }) }
    }

    /// The process begins to end: it is not ready from now on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Relaxed);
    }

    fn status(&self, service: &str) -> ServingStatus {
        let Inner { ready, leads, draining } = &*self.inner;
        if service == LIVENESS {
            return ServingStatus::Serving;
        }
        if leads.is_some() && !READINESS.contains(&service) {
            return ServingStatus::ServiceUnknown;
        }
        let serving = !draining.load(Relaxed) && leads.as_ref().is_none_or(|leads| leads()) && ready();
        if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
    }

    fn response(&self, service: &str) -> HealthCheckResponse {
        HealthCheckResponse { status: self.status(service).into() }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    type WatchStream = futures_util::stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        Ok(Response::new(self.response(&request.into_inner().service)))
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let all = READINESS.into_iter().chain([LIVENESS]);
        let statuses: BTreeMap<_, _> = all.map(|name| (name.to_owned(), self.response(name))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    async fn watch(&self, _request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("health is not watched here; call Check"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn liveness_is_the_process_and_the_rest_is_readiness() {
        let ready = Arc::new(AtomicBool::new(false));
        let health = Health::new({
            let ready = Arc::clone(&ready);
            move || ready.load(Relaxed)
        });
        let status = |name: &str| health.status(name);
        assert_eq!((status("liveness"), status("")), (ServingStatus::Serving, ServingStatus::NotServing));
        ready.store(true, Relaxed);
        for name in ["", "readiness", "envoy.service.ext_proc.v3.ExternalProcessor", "anything"] {
            assert_eq!(status(name), ServingStatus::Serving, "{name:?}");
        }
        health.drain();
        assert_eq!((status("liveness"), status("readiness")), (ServingStatus::Serving, ServingStatus::NotServing));
    }

    #[test]
    fn of_several_replicas_only_the_leader_is_ready() {
        for leads in [false, true] {
            let health = Health::with_leader(|| true, move || leads);
            let want = if leads { ServingStatus::Serving } else { ServingStatus::NotServing };
            assert_eq!(health.status("readiness"), want);
            assert_eq!(health.status("liveness"), ServingStatus::Serving);
            assert_eq!(health.status("anything"), ServingStatus::ServiceUnknown);
        }
    }
}
