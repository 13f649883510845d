//! A grant.

use super::{
    asking::{Asking, remembered},
    catalogue::{debt, meant},
    credential, ended, known,
    mount::is_claimed,
    namespace::{agreed, in_force, named_services},
    others, policy_named, retention, service_named, work_off,
};
use crate::{
    alerts,
    context::Context,
    decode::Decoded,
    error::Error,
    index::{Dirty, Index, Indexed, mount_of},
    key::Key,
    news,
    queue::{Lane, Mode, Ticket},
    write::{Found, Target},
};
use cloister_api::{
    EgressGrant, GrantKind, GrantPhase, GrantStatus, ResearchNamespaceSpec, RoleGrant, StorageAccessGrant, Subject,
    labels,
};
use cloister_core::{
    child::{ChildKind, Children, GrantRef},
    grant::{
        self, Beside, Catalogue, Declared, Grant, Holder, Home, Input, Neighbour, failed, is_approved, is_open,
        last_call, may_hold, plan, secret_of,
    },
    hold::Held,
    names::Host,
    plan::{Action, Plan},
};
use jiff::Timestamp;
use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Resource, core::NamespaceResourceScope};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, mem, sync::Arc};
use tracing::info;

struct Work {
    metadata: ObjectMeta,
    found: Found,
    plan: Plan<GrantStatus>,
    grant: Option<Grant>,
    /// The turns without which the plan must not be carried out.
    needs: Ticket,
    /// The reviews of which something else is to be said.
    to_answer: Dirty,
}

/// Decides about a grant, and opens or closes what it is for.
pub async fn reconcile(
    context: &Context,
    namespace: &Arc<str>,
    grant: &GrantRef,
    ticket: &Ticket,
) -> Result<(), Error> {
    let now = context.clock.now();
    let asking = Asking::new(context);
    if context.index().is_unfinished(namespace, grant) {
        ended::take_back(context, namespace, grant).await?;
    }
    let work = decide(context, namespace, grant, now, &asking);
    let key = Key::Grant(namespace.clone(), grant.clone());
    if asking.wanted_by(&key, |_| None) {
        context.enqueue([key].into());
    }
    let Some(mut work) = work else { return Ok(()) };
    context.enqueue(mem::take(&mut work.to_answer));
    if !ticket.covers(&work.needs) {
        // What has been decided meanwhile needs other turns than were waited for, so it is decided anew when they come.
        context.queue.add_all([(Key::Grant(namespace.clone(), grant.clone()), work.needs)]);
        return Ok(());
    }
    let result = match grant.kind {
        GrantKind::StorageAccessGrant => act::<StorageAccessGrant>(context, namespace, grant, work, now).await,
        GrantKind::EgressGrant => act::<EgressGrant>(context, namespace, grant, work, now).await,
        GrantKind::RoleGrant => act::<RoleGrant>(context, namespace, grant, work, now).await,
    };
    // Of what is written, and of that alone.
    context.audit.take_grant(context, namespace, grant);
    if context.index().grant(namespace, grant).is_some_and(has_ended) {
        context.index_mut().settle(namespace, grant);
        retention::look_again(context);
    }
    result
}

fn has_ended(found: &Decoded<Grant>) -> bool {
    found.object.as_ref().is_ok_and(|grant| grant.phase().has_ended())
}

