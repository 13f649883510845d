//! What is said of a namespace.

use super::{host_status, needs::Needs, put_right::Foreign};
use crate::model::{
    child::{ChildKey, ChildKind},
    condition::{self, ConditionUpdate, conditions, seconds},
    plan::Plan,
    text::others,
};
use cloister_api::{
    EgressState, EgressStatus, RefusedPart, ResearchNamespace, ResearchNamespaceStatus,
    condition::{ENFORCED, READY, reason},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// How long after a ResearchNamespace was made an allowlist that it names may be seen later than it.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(10);

/// The longest list of needs in a status.
pub const LIMIT: usize = 256;

/// How many refused parts of a declaration are listed.
const REFUSED: usize = 64;

/// How many policies of others are named.
const FOREIGN: usize = 16;

/// That a name is reserved, and what to do about it: a namespace that was made before can take no other name.
pub fn reserved(declared: &ResearchNamespace, name: &str, why: &str) -> String {
    let stood = declared.status.as_ref().is_some_and(|status| status.enforced_at.is_some());
    let remedy = if stood {
        "ask a policy administrator (ClusterRole cloister:policy-admin) to name another there"
    } else {
        "choose another name"
    };
    format!("{name} cannot be a research namespace: {why}; {remedy}")
}

/// Writes the status of one ResearchNamespace, where it differs from the one before.
pub struct StatusBuilder<'a> {
    pub metadata: &'a ObjectMeta,
    pub before: Option<&'a ResearchNamespaceStatus>,
    pub now: Timestamp,
    /// Whether the namespace is closed, so that none of its needs is open.
    pub is_closed: bool,
}

impl<'a> StatusBuilder<'a> {
    pub fn about(declared: &'a ResearchNamespace, now: Timestamp) -> Self {
        StatusBuilder { metadata: &declared.metadata, before: declared.status.as_ref(), now, is_closed: false }
    }

    /// The same about a namespace that is closed.
    #[must_use]
    pub fn of_closed(self) -> Self {
        StatusBuilder { is_closed: true, ..self }
    }

    /// The namespace stands, and its needs are as they are.
    pub fn enforced(
        &self,
        mut plan: Plan<ResearchNamespaceStatus>,
        needs: &Needs,
        foreign: &Foreign<'_>,
        usable: bool,
    ) -> Plan<ResearchNamespaceStatus> {
        let open = needs.states.iter().filter(|need| is_open(need.state)).count();
        let mut states = needs.states.clone();
        // What waits for somebody comes first, and stays in when the list is cut.
        states.sort_by_key(|need| match need.state {
            EgressState::Refused => 0,
            EgressState::NeedsGrant => 1,
            EgressState::Unresolved => 2,
            EgressState::Active => 3,
        });
        states.truncate(LIMIT);
        host_status::bound(&mut states);
        let defeat = defeat(&foreign.policies);
        let intrusion = intrusion(&foreign.access);
        let mut updates = match (
            defeat.as_ref().or(intrusion.as_ref()),
            usable,
            needs.refused.split_first(),
            needs.mistakes.first(),
        ) {
            (Some(theirs), ..) => {
                let reason = if defeat.is_some() { reason::DENY_DEFEATED } else { reason::FOREIGN_OBJECTS };
                condition::stalled(reason, theirs.clone())
            }
            (None, false, ..) => condition::stalled(
                reason::CONFIG_UNDECODABLE,
                "CloisterConfig cloister cannot be read by this version of the operator; all egress is closed until it can",
            ),
            (None, true, Some(((reason, first), more)), _) => {
                let closed = match needs.states.len() - open {
                    0 => String::new(),
                    _ => format!("; {open} of {} entries are open, see status.egress", needs.states.len()),
                };
                condition::stalled(
                    *reason,
                    format!("{}{}{closed}", brief(first), others(more.len(), "", "status.refused")),
                )
            }
            (None, true, None, Some(first)) => {
                let more = others(needs.mistakes.len() - 1, "", "status.egress");
                let message = format!("{}{more}", brief(first));
                match self.arrives_until() {
                    // What it names may have been applied together with it, and be seen after it.
                    Some(until) => {
                        plan.next = Some(plan.next.map_or(until, |next| next.min(until)));
                        vec![ConditionUpdate::new(READY, false, "EgressRefused", message)]
                    }
                    None => condition::stalled("EgressRefused", message),
                }
            }
            (None, true, None, None) => {
                condition::ready(reason::RECONCILED, open_summary(&states, open, needs.states.len()))
            }
        };
        updates.push(match defeat {
            Some(defeat) => ConditionUpdate::new(ENFORCED, false, reason::DENY_DEFEATED, defeat),
            None => ConditionUpdate::new(
                ENFORCED,
                true,
                reason::RECONCILED,
                "traffic is denied by default, and pods are admitted",
            ),
        });
        updates.extend(host_status::resolution_stable(&needs.held));
        let before = self.before.cloned().unwrap_or_default();
        let status = ResearchNamespaceStatus {
            enforced_at: before.enforced_at.clone().or_else(|| Some(seconds(self.now))),
            egress_summary: format!("{open}/{}", needs.states.len()),
            egress: states,
            refused: listed(&needs.refused),
            deny_defeated_by: foreign.policies.iter().take(FOREIGN).map(|key| shown(key)).collect(),
            foreign_objects: foreign.access.iter().take(FOREIGN).map(ToString::to_string).collect(),
            ..before
        };
        self.written(plan, status, updates)
    }

