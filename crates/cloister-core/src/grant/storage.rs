//! A StorageAccessGrant: a RoleBinding, the storage's endpoint, and the credential mounted into the pods of an account.

use super::{
    Declared, Grant, Input, Listed,
    credential::{NOT_OFFERED, secret_named},
    digest,
    egress::{astray, opened, unanswered},
    end,
    found::{Hashes, Target},
    ineligible::Ineligible,
    kind::{Kind, Opening, is_for_accounts},
    lookups::Known,
    mount::{self, Source},
    obstacle::{Effect, Missing, Obstacle},
    residue,
    resolve::{both, cluster_role, guard_of, policy_of, rules_of},
    sensitivity::Sensitive,
    share::{Share, mount_key, mount_name},
    target_error::TargetError,
    together,
};
use crate::{
    child::{
        Child,
        build::{pods_of, role_binding},
    },
    egress::{Refusal, TOO_BROAD, endpoint_refused, endpoint_too_broad, open_endpoint, open_endpoint_in_part},
    evaluator,
    names::Standing,
    suggest::closest,
    writers::{CATALOGUE_WRITERS, CONFIG_WRITERS},
};
use cloister_api::{
    GrantPhase, Mount, OnExpiry, ResidualExposure, SecretReference, StorageAccessGrant, StorageEndpoint,
    StorageResource, StorageRole, Subject,
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
        let from = role.credential.as_ref()?.secret_ref.as_ref().filter(|_| self.spec.mount.is_some())?;
        let facts = (input.catalogue.credentials)(from)?;
        // Where nothing is said there is nothing that was taken back: it stays until its end, and is not given again.
        let fault = facts.offered.as_ref().and_then(|_| facts.not_offered(from, &self.spec.storage))?;
        Some(Missing { reason: NOT_OFFERED, message: fault })
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
        let credential = role.credential.as_ref().and_then(|credential| credential.secret_ref.as_ref());
        let mut meaning = json!({
            "uid": storage.metadata.uid,
            "sensitivity": storage.spec.sensitivity,
            "endpoint": storage.spec.endpoint.as_ref().map(digest::endpoint),
            "permissions": digest::texts(&role.permissions),
            "clusterRole": role.cluster_role,
            "rules": rules,
            "credential": credential.map(|secret| json!({"namespace": secret.namespace, "name": secret.name})),
        });
        if let Some((service, ports)) =
            storage.spec.endpoint.as_ref().and_then(|endpoint| Some((endpoint.service.as_ref()?, &endpoint.ports)))
        {
            meaning["service"] = digest::service_as_it_is(service, ports, input.catalogue.services);
        }
        let cluster_role = role.cluster_role.as_deref();
        // What else is said of the credential and of the role makes them no less sensitive.
        let kept = credential.and_then(|secret| Some((secret, (input.catalogue.credentials)(secret)?)));
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
        let Some((mount, share)) = self.spec.mount.as_ref().zip(Share::of_storage(self)) else { return Ok(()) };
        if found(self, input).is_err() {
            // It may be corrected to the one that is mounted there.
            return Ok(());
        }
        match mount::conflict(mount, &mount_name(&share), input) {
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
        Kind::unanswered(self, input)
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
            left.push(ResidualExposure::CredentialRead);
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
        match (credential(self, input), &self.spec.mount) {
            (Ok(Some(source)), Some(mount)) => add_mount(grant, mount, &source, input, &mut opening),
            (Ok(_), _) => {}
            (Err(missing), _) => opening.fault = Some(missing),
        }
        opening
    }
}

