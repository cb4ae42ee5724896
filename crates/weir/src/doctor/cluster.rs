//! The cluster: what we may do there, whether pools select pods that serve, whether objects name pools that exist.

use weir_kubernetes::{Client, ClusterObject, PoolGroup, Right, SeenPod, SeenPool, inspect_objects, inspect_pools, may};

use super::{Finding, Report};

/// Names that are shown.
const SHOWN: usize = 5;
/// Values of `llm-d.ai/role` that filters know.
const ROLES: [&str; 7] = ["prefill", "decode", "encode", "prefill-decode", "encode-prefill", "encode-prefill-decode", "both"];
const FIX_ROLE: &str = "apply deploy/kubernetes/rbac, and run weir under its service account";

/// What is asked for: group, resource, subresource, verbs, and whether the rest works without it.
const RIGHTS: [(&str, &str, &str, &[&str], bool); 8] = [
    ("", "pods", "", &["get", "list", "watch"], true),
    ("inference.networking.k8s.io", "inferencepools", "", &["get", "list", "watch"], true),
    ("llm-d.ai", "inferenceobjectives", "", &["get", "list", "watch"], false),
    ("llm-d.ai", "inferencemodelrewrites", "", &["get", "list", "watch"], false),
    ("llm-d.ai", "inferenceobjectives", "status", &["patch"], false),
    ("llm-d.ai", "inferencemodelrewrites", "status", &["patch"], false),
    ("", "events", "", &["create", "patch"], false),
    ("coordination.k8s.io", "leases", "", &["get", "create", "update"], false),
];

/// Looks at a namespace, and at one pool of it or at all.
pub(super) async fn check(namespace: &str, pool: Option<&str>, report: &mut Report) {
    const CHECK: &str = "kube.reachable";
    let client = match Box::pin(weir_kubernetes::connect()).await {
        Ok(client) => client,
        Err(error) => {
            report.add(Finding::wrong(CHECK, error.to_string(), "set KUBECONFIG, or run it in a pod"));
            return;
        }
    };
    match rights(&client, namespace).await {
        Ok(findings) => {
            report.add(Finding::ok(CHECK, format!("the API server answers; namespace {namespace}")));
            report.extend(findings);
        }
        Err(error) => {
            report.add(Finding::wrong(
                CHECK,
                format!("the API server does not answer: {error}"),
                "check KUBECONFIG and the network",
            ));
            return;
        }
    }
    let pools = match inspect_pools(&client, namespace, PoolGroup::Current).await {
        Ok(pools) => pools,
        Err(error) => {
            let fix = "install the definitions (deploy/kubernetes/crds), and grant list on inferencepools and pods";
            report.add(Finding::wrong("kube.pools", error.to_string(), fix));
            return;
        }
    };
    report.extend(judge_pools(namespace, &pools, pool));
    match inspect_objects(&client, namespace, weir_kubernetes::LLM_D_GROUP).await {
        Ok(objects) => report.add(judge_objects(&pools, &objects)),
        Err(error) => report.add(Finding::skipped("kube.objects", error.to_string())),
    }
}

async fn rights(client: &Client, namespace: &str) -> Result<Vec<Finding>, weir_kubernetes::Error> {
    const CHECK: &str = "kube.rights";
    let mut findings = Vec::new();
    for (group, resource, subresource, verbs, needed) in RIGHTS {
        let mut missing = Vec::new();
        for verb in verbs {
            if !may(client, namespace, Right { verb, group, resource, subresource }).await? {
                missing.push(*verb);
            }
        }
        if missing.is_empty() {
            continue;
        }
        let slash = if subresource.is_empty() { "" } else { "/" };
        let message = format!("we may not {} {resource}{slash}{subresource}", missing.join(", "));
        findings.push(if needed { Finding::wrong(CHECK, message, FIX_ROLE) } else { Finding::warning(CHECK, message, FIX_ROLE) });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "everything that weir does is allowed"));
    }
    Ok(findings)
}

fn judge_pools(namespace: &str, pools: &[SeenPool], wanted: Option<&str>) -> Vec<Finding> {
    const CHECK: &str = "kube.pools";
    let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    let chosen: Vec<&SeenPool> = pools.iter().filter(|pool| wanted.is_none_or(|name| name == pool.name)).collect();
    if chosen.is_empty() {
        let message = match wanted {
            Some(name) => format!("there is no InferencePool {name} in the namespace {namespace}; there are: {}", listed(&names)),
            None => format!("there is no InferencePool in the namespace {namespace}"),
        };
        return vec![Finding::wrong(CHECK, message, "create one, or name another with --pool and --namespace")];
    }
    chosen.into_iter().flat_map(judge_pool).collect()
}