    /// Until when what was applied together with it may still be on its way, if that is to come.
    fn arrives_until(&self) -> Option<Timestamp> {
        let made = self.metadata.creation_timestamp.as_ref()?.0;
        Some(made + ON_ITS_WAY).filter(|until| *until > self.now)
    }

    /// Broken until somebody changes something.
    pub fn stalled(
        &self,
        plan: Plan<ResearchNamespaceStatus>,
        reason: &str,
        message: String,
    ) -> Plan<ResearchNamespaceStatus> {
        self.kept(plan, self.before.cloned().unwrap_or_default(), condition::stalled(reason, message))
    }

    /// Broken until there is the RuntimeClass that it needs. What else is wrong with it is told together with that.
    pub fn without_class(
        &self,
        plan: Plan<ResearchNamespaceStatus>,
        message: &str,
        refused: &[(&'static str, String)],
    ) -> Plan<ResearchNamespaceStatus> {
        let before = self.before.cloned().unwrap_or_default();
        let status = ResearchNamespaceStatus { refused: listed(refused), ..before };
        let message = format!("{message}{}", others(refused.len(), "", "status.refused"));
        self.kept(plan, status, condition::stalled(reason::RUNTIME_CLASS_MISSING, message))
    }

    /// On its way.
    pub fn waiting(
        &self,
        plan: Plan<ResearchNamespaceStatus>,
        reason: &str,
        message: String,
    ) -> Plan<ResearchNamespaceStatus> {
        let updates = vec![ConditionUpdate::new(READY, false, reason, message)];
        self.kept(plan, self.before.cloned().unwrap_or_default(), updates)
    }

    /// Nothing of it is open, or will be.
    pub fn over(
        &self,
        plan: Plan<ResearchNamespaceStatus>,
        reason: &str,
        message: String,
    ) -> Plan<ResearchNamespaceStatus> {
        let before = self.before.cloned().unwrap_or_default();
        let mut updates = vec![ConditionUpdate::new(READY, false, reason, message)];
        if before.conditions.iter().any(|condition| condition.type_ == ENFORCED) {
            updates.push(ConditionUpdate::new(ENFORCED, false, "Sealed", "no new pod is admitted"));
        }
        let status = ResearchNamespaceStatus { egress: Vec::new(), egress_summary: String::new(), ..before };
        self.written(plan, status, updates)
    }

    /// With what was said before about everything but readiness.
    fn kept(
        &self,
        plan: Plan<ResearchNamespaceStatus>,
        mut status: ResearchNamespaceStatus,
        mut updates: Vec<ConditionUpdate>,
    ) -> Plan<ResearchNamespaceStatus> {
        if self.is_closed {
            // An entry says what is open.
            status.egress.clear();
            status.egress_summary.clear();
        }
        let sealed = plan.actions().any(|action| {
            matches!(action, crate::model::plan::Action::ApplyNamespace(labels) if !labels.contains_key(cloister_api::labels::ENFORCED))
        });
        let enforced = status.conditions.iter().find(|condition| condition.type_ == ENFORCED);
        match enforced {
            Some(_) if sealed => {
                updates.push(ConditionUpdate::new(ENFORCED, false, "Sealed", "no new pod is admitted"))
            }
            Some(enforced) => updates.push(ConditionUpdate::new(
                ENFORCED,
                enforced.status == "True",
                enforced.reason.clone(),
                enforced.message.clone(),
            )),
            None => {}
        }
        self.written(plan, status, updates)
    }

    pub fn written(
        &self,
        mut plan: Plan<ResearchNamespaceStatus>,
        mut status: ResearchNamespaceStatus,
        updates: Vec<ConditionUpdate>,
    ) -> Plan<ResearchNamespaceStatus> {
        let generation = self.metadata.generation;
        let before = self.before.map(|before| before.conditions.as_slice()).unwrap_or_default();
        status.observed_generation = generation;
        status.conditions = conditions(before, updates, generation, self.now);
        plan.status = (self.before != Some(&status)).then_some(status);
        plan
    }
}

/// A policy as the status names it.
fn shown(key: &ChildKey) -> String {
    if key.kind == ChildKind::NetworkPolicy { key.name.to_string() } else { key.to_string() }
}

/// What policies of others do to a namespace.
fn defeat(foreign: &[&ChildKey]) -> Option<String> {
    let first = foreign.first()?;
    let more = others(foreign.len() - 1, "", "status.denyDefeatedBy");
    Some(format!(
        "{} {}{more} is not managed by Cloister, and allows traffic that nobody approved; delete it, or let the operator \
         delete it (egress.removeForeignPolicies of CloisterConfig)",
        first.kind.as_str(),
        first.name
    ))
}

/// What Roles and bindings of others do to a namespace.
fn intrusion(foreign: &[&ChildKey]) -> Option<String> {
    let first = foreign.first()?;
    let more = others(foreign.len() - 1, "", "status.foreignObjects");
    Some(format!(
        "{first}{more} is not managed by Cloister, and gives permissions that nobody approved; delete it and remove its \
         finalizers, or let the operator delete it (egress.removeForeignPolicies of CloisterConfig)"
    ))
}

fn open_summary(states: &[EgressStatus], open: usize, declared: usize) -> String {
    let waiting = states.iter().find(|need| need.state != EgressState::Active);
    match waiting {
        None => "the namespace is as declared".to_owned(),
        Some(need) => {
            let more = others(declared - open - 1, "", "status.egress");
            format!("{open} of {declared} entries are open; {}: {}{more}", need.name, brief(&need.message))
        }
    }
}

/// What is said of a need, as short as a condition has it.
fn brief(message: &str) -> String {
    let mut message = message.to_owned();
    host_status::shorten(&mut message, "the rest is in status.egress");
    message
}

/// What of a declaration is not in force, as the status lists it.
fn listed(refused: &[(&'static str, String)]) -> Vec<RefusedPart> {
    let each = refused.iter().take(REFUSED);
    each.map(|(reason, message)| RefusedPart { reason: (*reason).to_owned(), message: brief(message) }).collect()
}

/// Whether anything was said of it before.
pub fn is_announced(status: Option<&ResearchNamespaceStatus>) -> bool {
    status.is_some_and(|status| !status.conditions.is_empty())
}

/// The first thing to be said of an object: that nothing was decided yet. A tool that finds no Ready condition would
/// take it for healthy.
pub fn first_sight(declared: &ResearchNamespace, now: Timestamp) -> Option<ResearchNamespaceStatus> {
    let updates = vec![ConditionUpdate::unknown(READY, "not decided yet")];
    let status = ResearchNamespaceStatus {
        conditions: conditions(&[], updates, declared.metadata.generation, now),
        ..ResearchNamespaceStatus::default()
    };
    (!is_announced(declared.status.as_ref())).then_some(status)
}

/// Whether an entry of the status says that something is open.
pub fn is_open(state: EgressState) -> bool {
    state == EgressState::Active
}
