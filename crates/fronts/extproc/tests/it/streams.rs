//! Streams against the server, as a proxy opens them.

use crate::support::{Call, Rig, Wanted, body, eventually, fields, headers};
use tonic::Code;
use weir_api::{Destinations, ErrorFormat};
use weir_extproc::{
    Limits, Metadata, Settings,
    proto::envoy::service::ext_proc::v3::{
        HttpTrailers, ProcessingRequest, ProtocolConfiguration, processing_request::Request, processing_response::Response,
    },
};

fn field<'a>(found: &'a [(String, String)], name: &str) -> Option<&'a str> {
    found.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn within(subset: &[&str]) -> Metadata {
    Metadata { subset: Some(subset.iter().map(|one| (*one).to_owned()).collect()), ..Metadata::default() }
}

fn destination(response: &Response) -> String {
    let found = fields(response);
    field(&found, "x-gateway-destination-endpoint").unwrap_or_else(|| panic!("{found:?}")).to_owned()
}

async fn answer(call: &mut Call, status: &str, metadata: Metadata) {
    call.send_with(Request::ResponseHeaders(headers(&[(":status", status)], false)), metadata).await;
    let answered = call.next().await.unwrap().unwrap();
    assert_eq!(field(&fields(&answered), "x-went-into-resp-headers"), Some("true"));
}

