use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

fn added<'a>(host: &'a HeaderValue, id: &'a HeaderValue, client: &'a HeaderValue) -> Added<'a> {
    Added { host, id, client, https: false, h2: false, authorization: None, drop_authorization: false }
}

fn sent(client: &[(&str, &str)], change: impl FnOnce(&mut Added<'_>)) -> Vec<(String, String)> {
    let (host, id, ip) =
        (HeaderValue::from_static("10.0.0.1:8000"), HeaderValue::from_static("id-1"), HeaderValue::from_static("192.0.2.7"));
    let mut added = added(&host, &id, &ip);
    change(&mut added);
    let (client, uri) = (map(client), Uri::from_static("/v1/x"));
    let out = for_endpoint(&client, &Survey::of(&uri, &client), &added);
    out.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
}

fn value<'a>(sent: &'a [(String, String)], name: &str) -> Option<&'a str> {
    sent.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn what_belongs_to_the_connection_stays_with_it() {
    let sent = sent(
        &[
            ("host", "weir.example"),
            ("connection", "keep-alive, X-Mine"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic eA=="),
            ("expect", "100-continue"),
            ("content-length", "3"),
            ("accept", "a"),
            ("accept", "b"),
            ("authorization", "Bearer k"),
            ("x-gateway-destination-endpoint", "10.9.9.9:1"),
            ("x-prefiller-host-port", "10.9.9.9:1"),
            ("x-weir-endpoint", "lie"),
            ("x-request-id", "lie"),
            ("x-forwarded-proto", "gopher"),
        ],
        |_| {},
    );
    let mut names: Vec<&str> = sent.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["accept", "accept", "authorization", "host", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id"]
    );
    assert_eq!(value(&sent, "host"), Some("10.0.0.1:8000"));
    assert_eq!(value(&sent, "x-request-id"), Some("id-1"));
    assert_eq!(value(&sent, "x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(value(&sent, "x-forwarded-proto"), Some("http"));
    assert_eq!(value(&sent, "via"), Some("1.1 weir"));
}

#[test]
fn proxies_before_us_stay_in_the_list() {
    let sent = sent(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "198.51.100.2"), ("via", "1.1 edge")], |added| {
        added.https = true;
        added.h2 = true;
    });
    assert_eq!(value(&sent, "x-forwarded-for"), Some("198.51.100.1, 198.51.100.2, 192.0.2.7"));
    assert_eq!(value(&sent, "x-forwarded-proto"), Some("https"));
    assert_eq!(sent.iter().filter(|(name, _)| name == "via").count(), 2);
}

#[test]
fn engines_see_their_own_key_or_none_if_the_clients_was_for_us() {
    let client = [("authorization", "Bearer client")];
    assert_eq!(value(&sent(&client, |_| {}), "authorization"), Some("Bearer client"));
    assert_eq!(value(&sent(&client, |added| added.drop_authorization = true), "authorization"), None);
    let key = HeaderValue::from_static("Bearer engine");
    let (host, id, ip) = (HeaderValue::from_static("h"), HeaderValue::from_static("i"), HeaderValue::from_static("c"));
    let added = Added { authorization: Some(&key), ..added(&host, &id, &ip) };
    let (client, uri) = (map(&client), Uri::from_static("/"));
    let out = for_endpoint(&client, &Survey::of(&uri, &client), &added);
    assert_eq!(out.get_all("authorization").iter().collect::<Vec<_>>(), [&key]);
}

#[test]
fn answers_lose_what_belongs_to_the_connection() {
    let mut headers = map(&[
        ("connection", "close, x-debug"),
        ("x-debug", "1"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("content-type", "text/event-stream"),
    ]);
    clean_response(&mut headers);
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
}

#[test]
fn only_sane_ids_are_taken() {
    let id = |value: &str| Survey::of(&Uri::from_static("/"), &map(&[("x-request-id", value)])).id;
    assert_eq!(id("abc-1").unwrap(), "abc-1");
    assert_eq!(id(&"x".repeat(128)).unwrap(), "x".repeat(128));
    for bad in ["", "a b", &"x".repeat(129)] {
        assert_eq!(id(bad), None, "{bad:?}");
    }
    assert_ne!(new_id(), new_id());
    assert_eq!(new_id().len(), 36);
}

#[test]
fn targets_are_paths() {
    for (uri, base, want) in [
        ("/v1/chat?a=1", "", "/v1/chat?a=1"),
        ("http://weir.example/v1/chat?a=1", "", "/v1/chat?a=1"),
        ("/v1/chat?a=1", "/base", "/base/v1/chat?a=1"),
        ("http://weir.example", "", "/"),
    ] {
        assert_eq!(target(&uri.parse().unwrap(), base).to_string(), want);
    }
}

#[test]
fn only_an_upgrade_that_cannot_be_ignored_counts() {
    let upgrade = |pairs: &[(&str, &str)]| Survey::of(&Uri::from_static("/"), &map(pairs)).upgrade;
    assert!(upgrade(&[("upgrade", "websocket")]) && upgrade(&[("upgrade", "h2c, x")]));
    assert!(!upgrade(&[("upgrade", "h2c")]) && !upgrade(&[]));
}
