//! The phases of a grant, and what moves it from one to the next.

use super::{
    Declared, Home, Input, Sharer, answers_for_share, deletes_pods,
    eligibility::{self, Ineligible, duration, is_service_account, signed},
    opening::{self, Share, mount_key, secret_name},
    status::{Say, ended},
    target::{GrantTarget, TargetError, too_weak},
};
use crate::{
    auto_approve,
    child::{Child, ChildKey, Children, ObservedChild},
    condition::seconds,
    egress::Refusal,
    plan::{Action, Plan},
};
use cloister_api::{GrantPhase, GrantStatus, Identity, PolicyReference, StorageAccessGrant, condition::reason, labels};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How long a request waits where its policy does not say.
const PENDING_TTL: SignedDuration = SignedDuration::from_hours(24);

/// How long pods may take to end before it is said that the revocation is unconfirmed.
const POD_PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// What to do about a grant.
pub fn plan(input: &Input<'_>) -> Plan<GrantStatus> {
    let grant = match input.declared {
        Declared::Read(grant) => grant,
        Declared::Undecodable { metadata, status, error } => {
            let say = Say { metadata, before: status, now: input.now };
            let mut plan = Plan::default();
            plan.stage(surplus(input, &[]));
            if metadata.deletion_timestamp.is_some() {
                // Its mount, if it has one, is then one that no grant speaks for.
                let held = metadata.finalizers.iter().flatten().any(|held| held == labels::GRANT_FINALIZER);
                plan.stage((held && !own(input).any(|child| child.terminating)).then_some(Action::DropFinalizer));
                return plan;
            }
            let message = format!(
                "this version of the operator cannot read the grant ({error}); what it opened is closed. Delete it and ask again"
            );
            let status = say.before();
            return say.stalled(plan, status, reason::UNDECODABLE, message);
        }
    };
    match grant.status.as_ref().map(|status| status.phase).unwrap_or_default() {
        GrantPhase::Pending => pending(grant, input),
        GrantPhase::Approved | GrantPhase::Active => match end(grant, input) {
            Ok(target) => open(grant, &target, input),
            Err(end) => revoke(grant, Some(end), input),
        },
        GrantPhase::Revoking => revoke(grant, None, input),
        GrantPhase::Expired | GrantPhase::Revoked | GrantPhase::Denied | GrantPhase::TimedOut => over(grant, input),
    }
}