/// The storage, and the role of it.
fn found<'a>(
    grant: &StorageAccessGrant,
    input: &Input<'a>,
) -> Result<(&'a StorageResource, &'a StorageRole), TargetError> {
    let name = &grant.spec.storage;
    let storage = match (input.catalogue.storages)(name) {
        Known::Absent => {
            let meant = (input.catalogue.meant)(Listed::Storage, name);
            let list = "storageresources";
            return Err(TargetError::NotFound { kind: "StorageResource", name: name.clone(), meant, list });
        }
        Known::Undecodable => return Err(TargetError::Undecodable { kind: "StorageResource", name: name.clone() }),
        Known::Read(storage) => storage,
    };
    let Some(role) = storage.spec.roles.iter().find(|role| role.name == grant.spec.role) else {
        let offered: Vec<&str> = storage.spec.roles.iter().map(|role| role.name.as_str()).collect();
        return Err(TargetError::RoleNotFound {
            storage: name.clone(),
            role: grant.spec.role.clone(),
            meant: closest(&grant.spec.role, offered.iter().copied()).map(str::to_owned),
            offered: offered.join(", "),
        });
    };
    Ok((storage, role))
}

/// The credential behind the mount, where there is one to copy.
fn credential<'a>(grant: &StorageAccessGrant, input: &Input<'a>) -> Result<Option<Source<'a>>, Missing> {
    let missing = |message: String| Err(Missing { reason: "CredentialMissing", message });
    let Ok((_, role)) = found(grant, input) else { return Ok(None) };
    let (Some(_), Some(kept)) = (&grant.spec.mount, &role.credential) else { return Ok(None) };
    let Some(from) = &kept.secret_ref else {
        return missing(
            "the role's credential is kept in a way that this version of the operator does not know".into(),
        );
    };
    let (namespace, name) = (&from.namespace, &from.name);
    if let Some(why) = input.settings.keeps_no_credentials(namespace) {
        return missing(format!(
            "Secret {namespace}/{name} is outside the credentialNamespaces of CloisterConfig, {why}; ask {CATALOGUE_WRITERS} to keep the \
             credential in one of them and to correct the StorageResource, or {CONFIG_WRITERS} to list {namespace}"
        ));
    }
    let storage = &grant.spec.storage;
    let Some(facts) = (input.catalogue.credentials)(from) else {
        return missing(format!(
            "there is no Secret {name} in {namespace}; ask whoever keeps the Secrets of that Namespace to put the credential there"
        ));
    };
    if let Some(message) = facts.not_offered(from, storage) {
        return Err(Missing { reason: NOT_OFFERED, message });
    }
    match facts.content {
        Some(version) => Ok(Some(Source { from, version })),
        None => missing(format!(
            "Secret {name} in {namespace} is empty; ask whoever keeps the Secrets of that Namespace to put the credential there"
        )),
    }
}

/// The credential that stands behind the mount of a grant, and its version: none where the grant ends, or copies it anew.
pub fn mounted(input: &Input<'_>) -> Option<(SecretReference, Box<str>)> {
    let Declared::Read(grant @ Grant::Storage(asked)) = input.declared else { return None };
    let is_open = grant.phase() == GrantPhase::Active && end::reason_to_end(grant, input).is_ok();
    let source = credential(asked, input).ok()?.filter(|_| is_open)?;
    let mount = input.children.get(&mount_key(&mount_name(&Share::of(grant)?)))?;
    let stands = !mount.terminating && mount.version.as_ref() == Some(&source.version);
    stands.then(|| (source.from.clone(), source.version))
}

/// Mounts the credential, unless another stands in its way or its end is near.
fn add_mount(grant: &Grant, mount: &Mount, source: &Source<'_>, input: &Input<'_>, opening: &mut Opening) {
    let Some(share) = Share::of(grant) else { return };
    let name = mount_name(&share);
    if let Some(other) = mount::in_the_way(mount, &name, input) {
        let message = format!(
            "the credential is not mounted: {other} is mounted in the same pods, in the same folder or in one that holds the \
             other; ask again with another mountPath"
        );
        opening.fault = Some(Missing { reason: "MountConflict", message });
        opening.close.extend(mount::unmount(&name, input.children, input.now));
        return;
    }
    if let Some((other, path)) = mount::goes_first(grant.name(), mount, &name, input) {
        let message = format!(
            "the credential is not mounted at {}: grant {other} has it mounted at {path}; ask again with that mountPath, or when \
             that grant has ended",
            mount.mount_path
        );
        opening.fault = Some(Missing { reason: "MountConflict", message });
        return;
    }
    let own = grant.status().and_then(mount::last_call);
    let others = input.neighbours.iter().filter(|other| other.mount == name && other.counts_on_it);
    let last_call = others.filter_map(|other| other.last_call).chain(own).max();
    if last_call.is_some_and(|last_call| last_call <= input.now) {
        opening.close.extend(mount::unmount(&name, input.children, input.now));
        return;
    }
    if mount::is_anothers(&share, mount, input) {
        opening.close.extend(mount::unmount(&name, input.children, input.now));
    }
    opening.chain = mount::mounting(grant, mount, source, input);
    opening.next = opening.next.into_iter().chain(last_call).min();
}

