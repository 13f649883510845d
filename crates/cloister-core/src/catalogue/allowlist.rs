//! What is said of an allowlist: where it is open, what of it opens nowhere, and whom it keeps out.

use super::{access_policy::NAMED, conditions_of};
use crate::{
    address::Refusal,
    cluster::settings::Settings,
    dns::NameState,
    egress::{
        Opened, ServiceFacts, Surroundings, TOO_BROAD, TooBroad, is_as_published, narrowed, open_rule_in_part,
        published,
    },
    model::{
        condition::{ConditionUpdate, conditions, ready, stalled},
        text::first_of,
    },
    namespace::{
        CORRECTED_BY, allowlist_of_entry, allows, is_meant_for, keeps_out, names, part_closed, requirements,
        selects::{self, SelectsNone},
    },
};
use cloister_api::{
    Attach, EgressAllowlist, EgressAllowlistStatus, EgressState, EgressStatus, ResearchNamespace, ServiceReference,
    condition::reason,
};
use jiff::Timestamp;

/// How many users an allowlist's status names.
const USERS_NAMED: usize = 32;

/// How many research namespaces are named that it is not open in.
const NOT_OPEN_NAMED: usize = 3;

/// Reason of an allowlist that is open nowhere because it allows none of those that would use it.
pub const ALLOWS_NONE: &str = "AllowsNone";

/// Who uses an allowlist.
#[derive(Clone, Debug, Default)]
pub struct Users<'a> {
    /// The research namespaces that it opens in, in order.
    pub names: Vec<&'a str>,
    /// Those that it would open in if it had not ended, in order.
    pub without: Vec<&'a str>,
    /// In how many of them all of it is open.
    pub in_whole: usize,
    /// Those of them of which nothing is said yet, or any more.
    pub unsaid: Vec<&'a str>,
    /// Those of them in which a part of it is not, and what is said of that there.
    pub in_part: Vec<(&'a str, &'a EgressStatus)>,
    /// The research namespaces that name it and that it does not allow, in order, each with what keeps it out.
    pub kept_out: Vec<(&'a str, String)>,
    /// Whether there are research namespaces, and it allows none of them.
    pub selects_none: bool,
}

/// Who uses an allowlist, or would like to.
pub fn users<'a>(
    name: &str,
    allowlist: &EgressAllowlist,
    declared: impl Iterator<Item = (&'a str, &'a ResearchNamespace)>,
    now: Timestamp,
) -> Users<'a> {
    let mut users = Users::default();
    let has_ended = allowlist.spec.expires_at.as_ref().is_some_and(|end| end.0 <= now);
    let (mut any, mut allowed) = (false, false);
    for (namespace, research) in declared {
        (any, allowed) = (true, allowed || allows(allowlist, research));
        let meant = is_meant_for(name, allowlist, research);
        if meant && has_ended {
            users.without.push(namespace);
        } else if meant {
            users.names.push(namespace);
            let needs = research.status.iter().flat_map(|status| &status.egress);
            let mut own = needs.filter(|need| allowlist_of_entry(&need.name) == Some(name)).peekable();
            if own.peek().is_none() {
                users.unsaid.push(namespace);
            }
            for need in own {
                if need.state == EgressState::Active {
                    users.in_whole += 1;
                } else if need.reason != NameState::Unknown.reason() {
                    users.in_part.push((namespace, need));
                }
            }
        } else if names(research, name) && !allows(allowlist, research) {
            users.kept_out.push((namespace, keeps_out(allowlist, research)));
        }
    }
    users.selects_none = any && !allowed;
    users.names.sort_unstable();
    users.without.sort_unstable();
    users.unsaid.sort_unstable();
    users.in_part.sort_unstable_by_key(|(namespace, _)| *namespace);
    users.kept_out.sort_unstable();
    users
}

