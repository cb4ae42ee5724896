//! Clients' API keys.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
};

use http::{HeaderMap, header::AUTHORIZATION};

/// A set of keys that can be asked about one key without telling, by its time, how much of that key was right: keys are kept
/// and compared as keyed 128-bit digests whose secret never leaves the process.
#[derive(Clone, Default)]
pub struct ApiKeys {
    secrets: [RandomState; 2],
    digests: HashSet<[u64; 2]>,
}

impl ApiKeys {
    /// The given keys.
    pub fn new<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Self {
        let mut set = Self::default();
        for key in keys {
            let digest = set.digest(key.as_ref());
            set.digests.insert(digest);
        }
        set
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &str) -> bool {
        self.digests.contains(&self.digest(key))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether there are none, so that nobody may call.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether a request bears one of them: `Authorization: Bearer KEY`.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        bearer.is_some_and(|key| self.contains(key))
    }

    fn digest(&self, key: &str) -> [u64; 2] {
        [self.secrets[0].hash_one(key), self.secrets[1].hash_one(key)]
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn bearers_of_a_known_key_are_admitted() {
        let keys = ApiKeys::new(["sk-one", "sk-two"]);
        let admit = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            keys.admit(&headers)
        };
        assert!(admit("Bearer sk-one") && admit("bearer  sk-two "));
        for wrong in ["Bearer sk-three", "Bearer sk-on", "Bearer", "Basic sk-one", "sk-one", "Bearer "] {
            assert!(!admit(wrong), "{wrong}");
        }
        assert!(!keys.admit(&HeaderMap::new()));
        assert!(!ApiKeys::default().contains(""));
        assert!(!format!("{keys:?}").contains("sk-"));
    }
}
