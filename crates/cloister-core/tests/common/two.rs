//! A plan that is carried out request by request, while others act: an operator may be stopped in the midst of it, and go on
//! when another has taken over.
//!
//! What each request asks of what is there is what `cloister-controller/src/apply` asks, and nothing more. A version is
//! the same where the content is: of an object that was changed and changed back, the same is decided.

use super::{grants::World, objects::Failed};
use cloister_api::{GrantPhase, GrantStatus, labels};
use cloister_core::{
    grant::{Grant, failed, mount_key, mount_of_secret},
    model::{
        carry_out::{Failure, Outcome, carry_out},
        child::{Child, ChildKey, ChildKind},
        plan::{Action, Plan},
    },
};
use futures::channel::oneshot;
use jiff::Timestamp;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

/// Why a request failed, in the categories of `cloister-controller/src/error.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Somebody else has changed something meanwhile.
    Conflict,
    /// For now.
    ForNow,
    /// For good.
    ForGood,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl Failure for Refused {
    fn is_final(&self) -> bool {
        *self == Refused::ForGood
    }
}

/// What became of the status.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Nothing,
    /// It was refused.
    Refused,
    /// It was written in place of this one.
    Written(Box<GrantStatus>),
}

/// The requests that are under way, each with where its answer is waited for.
type UnderWay = Rc<RefCell<Vec<(Action, oneshot::Sender<Result<(), Refused>>)>>>;

/// A plan that an operator is carrying out.
pub struct Turn {
    pub key: String,
    /// The grant as its operator read it.
    pub read: Option<Grant>,
    planned: Option<GrantStatus>,
    if_failed: Option<GrantStatus>,
    same_version: bool,
    now: Timestamp,
    /// The children as its operator knows them.
    known: BTreeMap<ChildKey, Child>,
    under_way: UnderWay,
    work: Pin<Box<dyn Future<Output = Outcome<Refused>>>>,
    outcome: Option<Outcome<Refused>>,
    /// What its operator knows better by the answers than by what it has heard.
    pub answers: Vec<ChildKey>,
    /// The copy that was made, and the uid of the mount that owns it.
    pub copied: Option<(String, Option<String>)>,
}

/// How many mounts were made: the next has another uid.
static MADE: AtomicU64 = AtomicU64::new(0);

impl Turn {
    /// Begins with a plan that was made from this view.
    pub fn new(view: &World, key: &str, plan: Plan<GrantStatus>) -> Self {
        let finalizer = |action: &Action| matches!(action, Action::AddFinalizer | Action::DropFinalizer);
        let same_version = !plan.actions().any(finalizer);
        let known = view.objects.0.iter().filter(|(key, _)| plan.actions().any(|action| is_written_by(action, key)));
        let known = known.map(|(key, child)| (key.clone(), child.clone())).collect();
        let under_way = UnderWay::default();
        let asked = under_way.clone();
        let perform = move |action: Action| {
            let (answer, answered) = oneshot::channel();
            asked.borrow_mut().push((action, answer));
            async { answered.await.unwrap_or(Err(Refused::ForNow)) }
        };
        Turn {
            key: key.to_owned(),
            read: view.grants.get(key).cloned(),
            planned: plan.status,
            if_failed: plan.if_failed,
            same_version,
            now: view.now,
            known,
            under_way,
            work: Box::pin(carry_out(plan.close, plan.open, plan.last, perform)),
            outcome: None,
            answers: Vec::new(),
            copied: None,
        }
    }

    /// Lets so many more requests be answered, in some order, and the status be written after the last. What became of that
    /// is returned when it is over. `check` sees the cluster and each action before it is done.
    pub fn go_on(
        &mut self,
        world: &mut World,
        requests: usize,
        order: usize,
        check: &mut dyn FnMut(&World, &Turn, &Action),
    ) -> Option<Said> {
        for _ in 0..requests {
            let is_due = self.poll();
            let next = {
                let mut under_way = self.under_way.borrow_mut();
                let at = order.checked_rem(under_way.len());
                at.map(|at| under_way.remove(at))
            };
            let Some((action, answer)) = next else {
                assert!(is_due, "it waits for nothing");
                return Some(self.write_status(world));
            };
            check(world, self, &action);
            let refused = world.refusals.of(&action).map_err(|refused| match refused {
                Failed::ForNow => Refused::ForNow,
                Failed::ForGood => Refused::ForGood,
            });
            let result = refused.and_then(|()| self.perform(world, &action));
            let _ = answer.send(result);
        }
        None
    }

