//! Requests, by path and method.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Response, StatusCode, header},
};
use serde_json::{Value, json};

use crate::{
    access::{self, ADMIN, Wish},
    patch::merge,
    selector::Selector,
    server::Shared,
    store::{Key, Refusal, Resource, Written},
    watch,
};

/// Objects of a list without a limit.
const UNLIMITED: usize = 100_000;

/// Who asks for what.
pub(crate) struct Asked {
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    name: Option<String>,
    subresource: Option<String>,
    pub(crate) query: BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    pub(crate) fn selector(&self) -> Selector {
        Selector::parse(self.query("labelSelector"), self.query("fieldSelector"))
    }

    fn read(path: &str, query: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').filter(|one| !one.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, rest) = rest.split_first()?;
        let at = |place: usize| rest.get(place).map(|one| (*one).to_owned());
        let (name, subresource) = (at(0), at(1));
        Some(Self { resource: Resource::new(group, version, plural), namespace, name, subresource, query: pairs(query) })
    }

    fn key(&self) -> Key {
        (self.namespace.clone().unwrap_or_default(), self.name.clone().unwrap_or_default())
    }
}

fn pairs(query: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| {
        let mut out = Vec::with_capacity(text.len());
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'+' => out.push(b' '),
                b'%' => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                    let text = std::str::from_utf8(&digits).unwrap_or_default();
                    out.push(u8::from_str_radix(text, 16).unwrap_or(b'?'));
                }
                byte => out.push(byte),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (decoded(name), decoded(value))).collect()
}

pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    if shared.is_away() {
        // A connection that was open before.
        let mut response = refused(&Refusal::new(503, "ServiceUnavailable", "the API server is stopped"));
        response.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        return response;
    }
    answer_always(shared, request).await
}

/// Answers although the server is stopped.
pub(crate) async fn answer_always(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let token = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let user = token.unwrap_or("system:anonymous").to_owned();
    let Ok(body) = axum::body::to_bytes(body, 4 << 20).await else {
        return refused(&Refusal::new(413, "RequestEntityTooLarge", "too large"));
    };
    if matches!(path.as_str(), "/readyz" | "/livez" | "/version") {
        return json_answer(200, &json!({"major": "1", "minor": "37", "gitVersion": "v1.37.0-fake"}));
    }
    let Some(asked) = Asked::read(&path, parts.uri.query().unwrap_or_default()) else {
        return refused(&Refusal::new(404, "NotFound", "the server could not find the requested resource"));
    };
    if let Some(review) = review(&shared, &asked, &user, &body) {
        return json_answer(201, &review);
    }
    let wish = wish(&asked, &parts.method);
    if !access::may(&shared.store.lock(), &user, &wish) {
        let Wish { verb, group, resource, namespace, .. } = &wish;
        let message = format!(
            "{resource}.{group} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" in the \
             namespace \"{namespace}\""
        );
        return refused(&Refusal::new(403, "Forbidden", message));
    }
    if parts.method != Method::GET {
        let method = parts.method.to_string();
        shared.store.lock().written.push(Written { method, path, user });
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let result = match (&parts.method, &asked.name) {
        (&Method::GET, None) if asked.query("watch") == "true" || asked.query("watch") == "1" => {
            return match watch::stream(&shared, &asked) {
                Ok(stream) => {
                    let body =
                        Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::from_stream(stream));
                    body.unwrap_or_default()
                }
                Err(refusal) => refused(&refusal),
            };
        }
        (&Method::GET, None) => list(&shared, &asked),
        (&Method::GET, Some(_)) => shared.store.lock().get(&asked.resource, &asked.key()).cloned().map(|one| (200, one)),
        (&Method::POST, None) => create(&shared, &asked, &body),
        (&Method::PUT, Some(_)) => parse(&body).and_then(|object| replace(&shared, &asked, object)),
        (&Method::PATCH, Some(_)) => parse(&body).and_then(|patch| change(&shared, &asked, &patch, kind.contains("apply-patch"))),
        (&Method::DELETE, Some(_)) => shared.store.lock().delete(&asked.resource, asked.key()).map(|old| (200, old)),
        _ => Err(Refusal::new(405, "MethodNotAllowed", "not here")),
    };
    match result {
        Ok((code, object)) => json_answer(code, &object),
        Err(refusal) => refused(&refusal),
    }
}

fn wish(asked: &Asked, method: &Method) -> Wish {
    let verb = match (method, &asked.name) {
        (&Method::GET, None) if !asked.query("watch").is_empty() => "watch",
        (&Method::GET, None) => "list",
        (&Method::GET, Some(_)) => "get",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        _ => "delete",
    };
    let Resource { group, plural, .. } = asked.resource.clone();
    let resource = asked.subresource.as_ref().map_or_else(|| plural.clone(), |sub| format!("{plural}/{sub}"));
    let namespace = asked.namespace.clone().unwrap_or_default();
    Wish { verb: verb.to_owned(), group, resource, namespace, name: asked.name.clone().unwrap_or_default(), path: String::new() }
}