fn judge_pool(pool: &SeenPool) -> Vec<Finding> {
    let SeenPool { name, selector, ports, picker, pods, unreadable } = pool;
    if let Some(error) = unreadable {
        return vec![Finding::wrong("kube.pools", format!("the pool {name} cannot be read: {error}"), "correct its spec")];
    }
    let mut findings = Vec::new();
    let waiting: Vec<&str> = pods.iter().filter(|pod| !pod.ready).map(|pod| pod.name.as_str()).collect();
    let ready = pods.len() - waiting.len();
    findings.push(match (pods.len(), ready) {
        (0, _) => {
            let fix = "make spec.selector.matchLabels equal to labels of the model servers' pods";
            Finding::wrong("kube.selector", format!("the pool {name} selects no pod by {selector}"), fix)
        }
        (_, 0) => Finding::wrong(
            "kube.ready",
            format!("none of the {} pods of the pool {name} is Ready: {}", pods.len(), listed(&waiting)),
            "kubectl describe pod tells why; only Ready pods get requests",
        ),
        (all, ready) if ready < all => Finding::warning(
            "kube.ready",
            format!("{} of {all} pods of the pool {name} are not Ready: {}", all - ready, listed(&waiting)),
            "kubectl describe pod tells why",
        ),
        (all, _) => Finding::ok("kube.ready", format!("the pool {name} selects {all} pods, all Ready")),
    });
    // A pod need not declare its ports; one that declares others is probably meant to be reached there.
    let elsewhere = |pod: &&SeenPod| !pod.ports.is_empty() && !pod.ports.iter().any(|port| ports.contains(port));
    let elsewhere: Vec<&str> = pods.iter().filter(elsewhere).map(|pod| pod.name.as_str()).collect();
    if !elsewhere.is_empty() {
        let message = format!("pods of the pool {name} declare none of its ports {ports:?}: {}", listed(&elsewhere));
        findings.push(Finding::warning("kube.ports", message, "set spec.targetPorts to what the servers listen on"));
    }
    let role = |pod: &SeenPod| pod.labels.get("llm-d.ai/role").filter(|role| !ROLES.contains(&role.as_str())).cloned();
    let mut odd: Vec<String> = pods.iter().filter_map(role).collect();
    odd.sort_unstable();
    odd.dedup();
    if !odd.is_empty() {
        let odd: Vec<&str> = odd.iter().map(String::as_str).collect();
        let message =
            format!("pods of the pool {name} have the label llm-d.ai/role with values that no filter knows: {}", listed(&odd));
        findings.push(Finding::warning("kube.roles", message, format!("use one of {}", ROLES.join(", "))));
    }
    if picker.is_none() {
        let message = format!("the pool {name} names no picker (endpointPickerRef)");
        findings.push(Finding::warning(
            "kube.picker",
            message,
            "behind a gateway, name weir's Service; with weir serve that is fine",
        ));
    }
    findings
}

fn judge_objects(pools: &[SeenPool], objects: &[ClusterObject]) -> Finding {
    const CHECK: &str = "kube.objects";
    let lost = |object: &&ClusterObject| match &object.spec {
        Ok(spec) => {
            let pool = spec.pool();
            pool.group == PoolGroup::Current.name() && !pools.iter().any(|one| one.name == pool.name)
        }
        Err(_) => true,
    };
    let lost: Vec<String> = objects.iter().filter(lost).map(|one| format!("{} {}", one.kind.name(), one.id.name)).collect();
    if lost.is_empty() {
        return Finding::ok(CHECK, format!("{} objectives and rewrites, each of a pool that exists", objects.len()));
    }
    let lost: Vec<&str> = lost.iter().map(String::as_str).collect();
    let message = format!("these name no pool that exists, and have no effect: {}", listed(&lost));
    Finding::warning(CHECK, message, "correct their poolRef; kubectl describe shows what weir says of them")
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names if names.len() > SHOWN => format!("{}, {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
        names => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Verdict;

    fn pod(name: &str, ready: bool, ports: &[u16], role: &str) -> SeenPod {
        let labels = [("llm-d.ai/role".to_owned(), role.to_owned())].into();
        SeenPod { name: name.to_owned(), ready, labels, ports: ports.to_vec() }
    }

    fn pool(pods: Vec<SeenPod>) -> SeenPool {
        SeenPool {
            name: "chat".to_owned(),
            selector: "app=vllm".to_owned(),
            ports: vec![8000],
            picker: Some("epp".to_owned()),
            pods,
            unreadable: None,
        }
    }

    fn found(pool: &SeenPool) -> Vec<(&'static str, Verdict)> {
        judge_pool(pool).into_iter().map(|one| (one.check, one.verdict)).collect()
    }

    #[test]
    fn what_is_usually_wrong_with_a_pool() {
        assert_eq!(found(&pool(vec![pod("a", true, &[8000, 9000], "both")])), [("kube.ready", Verdict::Ok)]);
        assert_eq!(found(&pool(Vec::new())), [("kube.selector", Verdict::Wrong)]);
        assert_eq!(found(&pool(vec![pod("a", false, &[], "both")])), [("kube.ready", Verdict::Wrong)]);
        let some = pool(vec![pod("a", true, &[80], "prefil"), pod("b", false, &[], "decode")]);
        let want = [("kube.ready", Verdict::Warning), ("kube.ports", Verdict::Warning), ("kube.roles", Verdict::Warning)];
        assert_eq!(found(&some), want);
        let alone = SeenPool { picker: None, ..pool(vec![pod("a", true, &[], "decode")]) };
        assert_eq!(found(&alone).last(), Some(&("kube.picker", Verdict::Warning)));
    }

    #[test]
    fn a_pool_that_is_not_there_is_told_with_those_that_are() {
        let pools = [pool(Vec::new())];
        let [finding] = judge_pools("team", &pools, Some("caht")).try_into().expect("one");
        assert!(finding.message.contains("caht") && finding.message.contains("chat"), "{}", finding.message);
    }
}
