//! What a stage begins with.

use crate::{
    people::{GROUPS, PERSON_KEY, Person},
    stage::Stage,
};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde_json::json;

impl Stage {
    /// Who is who, as in `examples/`, and the settings.
    pub async fn furnish(&self) -> Result<()> {
        let root = Person::named(self, "root", "").await?;
        for (group, roles) in GROUPS {
            for role in *roles {
                let binding = json!({
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
                });
                let name = format!("{group}-{}", role.replace(':', "-"));
                root.apply("ClusterRoleBinding", &name, binding).await.ok()?;
            }
        }
        let security =
            json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
        let egress = json!({
            "requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "8h", "approvalRules": security,
        });
        root.apply("AccessPolicy", "egress", json!({"spec": egress})).await.ok()?;
        // A driver that workloads may use: what it is told of Secrets is looked at all the same.
        let settings = json!({"personKey": PERSON_KEY, "workloads": {"volumes": ["csi:listed.example.com"]}});
        root.apply("CloisterConfig", "cloister", json!({"spec": settings})).await.ok()?;
        let alias = Person::account(self, "alias", &["system:masters"], "", "p", "default").await?;
        eventually("the personKey to be in force", async || {
            let ask = json!({"spec": {"role": "none", "subjects": [{"kind": "User", "name": "alias"}]}});
            let made = alias.dry_run("RoleGrant", "probe", ask).await.ok()?;
            ensure!(made["spec"]["requestedBy"]["personKey"] == "p", "it is not stamped: {made}");
            Ok(())
        })
        .await
    }
}
