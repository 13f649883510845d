//! What is said of the names of a need.

use crate::{
    condition::{Verdict, seconds},
    names::{Held, Standing},
};
use cloister_api::{EgressState, EgressStatus, Enforcement, HostStatus, condition::RESOLUTION_STABLE};

/// How many names are listed.
const NAMES: usize = 32;

/// How many addresses of each.
const ADDRESSES: usize = 16;

/// Puts the names of a need into what is said of it: one that is not open keeps the need from being so.
pub fn tell(need: &mut EgressStatus, held: &[Held], before: &[EgressStatus]) {
    if held.is_empty() {
        return;
    }
    need.enforcement = Some(Enforcement::AddressSet);
    let said = before.iter().find(|said| said.name == need.name).map(|said| said.hosts.as_slice()).unwrap_or_default();
    need.hosts = told(held, said);
    let mut closed: Vec<&Held> = held.iter().filter(|held| held.standing != Standing::Held).collect();
    closed.sort_by(|one, other| one.host.cmp(&other.host));
    if let (EgressState::Active, Some(first)) = (need.state, closed.first()) {
        need.state = EgressState::Unresolved;
        need.reason = first.standing.reason().to_owned();
        let others = match closed.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more names)"),
        };
        need.message = format!("{}{others}", what_to_do(first));
    }
}

/// What is known of names, those that are not open first.
pub fn told(held: &[Held], before: &[HostStatus]) -> Vec<HostStatus> {
    let mut in_order: Vec<&Held> = held.iter().collect();
    in_order.sort_by_key(|held| (held.standing == Standing::Held, held.host.clone()));
    in_order.iter().take(NAMES).map(|held| host(held, before)).collect()
}

/// What holds for all names of a namespace; nothing where it has none.
pub fn verdict(held: &[Held]) -> Option<Verdict> {
    let worst = held.iter().max_by_key(|held| match held.standing {
        Standing::Held => 0,
        Standing::Unknown => 1,
        _ => 2,
    })?;
    Some(match worst.standing {
        Standing::Held => Verdict::new(
            RESOLUTION_STABLE,
            true,
            "Resolved",
            format!("the addresses of all {} names are known", held.len()),
        ),
        Standing::Unknown => Verdict::unknown(RESOLUTION_STABLE, what_to_do(worst)),
        _ => Verdict::new(RESOLUTION_STABLE, false, worst.standing.reason(), what_to_do(worst)),
    })
}

/// Why a name is closed, in a sentence that says what to do.
pub fn what_to_do(held: &Held) -> String {
    let name = &held.host;
    match &held.standing {
        Standing::Held => format!("{name} is open"),
        Standing::Unknown => format!("{name} is being looked up, and stays closed until it is answered"),
        Standing::NoAddress => format!(
            "{name} has no address in DNS, so there is nothing to open; correct the rule, or ask whoever runs the name"
        ),
        Standing::TooMany => format!(
            "{name} has more addresses than can be held (dns.resolution.maximumAddresses of CloisterConfig), and stays closed; \
             name hosts behind it, or use a network plugin that sees names"
        ),
        Standing::Unanswered(why) => {
            format!("no DNS server answers for {name}, which stays closed: {why}; see dns of CloisterConfig")
        }
        Standing::Rebound(why) => format!(
            "{name} leads where it must not, and is closed: {why}; if it is meant to, declare it as privateEndpoint"
        ),
    }
}

/// What is said of one name: what was said before, where only the time and the TTL of the answer would differ.
fn host(held: &Held, before: &[HostStatus]) -> HostStatus {
    let said = HostStatus {
        name: held.host.to_string(),
        addresses: held.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect(),
        count: u32::try_from(held.addresses.len()).unwrap_or(u32::MAX),
        ttl_seconds: held.answered.map(|(_, ttl)| ttl.as_secs()),
        looked_up_at: held.answered.map(|(at, _)| seconds(at)),
        reason: held.standing.reason().to_owned(),
    };
    let same = |before: &&HostStatus| {
        before.name == said.name
            && before.addresses == said.addresses
            && before.count == said.count
            && before.reason == said.reason
    };
    before.iter().find(same).cloned().unwrap_or(said)
}