/// How an allowlist is used, with a reason of its own where it does not do what it is published for. What never opens, wherever
/// it is used, is said beside it, and not once more for each namespace.
fn used(allowlist: &EgressAllowlist, users: &Users<'_>, never: &NeverOpen) -> (String, String) {
    let Users { names, in_part, kept_out, .. } = users;
    let in_part: Vec<(&str, &EgressStatus, String)> = in_part
        .iter()
        .filter_map(|(namespace, need)| Some((*namespace, *need, beyond(&need.message, never)?)))
        .collect();
    // Where nothing else is missing than what never opens, the rest is open.
    let rest = if never.opens_some { users.in_part.len() - in_part.len() } else { 0 };
    let in_whole = users.in_whole + rest;
    let open = if never.cut.is_empty() { "open as a whole" } else { "open, except for a part," };
    let spec = &allowlist.spec;
    let no_selector = spec.namespace_selector.is_none();
    let mut said = vec![match (names.len(), spec.attach) {
        (0, _) if no_selector => {
            "it has no namespaceSelector, so it allows no research namespace; write one ({} allows all)".to_owned()
        }
        (0, _) if users.selects_none && kept_out.is_empty() => {
            let by = requirements(spec.namespace_selector.as_ref()).map(|by| format!(" ({by})")).unwrap_or_default();
            format!(
                "its namespaceSelector{by} selects no research namespace; correct it, or ask a platform engineer to set the \
                 labels that it selects on ResearchNamespaces"
            )
        }
        (0, Attach::Always) => "its namespaceSelector selects no research namespace".to_owned(),
        (0, Attach::OnRequest) if kept_out.is_empty() => {
            "no research namespace names it in egress.allowlists; one that declares a rule which it covers says so in its \
             status.egress"
                .to_owned()
        }
        (0, Attach::OnRequest) => "no research namespace that it allows names it".to_owned(),
        (1, _) => format!("{open} in {in_whole} of the 1 research namespace that uses it"),
        (all, _) => format!("{open} in {in_whole} of the {all} research namespaces that use it"),
    }];
    said.extend(never.said_of_cuts());
    let mut alike: Vec<(&str, Vec<&str>)> = Vec::new();
    for (namespace, _, why) in &in_part {
        match alike.iter_mut().find(|(known, _)| known == why) {
            Some((_, namespaces)) => namespaces.push(*namespace),
            None => alike.push((why, vec![*namespace])),
        }
    }
    if !alike.is_empty() {
        let in_part =
            alike.iter().map(|(why, namespaces)| format!("in {}: {why}", first_of(namespaces, NOT_OPEN_NAMED, ", ")));
        said.push(first_of(in_part, NOT_OPEN_NAMED, "; "));
    }
    if !users.unsaid.is_empty() {
        let named = first_of(&users.unsaid, NOT_OPEN_NAMED, ", ");
        said.push(format!("nothing of it is open in {named}: the status of the ResearchNamespace says why"));
    }
    if !kept_out.is_empty() {
        let kept_out_by = kept_out.iter().map(|(namespace, why)| format!("{namespace} ({why})"));
        let named = first_of(kept_out_by, NOT_OPEN_NAMED, "; ");
        let all = match kept_out.len() {
            1 => "1 research namespace names it and is not allowed".to_owned(),
            all => format!("{all} research namespaces name it and are not allowed"),
        };
        let help = if no_selector { "" } else { "; widen namespaceSelector, or label them" };
        said.push(format!("{all}: {named}{help}"));
    }
    let allows_none = names.is_empty()
        && (no_selector || users.selects_none || !kept_out.is_empty() || spec.attach == Attach::Always);
    let reason: &str = match in_part.first() {
        _ if allows_none => ALLOWS_NONE,
        Some((_, need, _)) if in_whole == 0 => &need.reason,
        _ => reason::RECONCILED,
    };
    (reason.to_owned(), said.join("; "))
}

/// What is said in a namespace that is not said of the allowlist itself.
fn beyond(message: &str, never: &NeverOpen) -> Option<String> {
    let said_to_publishers = message.rfind(CORRECTED_BY).and_then(|at| message[..at].rfind("; EgressAllowlist "));
    let mut rest = said_to_publishers.map_or(message, |at| &message[..at]).to_owned();
    let whole = rest.len();
    for (rule, said) in never.broken.iter().map(|(_, one)| one).chain(&never.covering) {
        rest = rest.replace(&format!("{rule}: {said}"), "").replace(said, "");
    }
    for (rule, said) in &never.cut {
        rest = rest.replace(&part_closed(rule, said), "").replace(&part_closed("it", said), "");
    }
    if rest.len() == whole {
        return Some(rest);
    }
    // The first part says how much of it stays closed.
    let (_, left) = rest.split_once(": ").unwrap_or_default();
    let left: Vec<&str> = left.split("; ").map(str::trim).filter(|part| !part.is_empty()).collect();
    (!left.is_empty()).then(|| left.join("; "))
}

/// The status of an allowlist, where it differs from what is there.
pub fn allowlist(
    allowlist: &EgressAllowlist,
    users: &Users<'_>,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
    now: Timestamp,
) -> Option<EgressAllowlistStatus> {
    let before = allowlist.status.as_ref();
    let updates = judged(allowlist, users, &never_open(allowlist, services, settings), now);
    let names = users.names.as_slice();
    let generation = allowlist.metadata.generation;
    let status = EgressAllowlistStatus {
        observed_generation: generation,
        namespaces: i64::try_from(names.len()).unwrap_or(i64::MAX),
        services: published(allowlist, services),
        used_by: names.iter().take(USERS_NAMED).map(|&name| name.to_owned()).collect(),
        conditions: conditions(conditions_of(before.map(|status| &status.conditions)), updates, generation, now),
    };
    (before != Some(&status)).then_some(status)
}