    /// Goes on as far as the answers allow, and says whether all is done but the status.
    fn poll(&mut self) -> bool {
        if self.outcome.is_none()
            && let Poll::Ready(outcome) = self.work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.outcome = Some(outcome);
        }
        self.outcome.is_some()
    }

    /// The grant, if it still is the one with the uid that was read.
    fn same<'a>(&self, world: &'a mut World) -> Option<&'a mut Grant> {
        let uid = self.read.as_ref()?.metadata().uid.clone();
        world.grants.get_mut(&self.key).filter(|grant| grant.metadata().uid == uid)
    }

    /// As `Writer::execute` does it.
    fn perform(&mut self, world: &mut World, action: &Action) -> Result<(), Refused> {
        match action {
            Action::AddFinalizer => self.finalizer(world, true),
            Action::DropFinalizer => self.finalizer(world, false),
            Action::Apply(child) => self.put(world, child),
            // `Writer::delete_one`, by name alone.
            Action::Delete(key) => {
                let result = world.objects.delete(key);
                self.know(world, key);
                result.map_err(|_| Refused::ForNow)
            }
            // `Writer::unmount`, a merge, whatever is there.
            Action::Unmount { name, .. } => {
                let result = world.perform("", action);
                self.know(world, &ChildKey::new(ChildKind::GrantMount, name));
                result.map_err(|_| Refused::ForNow)
            }
            // `Writer::confirm_pods_gone`: that one holds it still is as good as a conflict.
            Action::ConfirmPodsGone { .. } => world.perform("", action).map_err(|_| Refused::Conflict),
            // `Writer::copy_credential`, whatever is there, in the name of the mount as it is known.
            Action::CopyCredential { to, .. } => {
                let mount = mount_of_secret(to).map(mount_key).and_then(|key| self.known.get(&key));
                let owner = mount.ok_or(Refused::Conflict)?.metadata().uid.clone();
                world.perform("", action).map_err(|_| Refused::ForNow)?;
                self.copied = Some((to.clone(), owner));
                Ok(())
            }
            // `Writer::destroy_credential` by name, `Writer::delete_pod` by a uid that no other pod has.
            action => world.perform("", action).map_err(|_| Refused::ForNow),
        }
    }

    /// `Writer::finalizer`: a patch that tests the uid and the finalizers, and not the version.
    fn finalizer(&self, world: &mut World, add: bool) -> Result<(), Refused> {
        let read: Vec<String> =
            self.read.iter().flat_map(|read| read.metadata().finalizers.clone()).flatten().collect();
        if !world.grants.contains_key(&self.key) {
            return if add { Err(Refused::Conflict) } else { Ok(()) };
        }
        let Some(grant) = self.same(world) else { return Err(Refused::Conflict) };
        let metadata = grant.metadata_mut();
        let held = metadata.finalizers.clone().unwrap_or_default();
        if !read.is_empty() && read != held {
            return Err(Refused::Conflict);
        }
        // None is added to what is being deleted.
        if add && metadata.deletion_timestamp.is_some() {
            return Err(Refused::ForGood);
        }
        let others = read.into_iter().filter(|one| one != labels::GRANT_FINALIZER);
        let all: Vec<String> = others.chain(add.then(|| labels::GRANT_FINALIZER.to_owned())).collect();
        let is_gone = all.is_empty() && metadata.deletion_timestamp.is_some();
        metadata.finalizers = Some(all);
        if is_gone {
            world.grants.remove(&self.key);
        }
        Ok(())
    }

    /// `Writer::put`: what is not known is created, or replaced as it is; what is known is replaced in that version.
    fn put(&mut self, world: &mut World, child: &Child) -> Result<(), Refused> {
        let key = child.key();
        match (self.known.get(&key), world.objects.0.get(&key)) {
            (Some(known), Some(there)) if known != there => return Err(Refused::Conflict),
            // The API server creates what is replaced and gone, of the kinds of RBAC; of others it does not.
            (Some(_), None) if key.kind != ChildKind::RoleBinding => return Err(Refused::Conflict),
            _ => {}
        }
        let before = world.objects.0.get(&key).map(|there| there.metadata().uid.clone());
        let result = world.objects.apply(child);
        let uid = before.unwrap_or_else(|| Some(MADE.fetch_add(1, Ordering::Relaxed).to_string()));
        if key.kind == ChildKind::GrantMount {
            world.objects.edit(&key, |metadata| metadata.uid = uid);
        }
        self.know(world, &key);
        result.map_err(|_| Refused::ForNow)
    }

    /// Takes note of an answer.
    fn know(&mut self, world: &World, key: &ChildKey) {
        match world.objects.0.get(key) {
            Some(child) => drop(self.known.insert(key.clone(), child.clone())),
            None => drop(self.known.remove(key)),
        }
        self.answers.push(key.clone());
    }

    /// Writes what `work_off` of `cloister-controller/src/reconcile/mod.rs` writes.
    fn write_status(&mut self, world: &mut World) -> Said {
        let (Some(outcome), Some(read)) = (&self.outcome, self.read.clone()) else { return Said::Nothing };
        let reported = outcome.reported(|error| *error != Refused::Conflict);
        let status = match (outcome.failures.is_empty(), reported.failures.is_empty()) {
            (true, _) => self.planned.clone(),
            (false, true) => None,
            (false, false) => {
                let planned = self.planned.clone().or(self.if_failed.clone());
                failed(read.metadata(), read.status(), planned, &reported, self.now)
            }
        };
        let Some(status) = status else { return Said::Nothing };
        let by_version = self.same_version && outcome.failures.is_empty();
        if !world.grants.contains_key(&self.key) {
            return Said::Nothing;
        }
        let Some(grant) = self.same(world) else { return Said::Refused };
        // `Writer::status`, or else `Writer::status_of_any_version`.
        let is_there = if by_version { *grant == read } else { is_any_version_of(grant, &read) };
        let before = grant.status().cloned().unwrap_or_default();
        if !is_there || !admits(&before, &status, grant.terms().break_glass) {
            return Said::Refused;
        }
        *grant.status_mut() = Some(status);
        Said::Written(Box::new(before))
    }
}

