//! What holds a request up, and until when that is nobody's mistake.

use super::{
    Home, Input,
    break_glass::later,
    mistakes::{ASK_AGAIN, Mistakes},
    open,
    status::{Say, ended},
};
use crate::plan::Plan;
use cloister_api::{GrantPhase, GrantStatus, condition::reason};
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
    /// Somebody must change all of this.
    pub fn for_all(missing: &Mistakes) -> Self {
        Wait::new(missing.first_reason(), missing.to_string(), true)
    }

    pub fn new(reason: &str, message: impl Into<String>, broken: bool) -> Self {
        let message = message.into();
        let at_its_end = message.clone();
        let reason = reason.to_owned();
        Wait { reason, at_its_end, message, broken, asks_people: false, on_its_way_until: None }
    }

    /// The same where people were asked, and who of them has not agreed.
    pub fn for_people(self, missing: String) -> Self {
        Wait { asks_people: true, at_its_end: missing, ..self }
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

    /// The same, and what is said where nothing has changed until it times out.
    pub fn or_at_its_end(self, at_its_end: String) -> Self {
        Wait { at_its_end, ..self }
    }

    /// The same where something is missing that may have been applied together with the request.
    pub fn for_what_may_come(self, asked: Timestamp) -> Self {
        Wait { on_its_way_until: Some(later(asked, ON_ITS_WAY)), ..self }
    }
}

/// Why nothing can be decided in this namespace now.
pub fn not_here(asked: Timestamp, input: &Input<'_>) -> Option<Wait> {
    match input.home {
        Home::Enforced if input.settings.held => Some(Wait::new(reason::CLOCK_SKEW, open::CLOCK_SKEW, false)),
        Home::Enforced if input.settings.usable => None,
        Home::Enforced => Some(Wait::new(
            reason::CONFIG_UNDECODABLE,
            "CloisterConfig cloister cannot be read by this version of the operator; nothing is opened until it can",
            true,
        )),
        Home::NotEnforced => Some(Wait::new(
            "NamespaceNotEnforced",
            format!("waits for ResearchNamespace {} to be enforced", input.namespace),
            false,
        )),
        Home::Closed | Home::Ending => {
            let said =
                |ask: &str| format!("{} is not an open research namespace; {ask} in one that is", input.namespace);
            let wait = Wait::new("NotAResearchNamespace", said("delete the grant and ask"), true);
            Some(wait.or_at_its_end(said("ask")).for_what_may_come(asked))
        }
    }
}

/// Waits, until nobody has decided in time.
pub fn wait_until(
    mut plan: Plan<GrantStatus>,
    say: &Say<'_>,
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
