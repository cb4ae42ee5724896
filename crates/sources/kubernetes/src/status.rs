//! What the router thinks of objects that people wrote: conditions, as pure values.
//!
//! Three conditions: `Accepted` (it can be read and is not overruled), `ResolvedRefs` (its pool exists), `Ready` (it is in force).
//! Conditions of other types are left alone; a condition that says the same as before keeps its time.

use weir_crds::Condition;

use crate::{ClusterObject, Spec};

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is not accepted: a reason for programs, and a message.
    pub rejected: Option<(&'static str, String)>,
    /// What is odd about it although it is accepted.
    pub note: Option<String>,
    /// Whether its pool exists.
    pub pool_exists: bool,
}

/// Types of the conditions that are written here.
const ACCEPTED: &str = "Accepted";
const RESOLVED: &str = "ResolvedRefs";
const READY: &str = "Ready";

/// The conditions that an object should have, other ones included; `now` is RFC 3339.
pub fn conditions(object: &ClusterObject, verdict: &Verdict, now: &str) -> Vec<Condition> {
    let pool = object.spec.as_ref().map_or("", |spec| spec.pool().name.as_str());
    let accepted = match &verdict.rejected {
        Some((reason, message)) => (false, *reason, message.clone()),
        None => (true, "Accepted", verdict.note.clone().unwrap_or_default()),
    };
    let resolved = match (&object.spec, verdict.pool_exists) {
        (Err(_), _) => (false, "Invalid", "the object cannot be read".to_owned()),
        (Ok(_), true) => (true, "ResolvedRefs", String::new()),
        (Ok(spec), false) => (
            false,
            "PoolNotFound",
            format!("there is no InferencePool `{pool}` of the group {} in this namespace", spec.pool().group),
        ),
    };
    let ready = match (&accepted, &resolved) {
        ((true, ..), (true, ..)) => (true, "InForce", in_force(object)),
        ((false, reason, message), _) | (_, (false, reason, message)) => (false, *reason, message.clone()),
    };
    let mut all: Vec<Condition> =
        object.conditions.iter().filter(|one| ![ACCEPTED, RESOLVED, READY].contains(&one.kind.as_str())).cloned().collect();
    for (kind, (holds, reason, message)) in [(ACCEPTED, accepted), (RESOLVED, resolved), (READY, ready)] {
        let status = if holds { "True" } else { "False" };
        let before = object.conditions.iter().find(|one| one.kind == kind && one.status == status);
        all.push(Condition {
            last_transition_time: before.map_or_else(|| now.to_owned(), |one| one.last_transition_time.clone()),
            message,
            observed_generation: Some(object.generation),
            reason: reason.to_owned(),
            status: status.to_owned(),
            kind: kind.to_owned(),
        });
    }
    all
}

fn in_force(object: &ClusterObject) -> String {
    match &object.spec {
        Ok(Spec::Objective(one)) => format!("priority {} in the pool {}", one.priority, one.pool.name),
        Ok(Spec::Rewrite(one)) => format!("{} rules in the pool {}", one.rules.len(), one.pool.name),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use weir_api::{ObjectId, Objective, PoolReference};

    use super::*;
    use crate::ObjectKind;

    fn object(conditions: Vec<Condition>) -> ClusterObject {
        let id = ObjectId { namespace: "team".to_owned(), name: "high".to_owned(), created: 1 };
        let pool = PoolReference { group: "inference.networking.k8s.io".to_owned(), name: "chat".to_owned() };
        ClusterObject {
            kind: ObjectKind::Objective,
            group: weir_crds::LLM_D_GROUP,
            uid: "u".to_owned(),
            generation: 3,
            conditions,
            spec: Ok(Spec::Objective(Objective { id: id.clone(), pool, priority: 7 })),
            id,
        }
    }

    fn said(conditions: &[Condition]) -> Vec<String> {
        conditions.iter().map(|one| format!("{}={} {}", one.kind, one.status, one.reason)).collect()
    }

    #[test]
    fn what_is_in_force_is_ready_and_what_has_no_pool_is_not() {
        let good = Verdict { rejected: None, note: None, pool_exists: true };
        let found = conditions(&object(Vec::new()), &good, "now");
        assert_eq!(said(&found), ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs", "Ready=True InForce"]);
        assert_eq!((found[2].message.as_str(), found[2].observed_generation), ("priority 7 in the pool chat", Some(3)));

        let lost = conditions(&object(Vec::new()), &Verdict { pool_exists: false, ..good.clone() }, "now");
        assert_eq!(said(&lost), ["Accepted=True Accepted", "ResolvedRefs=False PoolNotFound", "Ready=False PoolNotFound"]);
        let shadowed = Verdict { rejected: Some(("Shadowed", "by another".to_owned())), ..good };
        let shadowed = conditions(&object(Vec::new()), &shadowed, "now");
        assert_eq!(said(&shadowed), ["Accepted=False Shadowed", "ResolvedRefs=True ResolvedRefs", "Ready=False Shadowed"]);
    }

    #[test]
    fn what_does_not_change_keeps_its_time_and_what_others_say_stays() {
        let good = Verdict { rejected: None, note: None, pool_exists: true };
        let mut before = conditions(&object(Vec::new()), &good, "then");
        let foreign = Condition { kind: "Audited".to_owned(), ..before[0].clone() };
        before.push(foreign.clone());
        let after = conditions(&object(before.clone()), &good, "now");
        assert!(after.contains(&foreign) && after.len() == 4);
        assert!(after.iter().all(|one| one.last_transition_time == "then"), "{after:?}");
        let again = conditions(&object(after.clone()), &good, "later");
        assert_eq!(again, after, "nothing is to be written");
        let lost = conditions(&object(after), &Verdict { pool_exists: false, ..good }, "later");
        let times: Vec<&str> = lost.iter().map(|one| one.last_transition_time.as_str()).collect();
        assert_eq!(times, ["then", "then", "later", "later"]);
    }
}