/// Waits for a decision, and takes it where the policy can.
fn pending(grant: &StorageAccessGrant, input: &Input<'_>) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    if grant.metadata.deletion_timestamp.is_some() {
        // Nothing was opened yet.
        plan.stage(surplus(input, &[]));
        plan.stage(drop_finalizer(grant));
        return plan;
    }
    let say = Say::about(grant, input.now);
    let mut status = say.before();
    let asked = grant.metadata.creation_timestamp.as_ref().map_or(input.now, |at| at.0);
    let target = match GrantTarget::of(grant, input) {
        Ok(target) => target,
        Err(error) => {
            // The catalogue may come later than the request; nobody waits for ever, though.
            return wait_or_time_out(
                plan,
                &say,
                status,
                later(asked, PENDING_TTL),
                error.reason(),
                error.to_string(),
                true,
            );
        }
    };
    let policy = &target.policy.spec;
    let deadline = later(asked, policy.pending_request_ttl.map_or(PENDING_TTL, signed));
    if deadline <= input.now {
        // Whatever would be decided now is decided too late.
        let status = ended(status, GrantPhase::TimedOut, input.now);
        return say.ready(plan, status, "TimedOut", format!("nobody decided by {deadline}; ask again"));
    }
    let wait = |plan, status, reason: &str, message: String, broken| {
        wait_or_time_out(plan, &say, status, deadline, reason, message, broken)
    };
    match input.home {
        Home::Enforced => {}
        Home::NotEnforced => {
            let message = format!("waits for ResearchNamespace {} to be enforced", input.namespace);
            return wait(plan, status, "NamespaceNotEnforced", message, false);
        }
        Home::Closed => {
            let message = format!("{} is not an open research namespace; ask in one that is", input.namespace);
            return wait(plan, status, "NotAResearchNamespace", message, true);
        }
    }
    if !input.settings.usable {
        let message =
            "CloisterConfig cloister cannot be read by this version of the operator; nothing is opened until it can";
        return wait(plan, status, reason::CONFIG_UNDECODABLE, message.to_owned(), true);
    }
    let Some(requester) = &grant.spec.requested_by else {
        let message = "the API server did not say who asked: the admission policy requester.cloister.dev is missing; install it, \
                       delete the grant and ask again";
        return wait(plan, status, "RequesterUnknown", message.to_owned(), true);
    };
    let decided = eligibility::check(grant, requester, policy, asked)
        .and_then(|()| no_conflict(grant, input.sharers))
        .and_then(|()| window(grant, &target, input.now));
    let expires = match decided {
        Ok(expires) => expires,
        Err(why) => {
            status = ended(status, GrantPhase::Denied, input.now);
            return say.ready(plan, status, why.reason(), why.to_string());
        }
    };
    if let Some(message) = too_weak(target.policy, target.storage.spec.sensitivity, input.settings) {
        return wait(plan, status, "PolicyTooWeak", message, true);
    }
    if let Some(secret) = missing_credential(grant, &target, input) {
        return wait(plan, status, "CredentialMissing", secret, true);
    }
    match approved_by(grant, requester, &target, input) {
        Err(message) => wait(plan, status, "AwaitingApproval", message, false),
        Ok(message) => {
            // Written down before anything is opened; what it opens follows at once.
            if !has_finalizer(grant) {
                plan.stage([Action::AddFinalizer]);
            }
            status.phase = GrantPhase::Approved;
            status.policy = Some(PolicyReference {
                name: target.policy.metadata.name.clone().unwrap_or_default(),
                uid: target.policy.metadata.uid.clone().unwrap_or_default(),
            });
            status.approved_at = Some(seconds(input.now));
            status.expires_at = Some(expires);
            // Whether or not the role has a credential now: it may get one, or share one that it had.
            status.secret_name = Share::of(grant).map(|share| secret_name(&share));
            plan.look_again(input.now);
            say.ready(plan, status, "AutoApproved", message)
        }
    }
}

/// What an approved grant opens, from its start on.
fn open(grant: &StorageAccessGrant, target: &GrantTarget<'_>, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = Say::about(grant, input.now);
    let mut plan = Plan::default();
    let mut status = say.before();
    let end = status.expires_at.as_ref().map_or(input.now, |end| end.0);
    plan.look_again(end);
    if !has_finalizer(grant) {
        plan.stage([Action::AddFinalizer]);
    }
    if let Some(start) = grant.spec.start_time.as_ref().filter(|start| start.0 > input.now) {
        plan.stage(surplus(input, &[]));
        plan.look_again(start.0);
        let message = format!("approved; opens at {}", start.0);
        return say.ready(plan, status, "WaitingForStart", message);
    }
    if !input.settings.usable {
        // What stands may stay until its end; nothing is opened, or opened again.
        let message =
            "CloisterConfig cloister cannot be read by this version of the operator; nothing is opened until it can";
        return say.stalled(plan, status, reason::CONFIG_UNDECODABLE, message.to_owned());
    }
    if input.home == Home::NotEnforced {
        let message =
            format!("waits for ResearchNamespace {} to be enforced; nothing is opened meanwhile", input.namespace);
        return say.waiting(plan, status, "NamespaceNotEnforced", message);
    }
    let credential = credential(grant, target, input);
    if let (Credential::Missing(message), GrantPhase::Approved) = (&credential, status.phase) {
        return say.stalled(plan, status, "CredentialMissing", message.clone());
    }

    let (children, refusal) = opening::children(grant, target, input);
    let keys: Vec<ChildKey> = children.iter().map(Child::key).collect();
    plan.stage(surplus(input, &keys));
    let mut open: Vec<Action> = children.into_iter().filter_map(|child| apply(child, input.children)).collect();
    let (record, copy, mount) = mounting(grant, &credential, input);
    open.extend(record);
    plan.stage(open);
    plan.stage(copy);
    plan.stage(mount);

    status.phase = GrantPhase::Active;
    status.activated_at = status.activated_at.or_else(|| Some(seconds(input.now)));
    let until = format!("open until {end}");
    match (credential, refusal) {
        (Credential::Missing(message), _) => say.stalled(plan, status, "CredentialMissing", message),
        (_, Some(refusal)) if !matches!(refusal, Refusal::HostsNotSupported { .. }) => {
            say.stalled(plan, status, refusal.reason(), format!("the endpoint stays closed: {refusal}"))
        }
        (_, Some(refusal)) => {
            say.ready(plan, status, refusal.reason(), format!("{until}; the endpoint stays closed: {refusal}"))
        }
        (_, None) => say.ready(plan, status, "Active", until),
    }
}