/// That the Service of the endpoint of a request is not there: one that was made later is another than was agreed to, and would
/// end what was given meanwhile.
fn unmade(asked: &StorageAccessGrant, target: &Target<'_>, input: &Input<'_>) -> Option<Missing> {
    let is_request = matches!(input.declared, Declared::Read(grant) if grant.phase() == GrantPhase::Pending);
    if !is_request || !digest::lacks_its_service(target) {
        return None;
    }
    let service = found(asked, input).ok()?.0.spec.endpoint.as_ref()?.service.clone()?;
    Some(closed_by(&asked.spec.storage, &Refusal::ServiceNotFound(service)))
}

/// Opens the storage's endpoint for the pods of the mount, or of the whole namespace.
fn add_endpoint(asked: &StorageAccessGrant, grant: &Grant, input: &Input<'_>, opening: &mut Opening) {
    let Ok((StorageResource { spec, .. }, _)) = found(asked, input) else { return };
    let Some(endpoint) = &spec.endpoint else { return };
    let storage = &asked.spec.storage;
    if let Some(fault) = too_broad(storage, endpoint, input) {
        opening.fault = Some(fault);
        return;
    }
    let pods = asked.spec.mount.as_ref().map(|mount| pods_of(&mount.service_account_name));
    let declared = evaluator::Declared::endpoint(endpoint, pods.as_ref());
    let parts = open_endpoint_in_part(endpoint, pods.as_ref(), &input.surroundings());
    let closed_part = parts.closed.first().map(|refusal| closed_by(storage, refusal));
    match opened(parts, declared, grant, input) {
        Ok(endpoint) => {
            opening.children.extend(endpoint.children);
            opening.next = endpoint.next;
            opening.note = closed_part.or_else(|| endpoint.note.map(|missing| led_astray(storage, missing)));
            opening.hosts = endpoint.hosts;
            opening.fault = endpoint.fault;
        }
        Err(refusal) => opening.fault = refusal.map(|refusal| closed_by(storage, &refusal)),
    }
}

/// What keeps the endpoint of a storage closed, in part or as a whole, for those who can correct it.
fn closed_by(storage: &str, refusal: &Refusal) -> Missing {
    of_endpoint(storage, refusal.reason(), &endpoint_refused(refusal))
}

fn of_endpoint(storage: &str, reason: &'static str, why: &str) -> Missing {
    // Of two who are named, one can act: the one whose mistake it is.
    let or = if why.contains("ask whoever") { "or, where the StorageResource is wrong, " } else { "" };
    let message = format!(
        "the endpoint of StorageResource {storage} stays closed: {why}; {or}ask {CATALOGUE_WRITERS} to correct the StorageResource"
    );
    Missing { reason, message }
}

/// Where a name of the endpoint leads elsewhere, or nowhere.
fn led_astray(storage: &str, Missing { reason, message }: Missing) -> Missing {
    if reason == Standing::Unknown.reason() {
        // It is being looked up: there is nothing to correct.
        return Missing { reason, message };
    }
    of_endpoint(storage, reason, &message.replace("the rule", "the endpoint"))
}

/// What keeps an endpoint closed that opens more than the catalogue may.
fn too_broad(storage: &str, endpoint: &StorageEndpoint, input: &Input<'_>) -> Option<Missing> {
    let why = endpoint_too_broad(endpoint, &input.surroundings(), &input.settings.spec.egress)?;
    Some(of_endpoint(storage, TOO_BROAD, &why.to_string()))
}
