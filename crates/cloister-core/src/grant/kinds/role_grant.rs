//! A RoleGrant: a RoleBinding in its namespace to the ClusterRole of an AccessRole.

use super::{
    kind::{Kind, Opening},
    residue,
    resolve::{both, cluster_role, guard_of, policy_of, rules_of},
    target_error::TargetError,
};
use crate::{
    grant::{
        Grant, Input, Listed, Lookup,
        model::{
            digest,
            target::{Hashes, Target},
        },
    },
    model::child::{Child, build::role_binding},
};
use cloister_api::{ResidualExposure, RoleGrant, Subject};
use serde_json::{Value, json};

impl Kind for RoleGrant {
    fn subjects(&self) -> &[Subject] {
        &self.spec.subjects
    }

    fn names_target(&self) -> String {
        self.spec.role.clone()
    }

    fn entry(&self) -> String {
        format!("AccessRole {}", self.spec.role)
    }

    fn asks(&self) -> Value {
        json!({"role": self.spec.role, "subjects": digest::subjects(&self.spec.subjects)})
    }

    fn target<'a>(&self, input: &Input<'a>) -> Result<Target<'a>, TargetError> {
        let name = &self.spec.role;
        let role = match (input.catalogue.roles)(name) {
            Lookup::Absent => {
                let meant = (input.catalogue.meant)(Listed::Role, name);
                return Err(TargetError::NotFound {
                    kind: "AccessRole",
                    name: name.clone(),
                    meant,
                    list: "accessroles",
                });
            }
            Lookup::Undecodable => return Err(TargetError::Undecodable { kind: "AccessRole", name: name.clone() }),
            Lookup::Read(role) => role,
        };
        let rules = cluster_role(&role.spec.cluster_role, self, input);
        let (rules, policy) = both(rules, policy_of(&role.spec.access_policy, || self.entry(), input))?;
        let meaning = json!({"uid": role.metadata.uid, "clusterRole": role.spec.cluster_role, "rules": rules});
        let (unguarded, sensitive) = guard_of(&role.spec.cluster_role, &role.spec.access_policy, input);
        let allows = rules_of(&role.spec.cluster_role, input);
        let cluster_role = Some(role.spec.cluster_role.as_str());
        Ok(Target { policy, sensitive, meaning, cluster_role, rules: allows, unguarded, hashes: Hashes::default() })
    }

    fn residue(&self, target: &Target<'_>, input: &Input<'_>) -> Vec<ResidualExposure> {
        residue::of_role(target.cluster_role, input)
    }

    fn opening(&self, grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Opening {
        let bind = |role| {
            let metadata = grant.owned_meta(input.namespace);
            Child::RoleBinding(role_binding(metadata, role, input.namespace, &self.spec.subjects))
        };
        Opening { children: target.cluster_role.map(bind).into_iter().collect(), ..Opening::default() }
    }
}
