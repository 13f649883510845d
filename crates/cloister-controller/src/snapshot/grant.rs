//! What the decision about a grant is made from, and those about its reviews.

use super::{
    find::{credential, known, meant, others, policy_named, service_named, unreviewed_break_glass},
    namespace,
    taken::{Purpose, Snapshot},
};
use crate::{
    apply::Found,
    queue::{Lane, Mode, Ticket},
    report,
    watch::needs,
};
use cloister_api::{GrantPhase, GrantStatus, ResearchNamespaceSpec, SecretReference, StorageEndpoint, Subject};
use cloister_core::{
    grant,
    grant::{
        Beside, Catalogue, DeclaredGrant, Grant, Holder, Home, Input, OtherMount, has_begun, is_approved, is_open,
        last_call, may_hold, mounted, plan, secret_of,
    },
    model::{
        child::{ChildKind, GrantRef},
        hold::Held,
        plan::{Action, Plan},
    },
};
use cloister_index::{
    decode::Decoded,
    index::{Dirty, Index, mount_of},
    key::Key,
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use std::sync::Arc;

/// A grant that was decided about.
pub struct GrantDecision {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// How its status was found.
    pub found: Found,
    /// What is to be done.
    pub plan: Plan<GrantStatus>,
    /// The grant, where there is something to do and it can be read.
    pub grant: Option<Grant>,
    /// The turns without which the plan must not be carried out.
    pub needs: Ticket,
    /// The reviews of which something else is to be said.
    pub to_answer: Dirty,
}

/// A grant as an Event refers to it.
pub fn reference_of(index: &Index, namespace: &Arc<str>, grant: &GrantRef) -> Option<ObjectReference> {
    index.grant(namespace, grant)?.object.as_ref().ok().map(report::reference)
}

impl Snapshot<'_> {
    /// Decides about a grant.
    pub fn decide_grant(&self, namespace: &Arc<str>, grant: &GrantRef) -> Option<GrantDecision> {
        let found = self.index.grant(namespace, grant)?;
        let (plan, to_answer) = self.with_grant(namespace, grant, |input| {
            let names = grant::to_answer(input).into_iter().filter_map(|review| review.metadata.name.as_deref());
            (plan(input), names.map(|name| Key::Review(namespace.clone(), name.into())).collect())
        })?;
        Some(GrantDecision {
            needs: turns(&self.index, namespace, grant, &plan, self.now),
            metadata: found.metadata.clone(),
            found: Found::of(found),
            grant: found.object.as_ref().ok().filter(|_| !plan.is_empty()).cloned(),
            plan,
            to_answer,
        })
    }

    /// Whether a key is of a grant whose end needs nothing of what cannot be seen yet.
    pub fn ends_all_the_same(&self, key: &Key) -> bool {
        let Key::Grant(namespace, grant) = key else { return false };
        if !self.sources.store.park(key, &needs::of_end(grant.kind)).is_empty() {
            return false;
        }
        let found = self.index.grant(namespace, grant).and_then(|found| found.object.as_ref().ok());
        found.is_some_and(|grant| {
            grant.status().is_some_and(may_hold)
                && (!is_approved(grant, self.now) || grant.metadata().deletion_timestamp.is_some())
        })
    }

    /// What is mounted for a grant: the credential, and the version of the copy.
    pub fn mounted_for(&self, namespace: &Arc<str>, grant: &GrantRef) -> Option<(SecretReference, Box<str>)> {
        self.with_grant(namespace, grant, mounted)?
    }

    /// Asks something of everything that the decision about a grant depends on.
    pub fn with_grant<T>(
        &self,
        namespace: &Arc<str>,
        grant: &GrantRef,
        ask: impl FnOnce(&Input<'_>) -> T,
    ) -> Option<T> {
        let (index, now) = (&*self.index, self.now);
        let key = Key::Grant(namespace.clone(), grant.clone());
        let found = index.grant(namespace, grant);
        let Some(found) = found else {
            self.decided(&key);
            return None;
        };
        let declared = match found {
            Decoded { object: Ok(object), .. } => DeclaredGrant::Read(object),
            Decoded { metadata, object: Err(broken) } => {
                DeclaredGrant::Undecodable { metadata, status: found.status(), error: &broken.error }
            }
        };
        let mount = found.mount();
        let other_mounts = other_mounts(index, namespace, grant, found, now);
        let holders = mount.as_deref().map(|mount| holders(index, namespace, &secret_of(mount))).unwrap_or_default();
        let settings = self.settings(&key);
        let place = (namespace.clone(), grant.clone());
        let reviews = index.reviews(namespace, grant);
        let (held, recorded) = self.record(&declared, &key, namespace);
        let spec = intent(index, namespace);
        let answer = ask(&Input {
            namespace,
            grant: grant.clone(),
            declared,
            catalogue: Catalogue {
                storages: &|storage| known(index.storages.get(storage)),
                roles: &|role| known(index.roles.get(role)),
                policies: &|policy| policy_named(index, policy),
                endpoints: &|| endpoints(index),
                meant: &|listed, name| meant(index, listed, name),
                cluster_roles: &|role| index.cluster_roles.get(role),
                services: &|service| service_named(index, service),
                hosts: &|host| self.known_of(&key, host),
                credentials: &|secret| credential(index, secret),
                others: &|person| others(index, &place, person),
                unreviewed_break_glass: &|person| unreviewed_break_glass(index, &place, person),
            },
            settings: &settings,
            held,
            recorded,
            home: home(index, namespace),
            members: spec.map(|spec| spec.members.as_slice()).unwrap_or_default(),
            accounts: spec.map(|spec| spec.service_accounts.as_slice()).unwrap_or_default(),
            rules: spec.map(|spec| spec.egress.rules.as_slice()).unwrap_or_default(),
            role_holders: &role_holders(index, namespace, grant),
            beside: Beside {
                agreed: &|| namespace::agreed(index, namespace, &settings, now),
                services: &|| namespace::named_services(index, namespace, &settings, now),
                grants: &|| others_in(index, namespace, grant),
            },
            reviews: &reviews,
            children: self.children(namespace),
            mount_is_claimed: mount.as_deref().is_some_and(|mount| is_claimed(index, namespace, mount, now)),
            other_mounts: &other_mounts,
            holders: &holders,
            now,
        });
        self.decided(&key);
        Some(answer)
    }

    /// Why nothing is opened for the sake of the record, and whether it holds what was said of a grant. Asked only where
    /// something depends on it; the grant comes again when it is otherwise.
    fn record(&self, declared: &DeclaredGrant<'_>, key: &Key, namespace: &str) -> (Option<Held>, bool) {
        let DeclaredGrant::Read(grant) = declared else { return (None, true) };
        let audit = &self.sources.audit;
        let is_deleted = grant.metadata().deletion_timestamp.is_some();
        let opens = !is_deleted && matches!(grant.phase(), GrantPhase::Pending | GrantPhase::Approved);
        let mut fails = opens && audit.failure().is_some();
        if fails && self.purpose != Purpose::Look {
            audit.tell(key);
            fails = audit.failure().is_some();
        }
        let depends = is_deleted || (!fails && grant.phase() == GrantPhase::Approved);
        (fails.then_some(Held::AuditUnavailable), !depends || audit.holds(grant, key, namespace))
    }
}

/// The turns that a plan needs: grants of a mount open it together and end together, but one that ends does not take it
/// from one that begins; and a request is decided when what those before it have got is written.
fn turns(index: &Index, namespace: &Arc<str>, grant: &GrantRef, plan: &Plan<GrantStatus>, now: Timestamp) -> Ticket {
    let mut ticket = index.ticket(&Key::Grant(namespace.clone(), grant.clone()), now);
    let mounts = index.grant(namespace, grant).and_then(|found| mount_of(namespace, found));
    let Some(group) = mounts else { return ticket };
    let actions = || plan.actions();
    let ends = actions().any(|action| match action {
        Action::Unmount { .. } | Action::DestroyCredential { .. } => true,
        Action::Delete(key) => key.kind == ChildKind::GrantMount,
        _ => false,
    });
    let opens = actions().any(|action| matches!(action, Action::CopyCredential { .. }));
    let mode = match (ends, opens) {
        (false, false) => None,
        (true, false) => Some(Mode::End),
        (false, true) => Some(Mode::Open),
        (true, true) => Some(Mode::Alone),
    };
    if let Some(mode) = mode {
        ticket.turns.retain(|(known, _)| *known != group);
        ticket.turns.push((group, mode));
    }
    if ends {
        ticket.lane = Lane::Ending;
    }
    ticket
}

/// The approved grants with a mount for the same account, but for one; of one that cannot be read, those of its mount.
fn other_mounts<'a>(
    index: &'a Index,
    namespace: &'a str,
    but: &GrantRef,
    found: &Decoded<Grant>,
    now: Timestamp,
) -> Vec<OtherMount<'a>> {
    let Some(mount) = found.mount() else { return Vec::new() };
    let account = match &found.object {
        Ok(Grant::Storage(grant)) => grant.spec.mount.as_ref().map(|mount| &mount.service_account_name),
        _ => None,
    };
    let others = index.with_mounts(namespace).filter(|(_, grant, _)| *grant != but);
    let approved = others.filter_map(|(name, _, other)| Some((name, other.object.as_ref().ok()?)));
    approved
        .filter(|(_, grant)| is_approved(grant, now))
        .filter_map(|(name, grant)| {
            let Grant::Storage(storage) = grant else { return None };
            let at = storage.spec.mount.as_ref()?;
            let concerned = account.map_or(*name == *mount, |account| *account == at.service_account_name);
            concerned.then(|| OtherMount {
                name: grant.name(),
                mount: name,
                mount_path: &at.mount_path,
                is_open: is_open(grant, now),
                last_call: grant.status().and_then(last_call),
            })
        })
        .collect()
}