/// Carries out what was decided, and tells of it.
async fn act<K>(
    context: &Context,
    namespace: &Arc<str>,
    grant: &GrantRef,
    work: Work,
    now: Timestamp,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    Decoded<K>: Indexed,
{
    let over_since = work.grant.as_ref().zip(work.plan.status.as_ref());
    let over_since = over_since.and_then(|(before, after)| grant::over_since(before, after, now));
    let Work { metadata, found, plan, grant: object, .. } = work;
    let target: Target<K> = Target {
        key: Key::Grant(namespace.clone(), grant.clone()),
        namespace: namespace.clone(),
        api: Api::namespaced(context.client.clone(), namespace),
        metadata,
        finalizer: labels::GRANT_FINALIZER,
        found,
    };
    let metadata = target.metadata.clone();
    let before = context.index().grant(namespace, grant).and_then(|found| found.status().cloned());
    let worked =
        work_off(context, &target, plan, |planned, outcome| failed(&metadata, before.as_ref(), planned, outcome, now))
            .await;
    if let (Some(object), Some(said)) = (&object, &worked.said) {
        let done = worked.outcome.failures.is_empty();
        let mut news = news::of_grant(object.status(), said);
        // That the glass was broken is so when it is written.
        news.retain(|news| done || !news.is("BreakGlass"));
        context.alerts.tell(&target.key, &alerts::reference(object), news, done);
        moved_on(object, said);
        if let Some(since) = over_since.filter(|_| said.phase.has_ended()) {
            context.metrics.revoked(context.clock.now().duration_since(since).as_secs_f64());
        }
    }
    worked.result()
}

/// Logs a transition.
fn moved_on(grant: &Grant, said: &GrantStatus) {
    if said.phase != grant.phase() {
        let end = said.expires_at.as_ref().map(|end| end.0);
        info!(phase = said.phase.as_str(), reason = said.reason, expires_at = ?end, "the grant moved on");
    }
}

/// The turns that a plan needs: grants of a mount open it together and end together, but one that ends does not take it
/// from one that begins; and a request is decided when what those before it have got is written.
fn needs(index: &Index, namespace: &Arc<str>, grant: &GrantRef, plan: &Plan<GrantStatus>, now: Timestamp) -> Ticket {
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

/// Takes up the names that a grant depends on, without doing anything else about it.
pub fn ask(context: &Context, namespace: &Arc<str>, grant: &GrantRef, now: Timestamp) {
    let asking = Asking::new(context);
    let index = context.index();
    let _ = with_input(&asking, &index, namespace, grant, now, plan);
    let found = index.grant(namespace, grant).and_then(|found| found.object.as_ref().ok());
    let hosts = || found.and_then(Grant::status).into_iter().flat_map(|status| &status.hosts);
    let said = |host: &Host| remembered(hosts(), host, index.settings(), now);
    // All objects are decided about afterwards.
    let _ = asking.wanted_by(&Key::Grant(namespace.clone(), grant.clone()), said);
}

fn decide(
    context: &Context,
    namespace: &Arc<str>,
    grant: &GrantRef,
    now: Timestamp,
    asking: &Asking<'_>,
) -> Option<Work> {
    let index = context.index();
    let found = index.grant(namespace, grant)?;
    let (plan, to_answer) = with_input(asking, &index, namespace, grant, now, |input| {
        let names = grant::to_answer(input).into_iter().filter_map(|review| review.metadata.name.as_deref());
        (plan(input), names.map(|name| Key::Review(namespace.clone(), name.into())).collect())
    })?;
    Some(Work {
        needs: needs(&index, namespace, grant, &plan, now),
        metadata: found.metadata.clone(),
        found: Found::of(found),
        grant: found.object.as_ref().ok().filter(|_| !plan.is_empty()).cloned(),
        plan,
        to_answer,
    })
}

/// A grant as an Event refers to it.
pub fn reference_of(index: &Index, namespace: &Arc<str>, grant: &GrantRef) -> Option<ObjectReference> {
    index.grant(namespace, grant)?.object.as_ref().ok().map(alerts::reference)
}

/// Gathers everything that the decision about a grant depends on.
pub fn with_input<T>(
    asking: &Asking<'_>,
    index: &Index,
    namespace: &Arc<str>,
    grant: &GrantRef,
    now: Timestamp,
    decide: impl FnOnce(&Input<'_>) -> T,
) -> Option<T> {
    static NOTHING: Children = Children::new();
    let found = index.grant(namespace, grant)?;
    let declared = match found {
        Decoded { object: Ok(object), .. } => Declared::Read(object),
        Decoded { metadata, object: Err(broken) } => {
            Declared::Undecodable { metadata, status: found.status(), error: &broken.error }
        }
    };
    let mount = found.mount();
    let neighbours = neighbours(index, namespace, grant, found, now);
    let holders = mount.as_deref().map(|mount| holders(index, namespace, &secret_of(mount))).unwrap_or_default();
    let settings = in_force(asking.context(), index, Key::Grant(namespace.clone(), grant.clone()));
    let place = (namespace.clone(), grant.clone());
    let reviews = index.reviews(namespace, grant);
    let (held, recorded) = record(asking.context(), &declared, namespace, grant);
    Some(decide(&Input {
        namespace,
        grant: grant.clone(),
        declared,
        catalogue: Catalogue {
            storages: &|storage| known(index.storages.get(storage)),
            roles: &|role| known(index.roles.get(role)),
            policies: &|policy| policy_named(index, policy),
            meant: &|listed, name| meant(index, listed, name),
            cluster_roles: &|role| index.cluster_roles.get(role),
            services: &|service| service_named(index, service),
            hosts: &|host| asking.known(host),
            credentials: &|secret| credential(index, secret),
            others: &|person| others(index, &place, person),
            debts: &|person| debt(index, &place, person),
        },
        settings: &settings,
        held,
        recorded,
        home: home(index, namespace),
        members: intent(index, namespace).map(|spec| spec.members.as_slice()).unwrap_or_default(),
        accounts: intent(index, namespace).map(|spec| spec.service_accounts.as_slice()).unwrap_or_default(),
        rules: intent(index, namespace).map(|spec| spec.egress.rules.as_slice()).unwrap_or_default(),
        role_holders: &role_holders(index, namespace, grant),
        beside: Beside {
            agreed: &|| agreed(index, namespace, &settings, now),
            services: &|| named_services(index, namespace, &settings, now),
            grants: &|| others_in(index, namespace, grant),
        },
        reviews: &reviews,
        children: index.children.get(namespace).map_or(&NOTHING, |children| &children.all),
        mount_is_claimed: mount.as_deref().is_some_and(|mount| is_claimed(index, namespace, mount, now)),
        neighbours: &neighbours,
        holders: &holders,
        now,
    }))
}

/// Why nothing is opened for the sake of the record, and whether it holds what was said of a grant. Asked only where
/// something depends on it; the grant comes again when it is otherwise.
fn record(
    context: &Context,
    declared: &Declared<'_>,
    namespace: &Arc<str>,
    reference: &GrantRef,
) -> (Option<Held>, bool) {
    let Declared::Read(grant) = declared else { return (None, true) };
    let is_deleted = grant.metadata().deletion_timestamp.is_some();
    let opens = !is_deleted && matches!(grant.phase(), GrantPhase::Pending | GrantPhase::Approved);
    let key = || Key::Grant(namespace.clone(), reference.clone());
    let held = context.audit.failure().filter(|_| opens).map(|_| {
        context.audit.tell(&key());
        Held::AuditUnavailable
    });
    let depends = is_deleted || (held.is_none() && grant.phase() == GrantPhase::Approved);
    (held, !depends || context.audit.holds(grant, &key(), namespace))
}

/// The approved grants with a mount for the same account, but for one; of one that cannot be read, those of its mount.
fn neighbours<'a>(
    index: &'a Index,
    namespace: &'a str,
    but: &GrantRef,
    found: &Decoded<Grant>,
    now: Timestamp,
) -> Vec<Neighbour<'a>> {
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
            concerned.then(|| Neighbour {
                name: grant.name(),
                mount: name,
                mount_path: &at.mount_path,
                counts_on_it: is_open(grant, now),
                last_call: grant.status().and_then(last_call),
            })
        })
        .collect()
}

/// The pods that hold a copy of a credential.
pub fn holders(index: &Index, namespace: &str, secret: &str) -> Vec<Holder> {
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
