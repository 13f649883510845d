//! A StorageAccessGrant: a RoleBinding, the storage's endpoint, and the credential mounted into the pods of an account.

use super::{
    egress_grant::{astray, unanswered},
    ineligible::Ineligible,
    kind::{Kind, Opening, is_for_accounts},
    obstacle::{Effect, Missing, Obstacle},
    residue,
    resolve::{both, cluster_role, guard_of, policy_of, rules_of},
    storage_endpoint::{add_endpoint, closed_by, led_astray, too_broad, unmade},
    storage_role::{credential, found},
    target_error::TargetError,
    together,
};
use crate::{
    egress::open_endpoint,
    grant::{
        Grant, Input, NOT_OFFERED, Sensitive,
        credential::{
            mount::{self, Source},
            mount_conflict,
        },
        model::{
            credential_mount_key::{CredentialMountKey, mount_name},
            digest,
            target::{Hashes, Target},
        },
        secret_named,
    },
    model::{
        child::{Child, build::role_binding},
        writers::CATALOGUE_WRITERS,
    },
};
use cloister_api::{
    CredentialSource, Mount, OnExpiry, ResidualExposure, StorageAccessGrant, StorageResource, StorageRole, Subject,
    condition::ACTIVE,
};
use serde_json::{Value, json};

impl Kind for StorageAccessGrant {
    fn subjects(&self) -> &[Subject] {
        &self.spec.subjects
    }

    fn mounted_account(&self) -> Option<&str> {
        self.spec.mount.as_ref().map(|mount| mount.service_account_name.as_str())
    }

    fn is_for_namespace(&self, input: &Input<'_>) -> bool {
        // Without a mount the endpoint is opened to all pods of the namespace, whoever is named.
        let opens_to_all = || found(self, input).map_or(true, |(storage, _)| storage.spec.endpoint.is_some());
        is_for_accounts(&self.spec.subjects) || (self.spec.mount.is_none() && opens_to_all())
    }

    fn withdrawn(&self, input: &Input<'_>) -> Option<Missing> {
        let (_, role) = found(self, input).ok()?;
        let CredentialSource::Secret(from) = role.credential_source().filter(|_| self.spec.mount.is_some())?;
        let facts = (input.catalogue.credentials)(from)?;
        // Where nothing is said there is nothing that was taken back: it stays until its end, and is not given again.
        facts.offered.as_ref().and_then(|_| facts.not_offered(from, &self.spec.storage))?;
        let secret = secret_named(from);
        let message = facts.guard.unreadable(&secret).unwrap_or_else(|| {
            format!("{secret} did not allow StorageResource {} to use it; ask its owner to allow it", self.spec.storage)
        });
        Some(Missing { reason: NOT_OFFERED, message })
    }

    fn names_target(&self) -> String {
        format!("{}/{}", self.spec.storage, self.spec.role)
    }

    fn entry(&self) -> String {
        format!("role {} of StorageResource {}", self.spec.role, self.spec.storage)
    }

    fn asks(&self) -> Value {
        let spec = &self.spec;
        let mount = spec.mount.as_ref();
        json!({
            "storage": spec.storage,
            "role": spec.role,
            "mount": mount.map(|m| json!({"serviceAccountName": m.service_account_name, "mountPath": m.mount_path})),
            "onExpiry": spec.on_expiry,
            "subjects": digest::subjects(&spec.subjects),
        })
    }