/// What brings a credential to its mount: a mount without a version, which remembers the copy whatever becomes of the
/// grant and is put into no pod; the copy; and the version, which says that it is there.
fn mounting(
    grant: &StorageAccessGrant,
    credential: &Credential<'_>,
    input: &Input<'_>,
) -> (Option<Action>, Option<Action>, Option<Action>) {
    let (Credential::At { share, from, version }, Some(mount)) = (credential, &grant.spec.mount) else {
        return (None, None, None);
    };
    let observed = input.children.get(&mount_key(share));
    if observed.is_some_and(|mount| mount.terminating) {
        // Somebody else's finalizer holds it. It cannot be written, so nothing would remember the copy.
        return (None, None, None);
    }
    let mounted = |version| opening::grant_mount(input.namespace, share, mount, version);
    let record = observed.is_none().then(|| Action::Apply(Box::new(mounted(""))));
    let is_copied = observed.is_some_and(|mount| mount.version.as_deref() == Some(version));
    // One that opens copies whatever the mount says: taking it away may have been cut off after the Secret.
    let first = grant.status.as_ref().is_none_or(|status| status.phase != GrantPhase::Active);
    let copy = (first || !is_copied).then(|| Action::CopyCredential { from: (*from).clone(), to: secret_name(share) });
    (record, copy, apply(mounted(version), input.children))
}

/// Why a grant ends.
struct End {
    phase: GrantPhase,
    reason: &'static str,
    message: String,
}

/// What an open grant is for, or why it ends now.
fn end<'a>(grant: &StorageAccessGrant, input: &Input<'a>) -> Result<GrantTarget<'a>, End> {
    let status = grant.status.as_ref();
    let over = |reason, message: String| Err(End { phase: GrantPhase::Revoked, reason, message });
    let Some(end) = status.and_then(|status| status.expires_at.as_ref()) else {
        return over("EndUnknown", "the grant has no end written down, so it ends now".to_owned());
    };
    if end.0 <= input.now {
        let message = format!("the grant ended at {}", end.0);
        return Err(End { phase: GrantPhase::Expired, reason: "Expired", message });
    }
    if grant.metadata.deletion_timestamp.is_some() {
        return over("Deleted", "the grant was deleted".to_owned());
    }
    if input.home == Home::Closed {
        return over("NamespaceClosed", format!("the research namespace {} is closed", input.namespace));
    }
    GrantTarget::of(grant, input).or_else(|error| {
        let reason = match error {
            TargetError::PolicyNotFound { .. } | TargetError::PolicyUndecodable(_) => "PolicyGone",
            TargetError::StorageNotFound(_) | TargetError::StorageUndecodable(_) | TargetError::RoleNotFound { .. } => {
                "TargetGone"
            }
        };
        over(reason, error.to_string())
    })
}