#[tokio::test]
async fn a_request_is_in_the_ledger_until_its_response_has_ended() {
    let rig = Rig::usual().await;
    let mut call = rig.proxy().await.open().await;
    let first = call.chat(Metadata::default()).await;
    let to = destination(&first);
    let found = fields(&first);
    assert_eq!(field(&found, "content-length"), Some("60"));
    let id = field(&found, "x-request-id").unwrap().to_owned();
    let Response::RequestHeaders(one) = first else { panic!() };
    assert!(one.response.unwrap().clear_route_cache);
    let sent = call.next().await.unwrap().unwrap();
    let text = r#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#;
    assert_eq!(fields(&sent), [("body eos=true".into(), text.into())]);
    let endpoint = rig.endpoint(&to);
    assert_eq!((endpoint.ledger.requests(), rig.in_flight()), (1, 1));

    answer(&mut call, "200", Metadata::default()).await;
    for (text, end) in [("data: 1\n\n", false), ("data: [DONE]\n\n", false), ("", true)] {
        assert_eq!(rig.in_flight(), 1);
        call.send(Request::ResponseBody(body(text, end))).await;
        let passed = call.next().await.unwrap().unwrap();
        assert_eq!(fields(&passed), [(format!("body eos={end}"), text.into())]);
    }
    assert_eq!(call.next().await.unwrap(), None);
    eventually("the ledger is empty", || rig.in_flight() == 0).await;
    assert_eq!(rig.metric("weir_requests_total{pool=\"p\",outcome=\"complete\"}"), 1);
    assert_eq!(rig.metric("weir_extproc_streams_total{outcome=\"complete\"}"), 1);
    let told = rig.router.shared().decisions.explain(&id);
    assert_eq!((told.len(), told[0].outcome.as_ref().unwrap().status), (1, 200));
    assert!(told[0].outcome.as_ref().unwrap().first_byte_us.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_is_not_in_flight_any_more() {
    let rig = Rig::usual().await;
    let proxy = rig.proxy().await;
    let mut before = proxy.open().await;
    before.chat(Metadata::default()).await;
    let mut during = proxy.open().await;
    during.chat(Metadata::default()).await;
    during.next().await.unwrap();
    answer(&mut during, "200", Metadata::default()).await;
    assert_eq!(rig.in_flight(), 2);
    drop(before);
    drop(during);
    eventually("the ledger is empty", || rig.in_flight() == 0).await;
    let mut half_closed = proxy.open().await;
    half_closed.chat(Metadata::default()).await;
    half_closed.close();
    eventually("the ledger is empty", || rig.in_flight() == 0).await;
    eventually("no stream is open", || rig.metric("weir_extproc_streams_in_flight") == 0).await;
    assert_eq!(rig.metric("weir_requests_total{pool=\"p\",outcome=\"client_gone\"}"), 3);
}

#[tokio::test]
async fn only_listed_endpoints_are_chosen() {
    let rig = Rig::usual().await;
    let proxy = rig.proxy().await;
    for (subset, want) in [
        (&["10.0.0.2:8000"][..], Some("10.0.0.2:8000")),
        (&["[2001:db8::3]:8000"], Some("[2001:db8::3]:8000")),
        (&["10.0.0.2:8000,10.9.9.9:1"], Some("10.0.0.2:8000")),
        (&["10.0.0.2:8001"], None),
        (&[], None),
    ] {
        for _ in 0..4 {
            let mut call = proxy.open().await;
            let answered = call.chat(within(subset)).await;
            match want {
                Some(want) => assert_eq!(destination(&answered), want),
                None => {
                    let found = fields(&answered);
                    assert_eq!(field(&found, "status"), Some("503"), "{subset:?}");
                    assert_eq!(field(&found, "x-llm-d-request-dropped-reason"), Some("rejected-no-endpoints"));
                    assert_eq!(call.next().await.unwrap(), None, "an immediate answer is the last");
                }
            }
        }
    }
    // A request without a body heeds the list, too.
    let mut call = proxy.open().await;
    let get = headers(&[(":path", "/v1/models"), (":method", "GET")], true);
    call.send_with(Request::RequestHeaders(get), within(&["10.0.0.2:8000"])).await;
    assert_eq!(destination(&call.next().await.unwrap().unwrap()), "10.0.0.2:8000");

    let settings = Settings { subset_hint: false, ..Settings::default() };
    let careless = Rig::new(Wanted { settings, ..Wanted::default() }).await;
    let answered = careless.proxy().await.open().await.chat(within(&[])).await;
    destination(&answered);
}

#[tokio::test]
async fn who_really_served_is_charged_and_judged() {
    let rig = Rig::usual().await;
    let mut call = rig.proxy().await.open().await;
    let chosen = destination(&call.chat(within(&["10.0.0.1:8000"])).await);
    call.next().await.unwrap();
    assert_eq!(chosen, "10.0.0.1:8000");
    let served = Metadata { served: Some("[2001:db8::3]:8000".into()), balanced: true, ..Metadata::default() };
    answer(&mut call, "500", served).await;
    let (first, third) = (rig.endpoint("10.0.0.1:8000"), rig.endpoint("[2001:db8::3]:8000"));
    assert_eq!((first.ledger.requests(), third.ledger.requests()), (0, 1));
    let now = rig.router.now();
    assert!(first.health.may_serve(now), "who did not serve is not to blame");
    assert!(!third.health.may_serve(now));
    assert_eq!(rig.metric("weir_extproc_served_elsewhere_total"), 1);
    drop(call);
    eventually("the ledger is empty", || rig.in_flight() == 0).await;
}

#[tokio::test]
async fn a_failing_endpoint_is_left_alone() {
    let rig = Rig::new(Wanted { endpoints: &["10.0.0.1:8000"], ..Wanted::default() }).await;
    let proxy = rig.proxy().await;
    let mut call = proxy.open().await;
    call.chat(Metadata::default()).await;
    call.next().await.unwrap();
    answer(&mut call, "503", Metadata::default()).await;
    let refused = proxy.open().await.chat(Metadata::default()).await;
    assert_eq!(field(&fields(&refused), "status"), Some("503"));
}

#[tokio::test]
async fn proxies_are_told_one_endpoint_or_all_with_scores() {
    let plugins = "plugins: [{type: active-request-scorer}, {type: max-score-picker, parameters: {maxNumOfEndpoints: 2}}]\n\
                   schedulingProfiles: [{name: default, plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]}]";
    let settings = Settings { scores: true, ..Settings::default() };
    let rig = Rig::new(Wanted { plugins, settings, ..Wanted::default() }).await;
    let mut call = rig.proxy().await.open().await;
    let head = headers(&[(":path", "/v1/models"), (":method", "GET")], true);
    call.send(Request::RequestHeaders(head.clone())).await;
    let message = call.next_message().await;
    let listed = destination(message.response.as_ref().unwrap());
    assert_eq!(listed.split(',').count(), 2, "{listed}");
    let metadata = format!("{:?}", message.dynamic_metadata.unwrap());
    assert!(metadata.contains(&format!("StringValue(\"{listed}\")")), "{metadata}");
    for endpoint in ["10.0.0.1:8000", "10.0.0.2:8000", "[2001:db8::3]:8000"] {
        assert!(metadata.contains(&format!("\"{endpoint}\": Value")), "{metadata}");
    }

    let settings = Settings { destinations: Destinations::First, ..Settings::default() };
    let rig = Rig::new(Wanted { plugins, settings, ..Wanted::default() }).await;
    let mut call = rig.proxy().await.open().await;
    call.send(Request::RequestHeaders(head)).await;
    assert!(!destination(&call.next().await.unwrap().unwrap()).contains(','));
}

#[tokio::test]
async fn errors_come_in_the_form_that_is_wanted() {
    for (errors, begin) in [
        (ErrorFormat::Json, "{\"error\":{\"message\":\"The model `x` does not exist.\""),
        (ErrorFormat::Plain, "inference error: NotFound - The model `x` does not exist."),
    ] {
        let settings = Settings { errors, ..Settings::default() };
        let rig = Rig::new(Wanted { settings, ..Wanted::default() }).await;
        let mut call = rig.proxy().await.open().await;
        call.send(Request::RequestHeaders(headers(&[(":path", "/v1/completions"), (":method", "POST")], false))).await;
        call.send(Request::RequestBody(body(r#"{"model":"x","prompt":"p"}"#, false))).await;
        call.send(Request::RequestTrailers(HttpTrailers::default())).await;
        let found = fields(&call.next().await.unwrap().unwrap());
        assert_eq!((field(&found, "status"), field(&found, "x-weir-reason")), (Some("404"), Some("model_not_found")));
        assert!(field(&found, "body").unwrap().starts_with(begin), "{found:?}");
        assert_eq!(rig.metric("weir_extproc_streams_total{outcome=\"refused\"}"), 1);
    }
}

#[tokio::test]
async fn bodies_and_messages_have_limits() {
    let settings = Settings { max_body_bytes: 100, ..Settings::default() };
    let limits = Limits { recv_message_bytes: 1000, ..Limits::default() };
    let rig = Rig::new(Wanted { settings, limits, ..Wanted::default() }).await;
    let proxy = rig.proxy().await;
    let post = || Request::RequestHeaders(headers(&[(":path", "/v1/completions"), (":method", "POST")], false));
    let mut call = proxy.open().await;
    call.send(post()).await;
    call.send(Request::RequestBody(body(vec![b' '; 101], false))).await;
    assert_eq!(field(&fields(&call.next().await.unwrap().unwrap()), "status"), Some("413"));

    let mut call = proxy.open().await;
    call.send(post()).await;
    call.send(Request::RequestBody(body(vec![b' '; 1001], false))).await;
    assert_eq!(call.next().await.unwrap_err().code(), Code::OutOfRange);
    eventually("no stream is left", || rig.metric("weir_extproc_streams_in_flight") == 0).await;
}

#[tokio::test]
async fn what_may_not_come_is_refused_with_its_reason() {
    let rig = Rig::usual().await;
    let proxy = rig.proxy().await;
    let mut call = proxy.open().await;
    call.send(Request::ResponseBody(body("x", true))).await;
    let status = call.next().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "a body of the response came out of order"));

    let mut call = proxy.open().await;
    let modes = ProtocolConfiguration { request_body_mode: 5, ..ProtocolConfiguration::default() };
    let get = Request::RequestHeaders(headers(&[(":path", "/v1/models")], true));
    call.send_as(get.clone(), Metadata::default(), modes).await;
    assert_eq!(call.next().await.unwrap_err().code(), Code::FailedPrecondition);

    let mut call = proxy.open().await;
    let observing = ProcessingRequest { request: Some(get), observability_mode: true, ..ProcessingRequest::default() };
    call.raw(observing).await;
    assert_eq!(call.next().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(rig.metric("weir_extproc_streams_total{outcome=\"violation\"}"), 3);
    assert_eq!(rig.in_flight(), 0);
}

/// HTTP/2 libraries close connections on which they had to reset 1,024 streams; behind this one are all requests of a proxy.
#[tokio::test]
async fn no_number_of_resets_ends_a_connection() {
    let rig = Rig::usual().await;
    let proxy = rig.proxy().await;
    for _ in 0..1_100 {
        proxy.longer_than_it_says().await;
    }
    destination(&proxy.open().await.chat(Metadata::default()).await);
    eventually("no stream is left", || rig.metric("weir_extproc_streams_in_flight") <= 1).await;
}

#[tokio::test]
async fn messages_may_be_compressed() {
    let rig = Rig::usual().await;
    let mut proxy = rig.proxy().await;
    proxy.gzip = true;
    let mut call = proxy.open().await;
    destination(&call.chat(Metadata::default()).await);
}

#[tokio::test]
async fn a_rewritten_model_has_its_asked_name_in_the_response() {
    let rig = Rig::usual().await;
    let mut call = rig.proxy().await.open().await;
    let head =
        [(":path", "/v1/completions"), (":method", "POST"), ("accept-encoding", "gzip"), ("x-llm-d-model-name-rewrite", "m")];
    call.send(Request::RequestHeaders(headers(&head, false))).await;
    call.send(Request::RequestBody(body(r#"{"prompt":"p", "model": "alias"}"#, true))).await;
    let Some(Response::RequestHeaders(answered)) = call.next().await.unwrap() else { panic!() };
    let mut removed = answered.response.unwrap().header_mutation.unwrap().remove_headers;
    removed.sort();
    assert_eq!(removed, ["accept-encoding", "x-llm-d-model-name-rewrite"]);
    let sent = call.next().await.unwrap().unwrap();
    assert_eq!(fields(&sent), [("body eos=true".into(), r#"{"prompt":"p", "model": "m"}"#.into())]);

    let head = headers(&[(":status", "200"), ("content-type", "application/json")], false);
    call.send(Request::ResponseHeaders(head)).await;
    call.next().await.unwrap();
    let mut text = String::new();
    for (piece, end) in
        [(r#"{"id":"m","mod"#, false), (r#"el": "m"#, false), (r#"","text":"\"model\":\"m\""}"#, false), ("", true)]
    {
        call.send(Request::ResponseBody(body(piece, end))).await;
    }
    while let Some(passed) = call.next().await.unwrap() {
        text.extend(fields(&passed).into_iter().map(|(_, piece)| piece));
    }
    assert_eq!(text, r#"{"id":"m","model": "alias","text":"\"model\":\"m\""}"#);
}