    fn target<'a>(&self, input: &Input<'a>) -> Result<Target<'a>, TargetError> {
        let (storage, role) = found(self, input)?;
        let rules = role.cluster_role.as_deref().map(|name| cluster_role(name, self, input)).transpose();
        let (rules, policy) = both(rules, policy_of(&role.access_policy, || self.entry(), input))?;
        let source = role.credential_source();
        let mut meaning = json!({
            "uid": storage.metadata.uid,
            "sensitivity": storage.spec.sensitivity,
            "endpoint": storage.spec.endpoint.as_ref().map(digest::endpoint),
            "permissions": digest::texts(&role.permissions),
            "clusterRole": role.cluster_role,
            "rules": rules,
            "credential": source.map(digest::credential_source),
        });
        if let Some((service, ports)) =
            storage.spec.endpoint.as_ref().and_then(|endpoint| Some((endpoint.service.as_ref()?, &endpoint.ports)))
        {
            meaning["service"] = digest::service_as_it_is(service, ports, input.catalogue.services);
        }
        let cluster_role = role.cluster_role.as_deref();
        // What else is said of the credential and of the role makes them no less sensitive.
        let kept = source.and_then(|CredentialSource::Secret(at)| Some((at, (input.catalogue.credentials)(at)?)));
        let (of_role, least) = cluster_role.map(|name| guard_of(name, &role.access_policy, input)).unwrap_or_default();
        let of_credential =
            kept.as_ref().and_then(|(at, facts)| facts.guard.refuses(&secret_named(at), &role.access_policy));
        let own = Sensitive::of_storage(storage);
        let said = [Some(own), kept.as_ref().and_then(|(at, facts)| facts.says(at)), least];
        let sensitive = Sensitive::highest(said.into_iter().flatten());
        let allows = cluster_role.map(|name| rules_of(name, input)).unwrap_or_default();
        let unguarded = of_credential.or(of_role);
        Ok(Target { policy, sensitive, meaning, cluster_role, rules: allows, unguarded, hashes: Hashes::default() })
    }

    fn conflict(&self, input: &Input<'_>) -> Result<(), Ineligible> {
        let Some((mount, key)) = self.spec.mount.as_ref().zip(CredentialMountKey::of_storage(self)) else {
            return Ok(());
        };
        if found(self, input).is_err() {
            // It may be corrected to the one that is mounted there.
            return Ok(());
        }
        match mount_conflict::conflict(mount, &mount_name(&key), input) {
            Some(conflict) => Err(Ineligible::MountConflict(conflict)),
            None => Ok(()),
        }
    }

    fn missing(&self, target: &Target<'_>, input: &Input<'_>) -> Option<Obstacle> {
        let endpoint = || found(self, input).ok()?.0.spec.endpoint.as_ref();
        let missing = credential(self, input).err().or_else(|| too_broad(&self.spec.storage, endpoint()?, input));
        let missing = missing.or_else(|| unmade(self, target, input));
        missing.map(Obstacle::from).or_else(|| together::too_broad(endpoint()?, input))
    }

    fn doubts(&self, input: &Input<'_>) -> Vec<Obstacle> {
        let storage = &self.spec.storage;
        let Some(endpoint) = found(self, input).ok().and_then(|(storage, _)| storage.spec.endpoint.as_ref()) else {
            return Vec::new();
        };
        let doubt = match open_endpoint(endpoint, None, &input.surroundings()) {
            Ok(open) => astray(open, input).map(|missing| led_astray(storage, missing)),
            Err(refusal) => Some(closed_by(storage, &refusal)),
        };
        doubt.into_iter().map(|doubt| Obstacle { effect: Effect::LeavesClosed, ..Obstacle::from(doubt) }).collect()
    }

    fn caution(&self, input: &Input<'_>) -> Vec<String> {
        let unmounted = nothing_to_mount(self, input).map(|why| why.message);
        Kind::unanswered(self, input).into_iter().chain(unmounted).collect()
    }

    fn unanswered(&self, input: &Input<'_>) -> Vec<String> {
        let endpoint = || found(self, input).ok()?.0.spec.endpoint.as_ref();
        let opening = endpoint().and_then(|endpoint| open_endpoint(endpoint, None, &input.surroundings()).ok());
        opening.map(|opening| unanswered(opening, input)).unwrap_or_default()
    }

    fn residue(&self, target: &Target<'_>, input: &Input<'_>) -> Vec<ResidualExposure> {
        let mut left = residue::of_role(target.cluster_role, input);
        let has_endpoint = found(self, input).is_ok_and(|(storage, _)| storage.spec.endpoint.is_some());
        left.extend(has_endpoint.then_some(ResidualExposure::Connections));
        if self.spec.mount.is_some() {
            let is_kept = found(self, input).map_or(true, |(_, role)| role.credential.is_some());
            left.extend(is_kept.then_some(ResidualExposure::CredentialRead));
            left.extend((self.spec.on_expiry == OnExpiry::Empty).then_some(ResidualExposure::MountedFiles));
        }
        left
    }

    fn opening(&self, grant: &Grant, target: &Target<'_>, input: &Input<'_>) -> Opening {
        let mut opening = Opening::default();
        if let Some(role) = target.cluster_role {
            let metadata = grant.owned_meta(input.namespace);
            let binding = role_binding(metadata, role, input.namespace, &self.spec.subjects);
            opening.children.push(Child::RoleBinding(binding));
        }
        add_endpoint(self, grant, input, &mut opening);
        let is_mounted = self.spec.mount.is_some();
        opening.opens_nothing = found(self, input)
            .is_ok_and(|(storage, role)| !(gives(storage, role) || is_mounted && role.credential.is_some()));
        match (credential(self, input), &self.spec.mount) {
            (Ok(Some(source)), Some(mount)) => add_mount(grant, mount, &source, input, &mut opening),
            (Ok(_), _) => opening.note = opening.note.or_else(|| nothing_to_mount(self, input)),
            (Err(missing), _) => opening.fault = Some(missing),
        }
        opening
    }
}