/// Takes away what a grant opened, in the order that leaves no gap, until nothing of it is left.
fn revoke(grant: &StorageAccessGrant, end: Option<End>, input: &Input<'_>) -> Plan<GrantStatus> {
    let say = Say::about(grant, input.now);
    let mut plan = Plan::default();
    let mut status = say.before();
    let end = end.unwrap_or_else(|| End {
        // It is being revoked already; how it ends was decided when that began.
        phase: if status.reason == "Expired" { GrantPhase::Expired } else { GrantPhase::Revoked },
        reason: "",
        message: String::new(),
    });
    let reason = if end.reason.is_empty() { status.reason.clone() } else { end.reason.to_owned() };
    let message = if end.message.is_empty() { said_before(&status, &reason) } else { end.message };

    let standing = |share: &Share| input.children.get(&mount_key(share)).filter(|mount| !mount.terminating);
    let answers = answers_for_share(grant);
    // What another counts on stays, and so does what another has opened anew since this one destroyed its own.
    let share = Share::of(grant)
        .filter(|_| !input.sharers.iter().any(|sharer| sharer.counts_on_it))
        .filter(|share| answers || standing(share).is_none());
    let mut holders = 0;
    if let Some((share, mount)) = share.as_ref().zip(grant.spec.mount.as_ref()) {
        // Without its version no new pod gets it. It goes last: until then it remembers the copy.
        let emptied = opening::grant_mount(input.namespace, share, mount, "");
        plan.stage(standing(share).and_then(|_| apply(emptied, input.children)));
    }
    plan.stage(surplus(input, &[]));
    if let Some(share) = &share {
        plan.stage(answers.then(|| Action::DestroyCredential { name: secret_name(share) }));
        if deletes_pods(grant) {
            holders = input.holders.len();
            plan.stage(doomed(input));
        }
        plan.stage(standing(share).map(|_| Action::Delete(mount_key(share))));
    }
    status.secret_name = None;
    // What somebody else's finalizer holds is not gone.
    let mount_held = share.as_ref().and_then(|share| input.children.get(&mount_key(share)));
    let held = own(input).chain(mount_held).filter(|child| child.terminating).count();
    if holders == 0 && held == 0 {
        status = ended(status, end.phase, input.now);
        let mut plan = say.ready(plan, status, &reason, message);
        if grant.metadata.deletion_timestamp.is_some() {
            plan.look_again(input.now);
        }
        return plan;
    }
    status.phase = GrantPhase::Revoking;
    let message = format!("{message}{WAITING}{holders} pods that hold the credential, and {held} objects, to end");
    let since = revoking_since(grant, input.now).unwrap_or(input.now);
    if input.now < later(since, POD_PATIENCE) {
        plan.look_again(later(since, POD_PATIENCE));
        return say.waiting(plan, status, &reason, message);
    }
    status.reason = reason;
    let message = format!(
        "{message}: see that the pods' nodes are reachable and that nobody's finalizer holds the objects, and rotate the \
         credential at its source"
    );
    say.unconfirmed(plan, status, message)
}

/// A grant that is over opens nothing, whatever stands with its name on it.
fn over(grant: &StorageAccessGrant, input: &Input<'_>) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    plan.stage(surplus(input, &[]));
    // One that is still held answers when it is gone, and then the finalizer may go too.
    if grant.metadata.deletion_timestamp.is_some() && !own(input).any(|child| child.terminating) {
        plan.stage(drop_finalizer(grant));
    }
    plan
}

/// Takes away a mount that no grant counts on, such as one whose grant was removed by force.
pub fn orphaned_mount(mount: &ChildKey, holders: &[super::Holder]) -> Plan<GrantStatus> {
    let mut plan = Plan::default();
    // The mount goes last: it is all that tells of the copy.
    plan.stage([Action::DestroyCredential { name: format!("{}{}", labels::GRANT_SECRET_PREFIX, mount.name) }]);
    plan.stage(holders.iter().filter(|holder| !holder.terminating).map(delete_pod));
    plan.stage([Action::Delete(mount.clone())]);
    plan
}

