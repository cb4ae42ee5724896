//! The picker itself, by what its admin address tells.

use serde_json::Value;
use weir_pool::EndpointUrl;

use super::{Finding, PATIENCE, Report};
use crate::http_client;

/// Looks at a weir.
pub(super) async fn check(admin: &EndpointUrl, report: &mut Report) {
    const CHECK: &str = "picker.reachable";
    let state = match http_client::get(admin, "/debug/state", PATIENCE).await {
        Ok(answer) if answer.status.is_success() => {
            serde_json::from_slice::<Value>(&answer.body).map_err(|error| error.to_string())
        }
        Ok(answer) => Err(format!("answered {} to /debug/state", answer.status)),
        Err(error) => Err(error.to_string()),
    };
    match state {
        Ok(state) => {
            report.add(Finding::ok(CHECK, format!("{admin} answers")));
            report.extend(judge(&state));
        }
        Err(why) => report.add(Finding::wrong(
            CHECK,
            format!("{admin}: {why}"),
            "start weir, or give --admin the address that it prints as `admin:` (`weir epp`: --metrics-port)",
        )),
    }
}

/// Everything that can be said about `/debug/state`.
fn judge(state: &Value) -> Vec<Finding> {
    let pools = state["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let endpoints: Vec<(&str, &Value)> = pools
        .iter()
        .flat_map(|pool| {
            let name = pool["name"].as_str().unwrap_or_default();
            pool["endpoints"].as_array().into_iter().flatten().map(move |one| (name, one))
        })
        .collect();
    vec![ready(&endpoints), fresh(&endpoints), closed(&endpoints), reloaded(state)]
}

fn names(endpoints: &[&(&str, &Value)]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = endpoints
        .iter()
        .take(SHOWN)
        .map(|(_, one)| format!("{} ({})", one["id"].as_str().unwrap_or_default(), one["url"].as_str().unwrap_or_default()))
        .collect();
    if endpoints.len() > SHOWN {
        names.push(format!("{} more", endpoints.len() - SHOWN));
    }
    names.join(", ")
}

fn ready(endpoints: &[(&str, &Value)]) -> Finding {
    const CHECK: &str = "picker.endpoints";
    if endpoints.is_empty() {
        let fix = "list endpoints in the endpoints file; with watchFile: true it is read again when it changes";
        return Finding::wrong(CHECK, "the picker knows no endpoint", fix);
    }
    let silent: Vec<_> = endpoints.iter().filter(|(_, one)| one["readiness"] != "ready").collect();
    if silent.is_empty() {
        return Finding::ok(CHECK, format!("{} endpoints, all ready", endpoints.len()));
    }
    Finding::wrong(
        CHECK,
        format!("{} of {} endpoints do not answer: {}", silent.len(), endpoints.len(), names(&silent)),
        "start these servers, or take them off the list; addresses and ports are those of the servers, not of Envoy",
    )
}

fn fresh(endpoints: &[(&str, &Value)]) -> Finding {
    const CHECK: &str = "picker.metrics-age";
    let ready = || endpoints.iter().filter(|(_, one)| one["readiness"] == "ready");
    let stale: Vec<_> = ready().filter(|(_, one)| one["stale"] == true || one["metricsAgeMs"].is_null()).collect();
    if stale.is_empty() {
        return Finding::ok(CHECK, "every ready endpoint's metrics are fresh");
    }
    let oldest = stale.iter().filter_map(|(_, one)| one["metricsAgeMs"].as_u64()).max();
    let age = oldest.map_or_else(|| "were never read".to_owned(), |age| format!("are up to {age} ms old"));
    Finding::wrong(
        CHECK,
        format!("{} endpoints are ready, but their metrics {age}: {}", stale.len(), names(&stale)),
        "let the plugin metrics-data-source say where the page is (scheme, path, port), and core-metrics-extractor what engine it is; \
         if the page is slow, raise --metrics-staleness-threshold",
    )
}

fn closed(endpoints: &[(&str, &Value)]) -> Finding {
    const CHECK: &str = "picker.circuits";
    let open: Vec<_> =
        endpoints.iter().filter(|(_, one)| one["circuit"].as_str().is_some_and(|state| state != "closed")).collect();
    if open.is_empty() {
        return Finding::ok(CHECK, "no endpoint is left alone for its failures");
    }
    let message = format!("left alone after failures in a row: {}", names(&open));
    Finding::warning(CHECK, message, "read these servers' logs; one real request tries again every few seconds")
}

fn reloaded(state: &Value) -> Finding {
    const CHECK: &str = "picker.configuration";
    let last = &state["reload"]["last"];
    if last["ok"] == false {
        return Finding::wrong(
            CHECK,
            format!("the last change of the configuration was refused: {}", last["error"].as_str().unwrap_or_default().trim()),
            "correct the file; `weir check --config FILE` says where",
        );
    }
    Finding::ok(CHECK, "the configuration in force is the newest")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::report::Verdict;

    fn healthy() -> Value {
        json!({
            "pools": [{"name": "epp", "endpoints": [
                {"id": "default/a", "url": "http://10.0.0.1:8000", "readiness": "ready", "stale": false, "metricsAgeMs": 30, "circuit": "closed"},
                {"id": "default/b", "url": "http://10.0.0.2:8000", "readiness": "ready", "stale": false, "metricsAgeMs": 31, "circuit": "closed"},
            ]}],
            "reload": {"applied": 1, "refused": 0, "last": {"ok": true}},
        })
    }

    fn bad(state: &Value) -> Vec<Finding> {
        judge(state).into_iter().filter(|one| one.verdict != Verdict::Ok).collect()
    }

    fn broken(pointer: &str, value: Value) -> Finding {
        let mut state = healthy();
        *state.pointer_mut(pointer).expect("it is there") = value;
        let [one] = bad(&state).try_into().expect("one thing is broken, and one finding says so");
        one
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_picker() {
        assert_eq!(bad(&healthy()), []);
    }

    #[test]
    fn each_thing_that_breaks_is_found_and_only_that() {
        const B: &str = "/pools/0/endpoints/1";
        let silent = broken(&format!("{B}/readiness"), json!("not ready"));
        assert_eq!(silent.check, "picker.endpoints");
        assert!(silent.message.contains("1 of 2") && silent.message.contains("default/b (http://10.0.0.2:8000)"), "{silent:?}");
        assert!(silent.fix.is_some_and(|fix| fix.contains("start these servers")));
        let stale = broken(&format!("{B}/stale"), json!(true));
        assert_eq!((stale.check, stale.verdict), ("picker.metrics-age", Verdict::Wrong));
        assert!(
            stale.fix.is_some_and(|fix| fix.contains("metrics-data-source") && fix.contains("--metrics-staleness-threshold"))
        );
        assert!(broken(&format!("{B}/metricsAgeMs"), Value::Null).message.contains("never read"));
        assert_eq!(broken(&format!("{B}/circuit"), json!("open")).check, "picker.circuits");
        let refused = broken("/reload/last", json!({"ok": false, "error": "error: unknown field"}));
        assert!(refused.check == "picker.configuration" && refused.message.contains("unknown field"));
        assert!(refused.fix.is_some_and(|fix| fix.contains("weir check")));
    }

    #[test]
    fn no_endpoints_at_all() {
        let mut state = healthy();
        state["pools"][0]["endpoints"] = json!([]);
        assert_eq!(bad(&state)[0].check, "picker.endpoints");
    }
}