/// The pods that hold a copy of a credential.
pub(super) fn holders(index: &Index, namespace: &str, secret: &str) -> Vec<Holder> {
    let pods = index.pods.get(namespace).into_iter().flatten();
    pods.filter_map(|(name, pod)| {
        let held = pod.copies.iter().find(|held| *held.secret == *secret)?;
        Some(Holder {
            name: name.to_string(),
            uid: pod.uid.to_string(),
            grace: pod.grace,
            emptied: held.emptied,
            created: pod.created,
        })
    })
    .collect()
}

/// Who has an AccessRole in a namespace, by the grants that may hold something, but for one.
fn role_holders<'a>(index: &'a Index, namespace: &str, but: &GrantRef) -> Vec<&'a Subject> {
    let roles = others_in(index, namespace, but).into_iter().filter_map(|grant| match grant {
        Grant::Role(role) if role.status.as_ref().is_some_and(may_hold) => Some(&role.spec.subjects),
        _ => None,
    });
    roles.flatten().collect()
}

/// The endpoints of all StorageResources, by their names.
fn endpoints(index: &Index) -> Vec<(&str, &StorageEndpoint)> {
    let read = index.storages.iter().filter_map(|(name, storage)| Some((&**name, storage.object.as_ref().ok()?)));
    read.filter_map(|(name, storage)| Some((name, storage.spec.endpoint.as_ref()?))).collect()
}