fn wait_or_time_out(
    mut plan: Plan<GrantStatus>,
    say: &Say<'_>,
    status: GrantStatus,
    deadline: Timestamp,
    reason: &str,
    message: String,
    broken: bool,
) -> Plan<GrantStatus> {
    if deadline <= say.now {
        let status = ended(status, GrantPhase::TimedOut, say.now);
        return say.ready(plan, status, "TimedOut", format!("nobody decided in time; {message}"));
    }
    plan.look_again(deadline);
    if broken { say.stalled(plan, status, reason, message) } else { say.ready(plan, status, reason, message) }
}

/// Whether the policy approves a request by itself: what to say of it, or what it waits for.
fn approved_by(
    grant: &StorageAccessGrant,
    requester: &Identity,
    target: &GrantTarget<'_>,
    input: &Input<'_>,
) -> Result<String, String> {
    let policy = target.policy.metadata.name.as_deref().unwrap_or_default();
    let spec = &target.policy.spec;
    if !spec.auto_approve.is_empty() && !is_service_account(requester) {
        let verdict = auto_approve::approves(&spec.auto_approve, &request(grant, requester, target, input));
        if let auto_approve::Verdict::Approved { expression, .. } = verdict {
            return Ok(format!("approved by AccessPolicy {policy} itself: {expression}"));
        }
    }
    let rules: Vec<String> =
        spec.approval_rules.iter().map(|rule| format!("{} of {}", rule.required, rule.name)).collect();
    if rules.is_empty() {
        let message =
            format!("AccessPolicy {policy} does not approve this request by itself, and names nobody who could");
        return Err(message);
    }
    Err(format!("waits for approval under AccessPolicy {policy}: {}", rules.join(", ")))
}

/// What an `autoApprove` expression sees as `request`.
fn request(
    grant: &StorageAccessGrant,
    requester: &Identity,
    target: &GrantTarget<'_>,
    input: &Input<'_>,
) -> serde_json::Value {
    let spec = &grant.spec;
    let seconds = duration(grant, &target.policy.spec).as_secs();
    serde_json::json!({
        "kind": "StorageAccessGrant",
        "namespace": input.namespace,
        "name": input.name,
        "storage": spec.storage,
        "role": spec.role,
        "sensitivity": target.storage.spec.sensitivity,
        "subjects": spec.subjects,
        "requestedDuration": format!("{seconds}s"),
        "justification": spec.justification,
        "ticketRef": spec.ticket_ref.as_deref().unwrap_or_default(),
        "requestedBy": requester,
    })
}

/// When the grant ends: its start and its duration. Begun late, it is shorter.
fn window(grant: &StorageAccessGrant, target: &GrantTarget<'_>, now: Timestamp) -> Result<Time, Ineligible> {
    let start = grant.spec.start_time.as_ref().map_or(now, |start| start.0);
    let end = start.checked_add(duration(grant, &target.policy.spec)).map_err(|_| Ineligible::WindowPassed)?;
    if end <= now { Err(Ineligible::WindowPassed) } else { Ok(seconds(end)) }
}

