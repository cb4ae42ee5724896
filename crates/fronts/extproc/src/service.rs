//! From a path to a gRPC service.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc};

use arc_swap::ArcSwap;
use http::{Request, Response as HttpResponse};
use hyper::body::Incoming;
use tonic::{Response, Status, Streaming, body::Body, codec::CompressionEncoding, codegen::Service as _, server::NamedService};
use weir_fronts::AccessLog;

use crate::{
    Health, Limits, Live, Serves,
    metrics::Metrics,
    proto::{
        envoy::service::ext_proc::v3::{
            ProcessingRequest,
            external_processor_server::{ExternalProcessor, ExternalProcessorServer},
        },
        grpc::health::v1::health_server::HealthServer,
    },
    stream::Process,
};

/// `envoy.service.ext_proc.v3.ExternalProcessor`
pub(crate) struct Front {
    pub(crate) live: Arc<ArcSwap<Live>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: AccessLog,
}

#[tonic::async_trait]
impl ExternalProcessor for Front {
    type ProcessStream = Process;

    async fn process(
        &self,
        request: tonic::Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        Ok(Response::new(Process::new(request.into_inner(), self)))
    }
}

type Processor = ExternalProcessorServer<Front>;
type HealthService = HealthServer<Health>;

/// The services of one listener.
#[derive(Clone)]
pub(crate) struct Services {
    processor: Option<Processor>,
    health: Option<HealthService>,
}

impl Services {
    pub(crate) fn new(front: &Arc<Front>, health: &Health, serves: Serves, limits: &Limits) -> Self {
        let processor = || {
            ExternalProcessorServer::from_arc(Arc::clone(front))
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(limits.recv_message_bytes)
                .max_encoding_message_size(limits.send_message_bytes)
        };
        let health = || HealthServer::new(health.clone()).accept_compressed(CompressionEncoding::Gzip);
        Self {
            processor: matches!(serves, Serves::Processing | Serves::Both).then(processor),
            health: matches!(serves, Serves::Health | Serves::Both).then(health),
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<HttpResponse<Body>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Services {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default();
        match (&self.processor, &self.health) {
            (Some(processor), _) if service == Processor::NAME => processor.clone().call(request),
            (_, Some(health)) if service == HealthService::NAME => health.clone().call(request),
            _ => Box::pin(std::future::ready(Ok(Status::unimplemented("this service is not served here").into_http()))),
        }
    }
}