/// The other grants of a namespace.
fn others_in<'a>(index: &'a Index, namespace: &str, but: &GrantRef) -> Vec<&'a Grant> {
    let others = index.grants.get(namespace).into_iter().flatten().filter(|(grant, _)| *grant != but);
    others.filter_map(|(_, found)| found.object.as_ref().ok()).collect()
}

fn intent<'a>(index: &'a Index, namespace: &str) -> Option<&'a ResearchNamespaceSpec> {
    let research = index.research.get(namespace)?.object.as_ref().ok()?;
    Some(&research.spec)
}

fn home(index: &Index, namespace: &str) -> Home {
    let research = index.research.get(namespace);
    let observed = index.namespaces.get(namespace).map(|(observed, _)| observed);
    match (research, observed) {
        (_, Some(observed)) if observed.terminating => Home::Ending,
        (Some(research), _) if research.metadata.deletion_timestamp.is_some() || research.object.is_err() => {
            Home::Closed
        }
        (Some(_), Some(observed)) if observed.belongs_to(namespace) && observed.is_enforced() => Home::Enforced,
        (Some(_), _) => Home::NotEnforced,
        (None, _) => Home::Closed,
    }
}

/// Whether a grant speaks for a mount: it takes it away itself. One that cannot be read does so, too.
pub(super) fn is_claimed(index: &Index, namespace: &str, mount: &str, now: Timestamp) -> bool {
    let mut speaking = index.of_mount(namespace, mount);
    speaking.any(|(_, grant)| grant.object.as_ref().map_or(true, |grant| has_begun(grant, now)))
}