/// One share is mounted at one path.
fn no_conflict(grant: &StorageAccessGrant, sharers: &[Sharer<'_>]) -> Result<(), Ineligible> {
    let Some(mount) = &grant.spec.mount else { return Ok(()) };
    match sharers.iter().find(|sharer| sharer.mount_path != mount.mount_path) {
        Some(other) => Err(Ineligible::MountConflict(other.name.to_owned(), other.mount_path.to_owned())),
        None => Ok(()),
    }
}

/// The credential behind a grant's mount.
enum Credential<'a> {
    /// There is none to copy.
    None,
    /// It cannot be copied; what to do about it.
    Missing(String),
    /// It is there.
    At { share: Share, from: &'a cloister_api::SecretReference, version: Box<str> },
}

fn credential<'a>(grant: &StorageAccessGrant, target: &GrantTarget<'a>, input: &Input<'_>) -> Credential<'a> {
    let (Some(share), Some(kept)) = (Share::of(grant), &target.role.credential) else { return Credential::None };
    let Some(from) = &kept.secret_ref else {
        return Credential::Missing(
            "the role's credential is kept in a way that this version of the operator does not know".into(),
        );
    };
    let (namespace, name) = (&from.namespace, &from.name);
    if !input.settings.spec.credential_namespaces.contains(namespace) {
        return Credential::Missing(format!(
            "Secret {namespace}/{name} is outside the credentialNamespaces of CloisterConfig; keep the credential in one of them"
        ));
    }
    match (input.credentials)(from) {
        Some(version) => Credential::At { share, from, version },
        None => Credential::Missing(format!(
            "there is no Secret {name} in {namespace}; ask the owners of StorageResource {} to put the credential there",
            grant.spec.storage
        )),
    }
}

fn missing_credential(grant: &StorageAccessGrant, target: &GrantTarget<'_>, input: &Input<'_>) -> Option<String> {
    match credential(grant, target, input) {
        Credential::Missing(message) => Some(message),
        Credential::None | Credential::At { .. } => None,
    }
}

/// The write that makes a child what it should be, if it is not.
fn apply(child: Child, observed: &Children) -> Option<Action> {
    let stands =
        observed.get(&child.key()).is_some_and(|seen| seen.terminating || seen.fingerprint == child.fingerprint());
    (!stands).then(|| Action::Apply(Box::new(child)))
}

/// Deletes what stands in the grant's name beyond these.
fn surplus(input: &Input<'_>, wanted: &[ChildKey]) -> Vec<Action> {
    let own = input.children.iter().filter(|(_, child)| child.grant.as_deref() == Some(input.name));
    let live = own.filter(|(_, child)| !child.terminating);
    live.filter(|(key, _)| !wanted.contains(key)).map(|(key, _)| Action::Delete(key.clone())).collect()
}

/// What stands in the grant's name.
fn own<'a>(input: &'a Input<'_>) -> impl Iterator<Item = &'a ObservedChild> {
    input.children.values().filter(|child| child.grant.as_deref() == Some(input.name))
}

fn doomed(input: &Input<'_>) -> impl Iterator<Item = Action> {
    input.holders.iter().filter(|holder| !holder.terminating).map(delete_pod)
}

fn delete_pod(holder: &super::Holder) -> Action {
    Action::DeletePod { name: holder.name.clone(), uid: holder.uid.clone() }
}

fn has_finalizer(grant: &StorageAccessGrant) -> bool {
    grant.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == labels::GRANT_FINALIZER)
}

/// A time after another; the last of all times where there is none so late.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn drop_finalizer(grant: &StorageAccessGrant) -> Option<Action> {
    has_finalizer(grant).then_some(Action::DropFinalizer)
}

/// Why the grant ended, as it was said when that began.
fn said_before(status: &GrantStatus, reason: &str) -> String {
    let ready = status.conditions.iter().find(|condition| condition.type_ == cloister_api::condition::READY);
    let why = ready.and_then(|ready| ready.message.split_once(WAITING)).map(|(why, _)| why.to_owned());
    why.unwrap_or_else(|| format!("the grant was revoked: {reason}"))
}

/// What stands between why a grant ended and what is still waited for.
const WAITING: &str = "; waiting for ";

/// Since when the grant is known to be over: not before it was last open, and not before what ended it.
fn revoking_since(grant: &StorageAccessGrant, now: Timestamp) -> Option<Timestamp> {
    let status = grant.status.as_ref().filter(|status| status.phase == GrantPhase::Revoking)?;
    let active = status.conditions.iter().find(|condition| condition.type_ == cloister_api::condition::ACTIVE)?;
    let ends = [&status.expires_at, &grant.metadata.deletion_timestamp];
    let first = ends.into_iter().flatten().map(|end| end.0).filter(|end| *end <= now).min();
    Some(first.map_or(active.last_transition_time.0, |first| first.max(active.last_transition_time.0)))
}
