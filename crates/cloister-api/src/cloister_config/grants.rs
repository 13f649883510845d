//! What holds for all grants: how many must agree, how long what is over is kept, and what may outlast an end.

use crate::Sensitivity;
use kube::core::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many people must approve at least, by sensitivity. A weaker policy opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "PascalCase", default)]
pub struct MinimumApprovals {
    /// For Low.
    #[schemars(range(max = 16))]
    pub low: u32,
    /// For Moderate.
    #[schemars(range(max = 16))]
    pub moderate: u32,
    /// For High.
    #[schemars(range(max = 16))]
    pub high: u32,
    /// For Critical.
    #[schemars(range(max = 16))]
    pub critical: u32,
}

impl Default for MinimumApprovals {
    fn default() -> Self {
        MinimumApprovals { low: 0, moderate: 0, high: 1, critical: 2 }
    }
}

impl MinimumApprovals {
    /// How many for this sensitivity.
    pub fn of(&self, sensitivity: Sensitivity) -> u32 {
        match sensitivity {
            Sensitivity::Low => self.low,
            Sensitivity::Moderate => self.moderate,
            Sensitivity::High => self.high,
            Sensitivity::Critical => self.critical,
        }
    }
}

/// How long ended grants and their reviews are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetentionConfig {
    /// How long a grant and its reviews stay in the cluster after its end. If it is absent, forever. The audit record keeps
    /// what happened. A grant that is applied from Git is created again, and asks the approvers again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::schema::duration")]
    pub ended_grants: Option<Duration>,
}

/// How long access that Kubernetes cannot take back may last after the end of a grant, as this cluster is configured.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ResidualExposureConfig {
    /// A watch: twice the `--min-request-timeout` of the API server.
    #[schemars(schema_with = "crate::schema::duration")]
    pub watches: Duration,
    /// An idle session in a pod: the `streamingConnectionIdleTimeout` of the kubelet.
    #[schemars(schema_with = "crate::schema::duration")]
    pub sessions: Duration,
}

impl Default for ResidualExposureConfig {
    fn default() -> Self {
        ResidualExposureConfig {
            watches: std::time::Duration::from_hours(1).into(),
            sessions: std::time::Duration::from_hours(4).into(),
        }
    }
}
