//! Which of several replicas leads.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::kubernetes::is_name;
use crate::{Diagnostics, GoDuration, Spanned};

/// An election by a Kubernetes `Lease`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LeaderElection {
    /// Name of the lease. Default: `epp-<namespace>-<pool>.llm-d.ai`, after the first pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Spanned<String>>,
    /// Its namespace. Default: that of the first pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Spanned<String>>,
    /// Another replica takes a lease that was not renewed for so long. Default 15s.
    pub lease_duration: Spanned<GoDuration>,
    /// A renewal that takes longer has failed. Default 10s.
    pub renew_deadline: Spanned<GoDuration>,
    /// How often the lease is renewed, or looked at. Default 2s.
    pub retry_period: Spanned<GoDuration>,
}

impl Default for LeaderElection {
    fn default() -> Self {
        let seconds = |n| Spanned::nowhere(GoDuration::from_secs(n));
        Self { lease: None, namespace: None, lease_duration: seconds(15), renew_deadline: seconds(10), retry_period: seconds(2) }
    }
}

impl LeaderElection {
    pub(super) fn check(&self, found: &mut Diagnostics) {
        for name in [&self.lease, &self.namespace].into_iter().flatten().filter(|name| !is_name(name)) {
            found.push(name.error(format!("{:?} is no name of an object in Kubernetes", name.as_str())));
        }
        let Self { lease_duration, renew_deadline, retry_period, .. } = self;
        if retry_period.is_zero() {
            found.push(retry_period.error("the duration must be above zero"));
        }
        if renew_deadline.value <= retry_period.value {
            found.push(renew_deadline.error(format!("renewDeadline must be above retryPeriod {retry_period}")));
        }
        if lease_duration.value <= renew_deadline.value {
            found.push(lease_duration.error(format!("leaseDuration must be above renewDeadline {renew_deadline}")));
        }
    }
}
