//! Whether what came out is what a case expects.

use std::fmt::Debug;

use super::{Expectation, ProfileVerdict, Verdict};

impl Expectation {
    /// What is not as expected, one sentence each.
    pub(super) fn unmet(&self, verdict: &Verdict) -> Vec<String> {
        let mut unmet = Vec::new();
        let mut differ = |what: String, found: &dyn Debug, wanted: &dyn Debug| {
            unmet.push(format!("{what}: expected {wanted:?}, is {found:?}"));
        };
        if let Some(wanted) = &self.picked
            && !verdict.picked.as_deref().is_some_and(|id| is(id, wanted))
        {
            differ("picked".to_owned(), &verdict.picked, &wanted.value);
        }
        let reason = verdict.refused.as_ref().map(|refused| refused.reason);
        if let Some(wanted) = &self.refused
            && reason != Some(wanted.value.as_str())
        {
            differ("refused".to_owned(), &reason, &wanted.value);
        }
        for (key, wanted) in &self.kept {
            let found = find(verdict, key, |profile, name| {
                profile.filters.iter().find(|one| one.name == name).map(|one| one.kept.clone())
            });
            if !found.as_deref().is_some_and(|found| same(found, wanted)) {
                differ(format!("kept.{key}"), &found, wanted);
            }
        }
        for (key, wanted) in &self.scores {
            let found = find(verdict, key, |profile, name| {
                let place = profile.scorers.iter().position(|one| one.name == name)?;
                let score = |one: &super::CandidateVerdict| Some((one.endpoint.clone(), *one.scores.get(place)?));
                profile.ran.then(|| profile.candidates.iter().filter_map(score).collect::<Vec<_>>())
            });
            for (endpoint, wanted) in wanted {
                let score = found.iter().flatten().find(|(id, _)| is(id, endpoint)).map(|(_, score)| *score);
                if !score.is_some_and(|score| (score - wanted).abs() <= self.tolerance) {
                    differ(format!("scores.{key}.{endpoint}"), &score, wanted);
                }
            }
        }
        for (name, wanted) in &self.targets {
            let found = verdict.profiles.iter().find(|one| one.name == *name).map(|one| &one.targets);
            if !found.is_some_and(|found| same(found, wanted)) {
                differ(format!("targets.{name}"), &found, wanted);
            }
        }
        let headers = [
            ("requestHeaders", &self.request_headers, &verdict.request_headers),
            ("responseHeaders", &self.response_headers, &verdict.response_headers),
        ];
        for (what, wanted, found) in headers {
            for (name, wanted) in wanted {
                let found = found.get(&name.to_ascii_lowercase());
                if found != Some(wanted) {
                    differ(format!("{what}.{name}"), &found, wanted);
                }
            }
        }
        unmet
    }
}

/// Whether the endpoint of this id is meant: by its name, or by namespace and name.
pub(super) fn is(id: &str, name: &str) -> bool {
    id == name || id.rsplit_once('/').is_some_and(|(_, short)| short == name)
}

fn same(ids: &[String], names: &[String]) -> bool {
    ids.len() == names.len() && ids.iter().zip(names).all(|(id, name)| is(id, name))
}

/// What the first profile that ran has under this key, which is `name` or `profile/name`.
fn find<T>(verdict: &Verdict, key: &str, read: impl Fn(&ProfileVerdict, &str) -> Option<T>) -> Option<T> {
    verdict.profiles.iter().find_map(|profile| {
        let own = key.strip_prefix(profile.name.as_str()).and_then(|rest| rest.strip_prefix('/'));
        read(profile, own.unwrap_or(key))
    })
}
