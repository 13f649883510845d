//! One object of each kind that people write, with every field that it can have.

use serde_json::{Value, json};

/// An object, and where it is.
pub struct Sample {
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    pub spec: Value,
}

impl Sample {
    pub fn json(&self, name: &str, spec: &Value) -> Value {
        json!({"apiVersion": "cloister.dev/v1alpha1", "kind": self.kind, "metadata": {"name": name}, "spec": spec})
    }
}

pub fn samples() -> Vec<Sample> {
    let selector = json!({
        "matchLabels": {"team": "interp"},
        "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}, {"key": "old", "operator": "DoesNotExist"}],
    });
    let ports = json!([{"port": 22, "endPort": 23, "protocol": "UDP"}, {"port": 443}]);
    let rules = json!([
        {"name": "names", "domainNames": ["export.arxiv.org"], "ports": ports, "podSelector": selector},
        {"name": "networks", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]},
        {"name": "service", "service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 443}]},
        {
            "name": "private", "ports": [{"port": 443}],
            "privateEndpoint": {"domainName": "acct.blob.core.windows.net", "expectedNetworks": ["10.40.0.0/16"]},
        },
    ]);
    let people =
        json!([{"kind": "Group", "name": "researchers"}, {"kind": "ServiceAccount", "namespace": "ci", "name": "bot"}]);
    let groups = json!([{"kind": "Group", "name": "security"}]);
    let subjects = json!([{"kind": "ServiceAccount", "name": "trainer"}]);
    let resources = json!({"cpu": "2"});
    let grant = |own: Value| {
        let mut spec = json!({
            "requestedDuration": "4h", "startTime": "2026-07-01T18:00:00Z", "justification": "an eval", "ticketRef": "SEC-1",
            "breakGlass": false,
        });
        super::support::json_merge(&mut spec, &own);
        spec
    };
    let of = |kind, plural, namespaced, spec| Sample { kind, plural, namespaced, spec };
    vec![
        of(
            "ResearchNamespace",
            "researchnamespaces",
            false,
            json!({
                "tier": "Standard",
                "members": [{"role": "Owner", "subjects": groups}],
                "egress": {"allowlists": ["mirror"], "rules": rules, "toResearchNamespaces": ["data"]},
                "ingress": {
                    "fromResearchNamespaces": ["data"],
                    "fromAccessNetworks": [{"podSelector": selector, "ports": ports}],
                },
                "quota": {"requests.cpu": "64"},
                "limitRange": [{
                    "type": "Container", "default": resources, "defaultRequest": resources, "max": resources, "min": resources,
                    "maxLimitRequestRatio": resources,
                }],
                "serviceAccounts": [{"name": "trainer", "annotations": {"example.com/role": "reader"}}],
                "deletionPolicy": "Retain",
            }),
        ),
        of(
            "EgressAllowlist",
            "egressallowlists",
            false,
            json!({
                "description": "the mirror", "namespaceSelector": selector, "attach": "OnRequest",
                "expiresAt": "2027-01-01T00:00:00Z", "rules": rules,
            }),
        ),
        of(
            "StorageResource",
            "storageresources",
            false,
            json!({
                "description": "weights", "sensitivity": "High",
                "endpoint": {
                    "privateEndpoint": {"domainName": "acct.blob.core.windows.net", "expectedNetworks": ["10.40.0.0/16"]},
                    "domainNames": null, "networks": null, "service": null, "ports": ports,
                },
                "roles": [{
                    "name": "reader", "description": "reads", "permissions": ["read"], "accessPolicy": "standard",
                    "clusterRole": "reader", "credential": {"secretRef": {"namespace": "vault", "name": "weights"}},
                }],
            }),
        ),
        of(
            "AccessRole",
            "accessroles",
            false,
            json!({"description": "debugs", "clusterRole": "cloister:debugger", "accessPolicy": "standard"}),
        ),
        of(
            "AccessPolicy",
            "accesspolicies",
            false,
            json!({
                "requesters": people, "beneficiaries": groups,
                "approvalRules": [{"name": "security", "required": 1, "approvers": groups}],
                "maxDuration": "12h", "defaultDuration": "1h", "pendingRequestTTL": "24h", "maxStartDelay": "168h",
                "limits": {"active": 4, "pending": 8},
                "justification": {"required": true}, "ticket": {"required": false, "pattern": "^SEC-"},
                "autoApprove": ["false"],
                "breakGlass": {"requesters": groups, "maxDuration": "1h", "reviewWithin": "24h"},
            }),
        ),
        of(
            "StorageAccessGrant",
            "storageaccessgrants",
            true,
            grant(json!({
                "storage": "weights", "role": "reader", "subjects": subjects, "onExpiry": "Terminate",
                "mount": {"serviceAccountName": "trainer", "mountPath": "/var/run/weights"},
            })),
        ),
        of("EgressGrant", "egressgrants", true, grant(json!({"rule": rules[0]}))),
        of("RoleGrant", "rolegrants", true, grant(json!({"role": "debugger", "subjects": subjects}))),
        of(
            "AccessReview",
            "accessreviews",
            true,
            json!({
                "requestRef": {"kind": "RoleGrant", "name": "debug", "uid": "a3c1f3a0-0000-4000-8000-000000000000"},
                "digest": format!("v1:sha256:{}", "0".repeat(64)), "decision": "Approve", "comment": "agreed",
            }),
        ),
        of(
            "CloisterConfig",
            "cloisterconfigs",
            false,
            json!({
                "dns": {
                    "namespace": "kube-system", "podSelector": selector, "service": "kube-dns",
                    "nodeLocalAddresses": ["169.254.20.10"], "servers": ["192.0.2.53:53"],
                    "resolution": {"minimumTTL": "5s", "grace": "5m", "stale": "1h", "maximumAddresses": 64},
                },
                "accessNetworks": ["10.8.0.0/16"], "clusterNetworks": ["10.96.0.0/12"],
                "credentialNamespaces": ["vault"],
                "minimumApprovals": {"Low": 0, "Moderate": 0, "High": 1, "Critical": 2},
                "egress": {
                    "accessPolicy": "egress", "backend": "Auto", "maxPublicPrefix": {"ipv4": 16, "ipv6": 32},
                    "sharedSuffixes": ["blob.example.com"], "removeForeignPolicies": false,
                },
                "personKey": "example.com/person", "invalidateGrantsBefore": "2026-01-01T00:00:00Z",
                "retention": {"endedGrants": "720h"}, "residualExposure": {"watches": "1h", "sessions": "4h"},
                "runtimeClasses": {"Sandboxed": "gvisor"},
                "workloads": {
                    "priorityClasses": ["batch"], "serviceTypes": ["ClusterIP"], "volumes": ["image"],
                    "tolerations": ["example.com/gpu"], "podAnnotations": ["example.com/net"],
                },
            }),
        ),
    ]
}
