//! What holds a request up, and until when that is nobody's mistake.

use super::{
    open,
    status::{StatusBuilder, ended},
};
use crate::{
    grant::{Home, Input, decide::mistakes::ASK_AGAIN},
    model::{
        durations::{later, signed},
        hold::Held,
        plan::Plan,
    },
};
use cloister_api::{AccessPolicy, GrantPhase, GrantStatus, condition::reason};
use jiff::{SignedDuration, Timestamp};

/// How long what a request names may be on its way before the request is said to be broken: who applies a set of objects
/// applies them one by one, and takes the first that is broken for a failure of all.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(10);

/// What holds a request up.
pub struct Wait {
    /// Why, in one word.
    pub reason: String,
    /// What to do about it.
    pub message: String,
    /// Whether somebody must change something before it can go on.
    pub broken: bool,
    /// Whether people were asked to agree.
    asks_people: bool,
    /// What is said once it has waited in vain.
    at_its_end: String,
    /// Until when what is missing may be on its way.
    on_its_way_until: Option<Timestamp>,
}

impl Wait {
    /// What is said while it waits, and once it has waited in vain: what helps one that waits does not help one that is over.
    pub fn new(reason: &str, message: impl Into<String>, at_its_end: impl Into<String>, broken: bool) -> Self {
        let (message, at_its_end, reason) = (message.into(), at_its_end.into(), reason.to_owned());
        Wait { reason, at_its_end, message, broken, asks_people: false, on_its_way_until: None }
    }

    /// The same where people were asked, and who of them has not agreed.
    pub fn for_people(reason: &str, message: String, missing: String, broken: bool) -> Self {
        Wait { asks_people: true, ..Wait::new(reason, message, missing, broken) }
    }

    /// While nothing is approved or opened, whatever it is.
    pub fn while_held(held: Held) -> Self {
        let at_its_end = match held {
            Held::ClockSkew => "the clocks of the operator and of the API server were too far apart",
            Held::AuditUnavailable => "the audit record could not be written",
        };
        Wait::new(held.reason(), held.message(), at_its_end, false)
    }

    /// What is said of a request that has waited in vain, and what to do then.
    pub fn in_vain(&self, deadline: Timestamp) -> String {
        let what = &self.at_its_end;
        if self.asks_people {
            format!("nobody decided by {deadline}: {what}. {ASK_AGAIN}")
        } else {
            format!("it could not be decided by {deadline}: {what}. {ASK_AGAIN}")
        }
    }

    /// The same where something is missing that may have been applied together with the request.
    pub fn for_what_may_come(self, asked: Timestamp) -> Self {
        Wait { on_its_way_until: Some(later(asked, ON_ITS_WAY)), ..self }
    }
}

/// How long a request waits where its policy does not say.
pub const PENDING_TTL: SignedDuration = SignedDuration::from_hours(24);

/// Until when a request waits under this policy.
pub fn deadline_of(policy: &AccessPolicy, asked: Timestamp) -> Timestamp {
    later(asked, policy.spec.pending_request_ttl.map_or(PENDING_TTL, signed))
}

/// Why nothing can be decided in this namespace now.
pub fn not_here(asked: Timestamp, deadline: Timestamp, input: &Input<'_>) -> Option<Wait> {
    let namespace = input.namespace;
    match input.home {
        Home::Enforced if input.settings.held => {
            let at_its_end = "the clocks of the operator and the API server did not agree";
            Some(Wait::new(reason::CLOCK_SKEW, open::CLOCK_SKEW, at_its_end, false))
        }
        Home::Enforced if input.settings.usable => None,
        Home::Enforced => Some(Wait::new(
            reason::CONFIG_UNDECODABLE,
            "CloisterConfig cloister cannot be read by this version of the operator; nothing is opened until it can",
            "CloisterConfig cloister could not be read by the version of the operator that ran at that time",
            true,
        )),
        Home::NotEnforced => Some(Wait::new(
            "NamespaceNotEnforced",
            format!(
                "waits for ResearchNamespace {namespace} to be enforced, until {deadline}; the status of the ResearchNamespace says \
                 what is missing"
            ),
            format!("ResearchNamespace {namespace} was not enforced"),
            false,
        )),
        Home::Closed | Home::Ending => {
            let said = |ask: &str| {
                format!(
                    "{namespace} is not an enforced research namespace; {ask} in one that is (`kubectl get researchnamespaces` \
                     lists them, with ENFORCED True)"
                )
            };
            let waiting =
                format!("{}. The request waits until {deadline}, and then times out", said("delete the grant and ask"));
            Some(Wait::new("NotAResearchNamespace", waiting, said("ask"), true).for_what_may_come(asked))
        }
    }
}

/// Waits, until nobody has decided in time.
pub fn wait_until(
    mut plan: Plan<GrantStatus>,
    say: &StatusBuilder<'_>,
    status: GrantStatus,
    deadline: Timestamp,
    wait: Wait,
) -> Plan<GrantStatus> {
    if deadline <= say.now {
        let status = ended(status, GrantPhase::TimedOut, say.now);
        return say.ready(plan, status, "TimedOut", wait.in_vain(deadline));
    }
    plan.look_again(deadline);
    let Wait { reason, message, broken, on_its_way_until, .. } = wait;
    if let Some(until) = on_its_way_until.filter(|until| *until > say.now) {
        plan.look_again(until);
        return say.waiting(plan, status, &reason, message);
    }
    if broken { say.stalled(plan, status, &reason, message) } else { say.ready(plan, status, &reason, message) }
}