fn judged(allowlist: &EgressAllowlist, users: &Users<'_>, never: &NeverOpen, now: Timestamp) -> Vec<ConditionUpdate> {
    if let Some(end) = allowlist.spec.expires_at.as_ref().filter(|end| end.0 <= now) {
        let all = users.without.len();
        let closed = match all {
            0 => String::new(),
            1 => format!(" in 1 research namespace that would use it ({})", users.without[0]),
            _ => {
                let named = first_of(&users.without, NOT_OPEN_NAMED, ", ");
                format!(" in {all} research namespaces that would use it ({named})")
            }
        };
        let message =
            format!("ended at {} (expiresAt), and opens nothing{closed}; set a later expiresAt, or delete it", end.0);
        return stalled(reason::EXPIRED, message);
    }
    match selects::parse(allowlist.spec.namespace_selector.as_ref()) {
        Err(SelectsNone::OfOwners(label)) => {
            let message = format!(
                "namespaceSelector uses label {label}, which the owners of a ResearchNamespace may set, so the allowlist opens \
                 nothing; select by a label of your own, such as team"
            );
            return stalled(reason::SELECTOR_REFUSED, message);
        }
        Err(SelectsNone::Invalid(fault)) => {
            let message = format!(
                "namespaceSelector is invalid: {fault}. It selects no research namespace, so the allowlist opens nothing; \
                 correct it"
            );
            return stalled(reason::SELECTOR_REFUSED, message);
        }
        // That there is no selector is said with who uses it.
        Ok(_) | Err(SelectsNone::Absent) => {}
    }
    let (reason, used) = used(allowlist, users, never);
    match never.broken.first() {
        Some((reason, _)) => {
            let said = never.said();
            let message = match never.leaves_some() {
                true => {
                    format!("these entries of its rules stay closed wherever it is used: {said}; for the rest: {used}")
                }
                false => format!("all of it stays closed wherever it is used: {said}; {used}"),
            };
            stalled(*reason, message)
        }
        None if never.covering.is_empty() => ready(reason, used),
        None => ready(reason, format!("{used}; {}", never.said())),
    }
}

/// The name of a rule, and what is said of it.
type OfRule = (String, String);

/// What of an allowlist never opens, wherever it is used.
struct NeverOpen {
    /// What somebody must correct, with its reason.
    broken: Vec<(&'static str, OfRule)>,
    /// What only covers rules of namespaces.
    covering: Vec<OfRule>,
    /// Which networks are cut out of what opens.
    cut: Vec<OfRule>,
    /// Whether something of it opens.
    opens_some: bool,
}

impl NeverOpen {
    /// Whether something of it opens, or covers rules of namespaces.
    fn leaves_some(&self) -> bool {
        self.opens_some || !self.covering.is_empty()
    }

    fn said_of_cuts(&self) -> Option<String> {
        let cuts = self.cut.iter().map(|(rule, said)| part_closed(&format!("rule {rule}"), said));
        (!self.cut.is_empty()).then(|| first_of(cuts, NAMED, "; "))
    }

    fn said(&self) -> String {
        let all = self.broken.iter().map(|(_, one)| one).chain(&self.covering);
        first_of(all.map(|(rule, said)| format!("rule {rule}: {said}")), NAMED, "; ")
    }
}

fn never_open(
    allowlist: &EgressAllowlist,
    services: &dyn Fn(&ServiceReference) -> Option<ServiceFacts>,
    settings: &Settings,
) -> NeverOpen {
    let surroundings = Surroundings { never: &settings.never, services, wildcards: settings.opens_wildcards() };
    let mut never = NeverOpen { broken: Vec::new(), covering: Vec::new(), cut: Vec::new(), opens_some: false };
    for rule in &allowlist.spec.rules {
        if let Err(refusal) = is_as_published(allowlist, rule, services) {
            never.broken.push((refusal.reason(), (rule.name.clone(), refusal.to_string())));
            continue;
        }
        let Opened { opening, closed } = open_rule_in_part(rule, &surroundings);
        for refusal in closed {
            let message = (rule.name.clone(), refusal.to_string());
            match refusal {
                // It covers rules of namespaces all the same; and whoever runs a Service makes it.
                Refusal::WildcardNotEnforceable { .. } | Refusal::ServiceNotFound(_) => never.covering.push(message),
                _ => never.broken.push((refusal.reason(), message)),
            }
        }
        let cut = opening.iter().flat_map(|opening| opening.cut_out(&settings.never));
        never.cut.extend(cut.map(|why| (rule.name.clone(), why.to_string())));
        let alone = opening.map(|opening| narrowed(vec![opening], &settings.spec.egress));
        let alone: Vec<_> = alone.into_iter().flatten().collect();
        never.opens_some |= alone.iter().any(|narrowed| narrowed.opening.is_some());
        let broad = alone.into_iter().flat_map(|narrowed| TooBroad::folded(narrowed.too_broad));
        never.broken.extend(broad.map(|why| (TOO_BROAD, (rule.name.clone(), why.message()))));
    }
    never
}