/// Whether a role gives something besides its credential.
fn gives(storage: &StorageResource, role: &StorageRole) -> bool {
    role.cluster_role.is_some() || storage.spec.endpoint.is_some()
}

/// That a mount is asked for, and the role has no credential; or that it has nothing else, and no mount is asked for.
fn nothing_to_mount(grant: &StorageAccessGrant, input: &Input<'_>) -> Option<Missing> {
    let (storage, role) = found(grant, input).ok()?;
    let of = format!("role {} of StorageResource {}", role.name, grant.spec.storage);
    let message = match (&grant.spec.mount, &role.credential) {
        (Some(_), None) => format!(
            "{of} has no credential, so nothing is mounted; if it should have one, ask {CATALOGUE_WRITERS} to name it in the \
             StorageResource"
        ),
        (None, Some(_)) if !gives(storage, role) => format!(
            "{of} gives a credential and nothing else, and the grant has no mount, so nobody gets it; ask again with mount \
             (`kubectl explain storageaccessgrant.spec.mount`)"
        ),
        _ => return None,
    };
    Some(Missing { reason: ACTIVE, message })
}

/// Mounts the credential, unless another stands in its way or its end is near.
fn add_mount(grant: &Grant, mount: &Mount, source: &Source<'_>, input: &Input<'_>, opening: &mut Opening) {
    let Some(key) = CredentialMountKey::of(grant) else { return };
    let name = mount_name(&key);
    if let Some(other) = mount::in_the_way(mount, &name, input) {
        let message = format!(
            "the credential is not mounted: {other} is mounted in the same pods, in the same folder, or in a folder inside or \
             above it; ask again with another mountPath"
        );
        opening.fault = Some(Missing { reason: "MountConflict", message });
        opening.close.extend(mount::unmount(&name, input.children, input.now));
        return;
    }
    if let Some((other, path)) = mount::goes_first(grant.name(), mount, &name, input) {
        let message = format!(
            "the credential is not mounted at {}: grant {other} has it mounted at {path}; ask again with that mountPath, or \
             after all grants that mount it there have ended",
            mount.mount_path
        );
        opening.fault = Some(Missing { reason: "MountConflict", message });
        return;
    }
    let own = grant.status().and_then(mount::last_call);
    let others = input.other_mounts.iter().filter(|other| other.mount == name && other.is_open);
    let last_call = others.filter_map(|other| other.last_call).chain(own).max();
    if last_call.is_some_and(|last_call| last_call <= input.now) {
        opening.close.extend(mount::unmount(&name, input.children, input.now));
        return;
    }
    if mount::is_anothers(&key, mount, input) {
        opening.close.extend(mount::unmount(&name, input.children, input.now));
    }
    opening.chain = mount::mounting(grant, mount, source, input);
    opening.next = opening.next.into_iter().chain(last_call).min();
}
