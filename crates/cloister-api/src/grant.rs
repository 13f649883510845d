use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a grant is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema)]
pub enum GrantPhase {
    /// Waits for a decision.
    #[default]
    Pending,
    /// Decided, and waits for its start.
    Approved,
    /// Open.
    Active,
    /// Has ended; what it opened is being taken away.
    Revoking,
    /// Ended at its time, and nothing of it is left.
    Expired,
    /// Ended before its time, and nothing of it is left.
    Revoked,
    /// Was refused.
    Denied,
    /// Nobody decided in time.
    TimedOut,
}

impl GrantPhase {
    /// All phases, in the order of a grant's life.
    pub const ALL: [GrantPhase; 8] = [
        GrantPhase::Pending,
        GrantPhase::Approved,
        GrantPhase::Active,
        GrantPhase::Revoking,
        GrantPhase::Expired,
        GrantPhase::Revoked,
        GrantPhase::Denied,
        GrantPhase::TimedOut,
    ];

    /// Whether the grant is over for good.
    pub fn has_ended(self) -> bool {
        matches!(self, GrantPhase::Expired | GrantPhase::Revoked | GrantPhase::Denied | GrantPhase::TimedOut)
    }

    /// The phase as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            GrantPhase::Pending => "Pending",
            GrantPhase::Approved => "Approved",
            GrantPhase::Active => "Active",
            GrantPhase::Revoking => "Revoking",
            GrantPhase::Expired => "Expired",
            GrantPhase::Revoked => "Revoked",
            GrantPhase::Denied => "Denied",
            GrantPhase::TimedOut => "TimedOut",
        }
    }
}

/// What happens to running pods when a grant ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum OnExpiry {
    /// Pods that hold the credential are deleted.
    #[default]
    Terminate,
    /// Pods keep running; their copy of the credential is emptied.
    Empty,
}

/// The policy that a grant was decided under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReference {
    /// Its name.
    pub name: String,
    /// Its uid at the time.
    pub uid: String,
}

/// What became of a grant; the same for every kind of grant.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pending, Approved, Active, Revoking, Expired, Revoked, Denied or TimedOut.
    #[serde(default)]
    pub phase: GrantPhase,
    /// Why the grant is where it is, in one word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The policy that it was decided under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReference>,
    /// When it was approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_at: Option<Time>,
    /// When what it opens was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Time>,
    /// When it ends. Written before anything is opened, and never recomputed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// When the end was confirmed: nothing of it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Time>,
    /// The Secret that holds the credential's copy, from before it is made until it is confirmed gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Ready, Approved and Active, and Stalled or RevocationUnconfirmed where something is broken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}