/// Questions about access are answered by whom they are asked.
fn review(shared: &Shared, asked: &Asked, user: &str, body: &Bytes) -> Option<Value> {
    let mut review = parse(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match asked.resource.plural.as_str() {
        "tokenreviews" => {
            let name = text(&review["spec"]["token"]);
            let known = shared.knows(&name);
            review["status"] =
                if known { json!({"authenticated": true, "user": {"username": name}}) } else { json!({"authenticated": false}) };
        }
        kind @ ("subjectaccessreviews" | "selfsubjectaccessreviews") => {
            let who = if kind == "subjectaccessreviews" { text(&review["spec"]["user"]) } else { user.to_owned() };
            let what = &review["spec"]["resourceAttributes"];
            let resource = match what["subresource"].as_str().filter(|text| !text.is_empty()) {
                Some(sub) => format!("{}/{sub}", text(&what["resource"])),
                None => text(&what["resource"]),
            };
            let other = &review["spec"]["nonResourceAttributes"];
            let verb = if other.is_null() { text(&what["verb"]) } else { text(&other["verb"]) };
            let wish = Wish {
                verb,
                group: text(&what["group"]),
                resource,
                namespace: text(&what["namespace"]),
                name: text(&what["name"]),
                path: text(&other["path"]),
            };
            let allowed = access::may(&shared.store.lock(), &who, &wish);
            review["status"] = json!({"allowed": allowed});
        }
        _ => return None,
    }
    if user != ADMIN && asked.resource.plural != "selfsubjectaccessreviews" {
        let wish = Wish { namespace: String::new(), ..wish(asked, &Method::POST) };
        if !access::may(&shared.store.lock(), user, &wish) {
            return Some(Refusal::new(403, "Forbidden", "reviews are not for everybody").status());
        }
    }
    Some(review)
}

fn list(shared: &Shared, asked: &Asked) -> Result<(u16, Value), Refusal> {
    let store = shared.store.lock();
    let kind = store.kind(&asked.resource)?;
    let selector = asked.selector();
    let limit = asked.query("limit").parse().unwrap_or(UNLIMITED);
    let after: usize = asked.query("continue").parse().unwrap_or(0);
    let in_namespace = |key: &Key| asked.namespace.as_ref().is_none_or(|namespace| key.0 == *namespace);
    let all: Vec<&Value> =
        store.all(&asked.resource).filter(|(key, one)| in_namespace(key) && selector.matches(one)).map(|(_, one)| one).collect();
    let page: Vec<&Value> = all.iter().skip(after).take(limit).copied().collect();
    let mut metadata = json!({"resourceVersion": store.version().to_string()});
    if after + page.len() < all.len() {
        metadata["continue"] = json!((after + page.len()).to_string());
    }
    let Resource { group, version, .. } = &asked.resource;
    let api = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
    Ok((200, json!({"kind": format!("{}List", kind.name), "apiVersion": api, "metadata": metadata, "items": page})))
}

fn create(shared: &Shared, asked: &Asked, body: &Bytes) -> Result<(u16, Value), Refusal> {
    let object = parse(body)?;
    let namespace = asked.namespace.clone().unwrap_or_default();
    let created = shared.store.lock().create(&asked.resource, &namespace, object, &shared.now())?;
    Ok((201, created))
}

fn replace(shared: &Shared, asked: &Asked, object: Value) -> Result<(u16, Value), Refusal> {
    let status_only = asked.subresource.as_deref() == Some("status");
    shared.store.lock().replace(&asked.resource, asked.key(), object, status_only).map(|one| (200, one))
}

fn change(shared: &Shared, asked: &Asked, patch: &Value, applied: bool) -> Result<(u16, Value), Refusal> {
    let mut store = shared.store.lock();
    let key = asked.key();
    let old = store.get(&asked.resource, &key).cloned();
    let mut object = match old {
        Ok(old) => old,
        Err(_) if applied && asked.subresource.is_none() => {
            let mut object = patch.clone();
            object["metadata"]["name"] = json!(key.1);
            return store.create(&asked.resource, &key.0, object, &shared.now()).map(|one| (201, one));
        }
        Err(refusal) => return Err(refusal),
    };
    let expected = patch["metadata"]["resourceVersion"].clone();
    merge(&mut object, patch);
    if !expected.is_null() {
        object["metadata"]["resourceVersion"] = expected;
    }
    let status_only = asked.subresource.as_deref() == Some("status");
    store.replace(&asked.resource, key, object, status_only).map(|one| (200, one))
}

fn parse(body: &Bytes) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::new(400, "BadRequest", error.to_string()))
}

fn refused(refusal: &Refusal) -> Response<Body> {
    json_answer(refusal.code, &refusal.status())
}

fn json_answer(code: u16, value: &Value) -> Response<Body> {
    // Reviews that are refused carry their own code.
    let code = if value["kind"] == "Status" {
        value["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(code)
    } else {
        code
    };
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
