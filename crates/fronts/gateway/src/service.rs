//! From a request's head to its answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header::CONTENT_TYPE, request::Parts};
use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;
use weir_api::Reason;
use weir_fronts::AccessLog;
use weir_pool::Time;
use weir_protocol::{ErrorStyle, ModelCard, Route, classify, render_model, render_models};
use weir_router::{Refusal, RequestHead};

use crate::{
    answer::{Reply, empty, refusal, whole},
    budget::RetryBudget,
    cors::Cors,
    forward::{Forward, Payload, refused},
    head::{Survey, X_REQUEST_ID, new_id},
    metrics::Metrics,
    receive::{Received, receive},
    settings::Live,
    ticket::Ticket,
    watch::Watch,
};

/// Bodies that nobody looks into are kept up to this size, so that they can be sent again.
const REPLAY_BYTES: u64 = 64 * 1024;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) live: Arc<ArcSwap<Live>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: AccessLog,
    pub(crate) budget: RetryBudget,
    pub(crate) draining: AtomicBool,
    /// Unix seconds; the `created` of every model.
    pub(crate) started: u64,
}

impl Shared {
    pub(crate) fn new(live: Arc<ArcSwap<Live>>, metrics: Metrics, log: AccessLog) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let (budget, draining) = (RetryBudget::default(), AtomicBool::new(false));
        Self { live, metrics: Arc::new(metrics), log, budget, draining, started }
    }
}

/// A client's connection.
pub(crate) struct Peer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: HeaderValue,
    pub(crate) https: bool,
    pub(crate) watch: Arc<Watch>,
}

/// Serves one request. What went wrong is an answer, too.
pub(crate) async fn serve(peer: Arc<Peer>, request: Request<Incoming>) -> Response<Reply> {
    let (head, body) = request.into_parts();
    let live = peer.shared.live.load_full();
    let received = live.router.now();
    let mut survey = Survey::of(&head.uri, &head.headers);
    let id = survey.id.take().unwrap_or_else(new_id);
    let ticket = Ticket::open(&peer, live.settings.access_log, &id, &head.method, &head.uri);
    let cors = live.settings.cors.as_ref();

    if let Some(cors) = cors.filter(|_| Cors::is_preflight(&head.method, &head.headers)) {
        let mut response = empty(StatusCode::NO_CONTENT);
        cors.preflight(&head.headers, response.headers_mut());
        return settle(response, ticket);
    }
    let origin = cors.and_then(|cors| cors.admit(&head.headers));
    let mut response = answer(&peer, &live, received, &id, &head, &survey, body, ticket).await;
    response.headers_mut().insert(X_REQUEST_ID, id);
    if let Some((cors, origin)) = cors.zip(origin) {
        cors.mark(origin, response.headers_mut());
    }
    response
}

#[expect(clippy::too_many_arguments, reason = "the parts of one request, borrowed separately")]
async fn answer(
    peer: &Peer,
    live: &Arc<Live>,
    received: Time,
    id: &HeaderValue,
    head: &Parts,
    survey: &Survey,
    body: Incoming,
    mut ticket: Ticket,
) -> Response<Reply> {
    let settings = &live.settings;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let route = classify(live.router.parsers(), &head.method, path);
    let grpc = is_grpc(&head.headers);
    ticket.style = match route {
        _ if grpc => ErrorStyle::Grpc,
        Route::Parsed(api) => api.error_style(),
        _ => ErrorStyle::OpenAi,
    };
    if survey.bytes > settings.limits.header_bytes || head.headers.len() > settings.limits.headers {
        return refused(&refusal(Reason::HeadersTooLarge), ticket);
    }
    if head.method == Method::CONNECT {
        return refused(&refusal(Reason::MethodNotAllowed), ticket);
    }
    if survey.upgrade {
        return refused(&Refusal::new(Reason::InvalidRequest, "Protocol upgrades are not served."), ticket);
    }
    if path == "/health" && (head.method == Method::GET || head.method == Method::HEAD) {
        let draining = peer.shared.draining.load(Relaxed);
        return settle(empty(if draining { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }), ticket);
    }
    let trace = live.router.tracer().map(|tracer| ticket.trace(tracer, head, id));
    if settings.keys.as_ref().is_some_and(|keys| !keys.admit(&head.headers)) {
        return refused(&refusal(Reason::Unauthorized), ticket);
    }
    if grpc && head.version != Version::HTTP_2 {
        return refused(&Refusal::new(Reason::InvalidRequest, "gRPC needs HTTP/2."), ticket);
    }
    let api = match route {
        Route::Parsed(api) => Some(api),
        Route::Models => {
            let cards: Vec<ModelCard> = live.router.model_names().into_iter().map(|(name, _)| ModelCard::new(name)).collect();
            return settle(whole(StatusCode::OK, "application/json", render_models(&cards, peer.shared.started)), ticket);
        }
        Route::Model(name) => {
            if !live.router.model_names().iter().any(|(known, _)| *known == *name) {
                let message = format!("The model `{name}` does not exist.");
                return refused(&Refusal::new(Reason::ModelNotFound, message), ticket);
            }
            let card = render_model(&ModelCard::new(name), peer.shared.started);
            return settle(whole(StatusCode::OK, "application/json", card), ticket);
        }
        // What has no body needs no parser.
        Route::Refused if !body.is_end_stream() => return refused(&Refusal::no_parser(path), ticket),
        _ => None,
    };

    let limit = settings.limits.body_bytes;
    let keep = if api.is_some() { limit } else { REPLAY_BYTES.min(limit) };
    let payload = match receive(body, api, keep, limit, settings.timeouts.idle).await {
        Ok(Received::Whole(body, scanner)) => {
            ticket.bytes_in = body.len() as u64;
            Payload::Whole(body, scanner)
        }
        Ok(Received::Begun(begin, rest)) => {
            let allowed = limit - begin.len() as u64;
            Payload::Stream(begin, rest, allowed)
        }
        Err(reason) => return refused(&refusal(reason), ticket),
    };
    let began = Instant::now();
    let forward = Forward {
        shared: &peer.shared,
        live: Arc::clone(live),
        head: RequestHead {
            id: id.to_str().unwrap_or("-"),
            method: &head.method,
            path,
            headers: &head.headers,
            received,
            api,
            priority: 0,
            within: None,
            wants_scores: false,
            trace: trace.as_ref(),
        },
        uri: &head.uri,
        id,
        client: &peer.address,
        https: peer.https,
        h2: head.version == Version::HTTP_2,
        survey,
        began,
        deadline: deadline(began, settings.timeouts.total),
    };
    if grpc {
        // Calls are few, and their future is large.
        return Box::pin(forward.call(payload, ticket)).await;
    }
    forward.run(payload, ticket).await
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn deadline(now: Instant, total: Duration) -> Instant {
    // A configured "for ever" must not overflow the clock.
    now.checked_add(total).unwrap_or_else(|| now + Duration::from_secs(365 * 24 * 3600))
}

/// Settles a request that is answered here.
fn settle(response: Response<Reply>, mut ticket: Ticket) -> Response<Reply> {
    ticket.status = response.status().as_u16();
    if let Reply::Whole(body) = response.body() {
        ticket.bytes_out = body.len() as u64;
    }
    ticket.settle();
    response
}