/// Whether an action needs to know an object.
fn is_written_by(action: &Action, key: &ChildKey) -> bool {
    match action {
        Action::Apply(child) => child.key() == *key,
        Action::CopyCredential { to, .. } => mount_of_secret(to).is_some_and(|mount| mount_key(mount) == *key),
        _ => false,
    }
}

/// What `Writer::status_of_any_version` tests.
fn is_any_version_of(there: &Grant, read: &Grant) -> bool {
    let phase = |grant: &Grant| grant.status().map(|status| status.phase);
    there.metadata().uid == read.metadata().uid && phase(there) == phase(read)
}

/// What the policy operator-decisions lets be written.
fn admits(before: &GrantStatus, after: &GrantStatus, breaks_glass: bool) -> bool {
    use GrantPhase::{Active, Approved, Denied, Expired, Pending, Revoked, Revoking, TimedOut};
    let next: &[GrantPhase] = match before.phase {
        Pending => &[Pending, Approved, Denied, TimedOut],
        Approved => &[Approved, Active, Revoking, Expired, Revoked],
        Active => &[Active, Revoking, Expired, Revoked],
        Revoking => &[Revoking, Expired, Revoked],
        Expired => &[Expired, Revoking, Revoked],
        Revoked => &[Revoked, Revoking],
        Denied => &[Denied, Revoking, Revoked],
        TimedOut => &[TimedOut, Revoking, Revoked],
    };
    let opens = |status: &GrantStatus| matches!(status.phase, Approved | Active);
    let kept = |was: bool, is: bool| before.phase == Pending || !was || is;
    let decided = opens(before) && opens(after);
    let same = before.expires_at == after.expires_at
        && before.approved_at == after.approved_at
        && before.policy == after.policy
        && before.digest == after.digest
        && before.target_digest == after.target_digest
        && before.members == after.members
        && before.approvals == after.approvals
        && before.reviews.iter().all(|review| after.reviews.contains(review))
        && after.reviews.len() <= before.reviews.len() + usize::from(breaks_glass);
    next.contains(&after.phase)
        && (!opens(after) || after.expires_at.is_some() && after.approved_at.is_some())
        && kept(before.expires_at.is_some(), after.expires_at.is_some())
        && kept(before.approved_at.is_some(), after.approved_at.is_some())
        && kept(before.break_glass.is_some(), after.break_glass.is_some())
        && (!decided || same)
}

/// Whether something stands that a grant has opened.
pub fn stands(world: &World, key: &str) -> bool {
    world.children_of(key) > 0
        || world.mount_of(key).is_some_and(|mount| world.mounts().iter().any(|one| *one.name == *mount))
}

/// Whether an action opens something: that a mount is written down without its credential opens nothing.
pub fn opens(action: &Action) -> bool {
    match action {
        Action::Apply(child) => match &**child {
            Child::GrantMount(_) => child.observe().version.is_some_and(|version| !version.is_empty()),
            _ => action.opens(),
        },
        action => action.opens(),
    }
}
