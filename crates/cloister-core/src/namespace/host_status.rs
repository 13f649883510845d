//! What is said of the names of a need.

use crate::{
    dns::{Held, NO_SERVER, NameState, Rebinding, known_name::Limits},
    model::{
        condition::{ConditionUpdate, seconds},
        text::others,
        writers::CONFIG_WRITERS,
    },
};
use cloister_api::{EgressStatus, Enforcement, HostStatus, condition::RESOLUTION_STABLE};
use jiff::{SignedDuration, Timestamp};

/// How many names are listed.
const NAMES: usize = 32;

/// How many bytes all needs may have in a status, about: an object has 1.5 MiB at the most, and its spec needs some of it.
const MOST_BYTES: usize = 256 * 1024;

/// How many bytes a need or a name has beside its texts, at the most.
const LINE: usize = 192;

/// How many bytes the messages of all needs may have in full; where they have more, each is shortened.
const MOST_IN_FULL: usize = 128 * 1024;

/// The longest message of a need where it is shortened.
const MESSAGE: usize = 1024;

/// How many addresses of each.
const ADDRESSES: usize = 16;

/// Lists the names of a need in what is said of it.
pub fn annotate_need(need: &mut EgressStatus, held: &[Held], before: &[EgressStatus], limits: &Limits) {
    if held.is_empty() {
        return;
    }
    need.enforcement = Some(Enforcement::AddressSet);
    let said = before.iter().find(|said| said.name == need.name).map(|said| said.hosts.as_slice()).unwrap_or_default();
    need.hosts = host_statuses(held, said, limits);
    need.host_count = (held.len() > NAMES).then(|| u32::try_from(held.len()).unwrap_or(u32::MAX));
}

/// Lists no more names, and says no more, than a status has room for: an object that is too large for the API server could
/// never be written again. What comes first stays. What a line costs is counted without the times in it, so that the same
/// names are listed at each look.
pub fn bound(needs: &mut [EgressStatus]) {
    if needs.iter().map(|need| need.message.len()).sum::<usize>() > MOST_IN_FULL {
        needs.iter_mut().for_each(|need| shorten(&mut need.message, "correct these; then the rest is named"));
    }
    let lines: usize = needs.iter().map(|need| LINE + need.name.len() + need.reason.len() + need.message.len()).sum();
    let mut room = MOST_BYTES.saturating_sub(lines);
    for need in needs {
        let fit = need.hosts.iter().take_while(|host| match room.checked_sub(cost(host)) {
            Some(left) => {
                room = left;
                true
            }
            None => {
                room = 0;
                false
            }
        });
        let fit = fit.count();
        if fit < need.hosts.len() {
            let all = u32::try_from(need.hosts.len()).unwrap_or(u32::MAX);
            need.host_count = need.host_count.or(Some(all));
            need.hosts.truncate(fit);
        }
    }
}

fn cost(host: &HostStatus) -> usize {
    LINE + host.name.len() + host.reason.len() + host.addresses.iter().map(|address| address.len() + 4).sum::<usize>()
}

/// Shortens a message that is long, and says how the rest of it is found.
pub fn shorten(message: &mut String, where_the_rest_is: &str) {
    if message.len() > MESSAGE {
        let end = (0..=MESSAGE).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
        message.push_str(&format!(" ... ({where_the_rest_is})"));
    }
}

/// What is known of names, those that are not open first.
pub fn host_statuses(held: &[Held], before: &[HostStatus], limits: &Limits) -> Vec<HostStatus> {
    let mut in_order: Vec<&Held> = held.iter().collect();
    in_order.sort_by_key(|held| (held.state == NameState::Held, held.host.clone()));
    in_order.iter().take(NAMES).map(|held| host(held, before, limits)).collect()
}

/// The condition ResolutionStable of a namespace, over all of its names; `None` if it has none.
pub fn resolution_stable(held: &[Held]) -> Option<ConditionUpdate> {
    let worst = held.iter().max_by_key(|held| match held.state {
        NameState::Held => 0,
        NameState::Unknown => 1,
        _ => 2,
    })?;
    Some(match worst.state {
        NameState::Held => ConditionUpdate::new(
            RESOLUTION_STABLE,
            true,
            "Resolved",
            format!("the addresses of all {} names are known", held.len()),
        ),
        NameState::Unknown => ConditionUpdate::unknown(RESOLUTION_STABLE, what_to_do_about_all(worst, held)),
        _ => ConditionUpdate::new(RESOLUTION_STABLE, false, worst.state.reason(), what_to_do_about_all(worst, held)),
    })
}

/// The same of one of several names, and how many others are closed.
fn what_to_do_about_all(worst: &Held, held: &[Held]) -> String {
    let closed = held.iter().filter(|held| held.state != NameState::Held).count();
    format!("{}{}", what_to_do(worst), others(closed - 1, "name", "status.egress"))
}

/// Why a name is closed, in a sentence that says what to do.
pub fn what_to_do(held: &Held) -> String {
    let name = &held.host;
    match &held.state {
        NameState::Held => format!("{name} is open"),
        NameState::Unknown => format!("the operator is resolving {name}, which stays closed until there is an answer"),
        NameState::NoAddress => {
            format!("{name} has no address in DNS, so there is nothing to open; correct the name, or ask its owner")
        }
        NameState::TooMany(most) => format!(
            "{name} has had more than {most} addresses at a time (dns.resolution.maximumAddresses of CloisterConfig), and stays \
             closed until it has had no more than that for a while (dns.resolution.stale); name hosts behind it, or have an allowlist open it by a \
             network plugin that sees names (egress.backend of CloisterConfig)"
        ),
        NameState::Unanswered(why) if why == NO_SERVER => {
            format!("{NO_SERVER}, so {name} has no addresses here; ask {CONFIG_WRITERS} to check dns of CloisterConfig")
        }
        NameState::Unanswered(why) => format!(
            "no DNS server answers with addresses for {name}: {why}; ask {CONFIG_WRITERS} to check dns of CloisterConfig and the \
             DNS servers behind it"
        ),
        NameState::InCluster { address, known } => format!(
            "{name} resolves to an address of the cluster, as names of Services do, and is closed: {address} is in {known}; {}",
            known.what_to_do()
        ),
        NameState::Rebound(why) => format!(
            "{name} resolves to an address that is not allowed, and {}: {why}; {}",
            what_is_closed(held, why),
            against(why)
        ),
    }
}

/// What is closed of a name that leads astray.
fn what_is_closed(held: &Held, why: &Rebinding) -> String {
    match held.is_closed() {
        true => "is closed".to_owned(),
        false => format!("its {} addresses are closed", why.family()),
    }
}

/// What to do about a name that leads where nobody wants it to.
const FIND_OUT: &str = "find out from the DNS servers, or from whoever owns the name, why it leads there";

/// What to do about an address that is not allowed.
fn against(why: &Rebinding) -> String {
    match why {
        Rebinding::OutsideExpected { .. } => {
            "look at the private DNS zone of the name, or correct expectedNetworks".to_owned()
        }
        // No privateEndpoint opens these either.
        Rebinding::NeverOpened { known, .. } if known.source.is_of_the_cluster() => known.what_to_do(),
        Rebinding::NeverOpened { .. } => FIND_OUT.to_owned(),
        Rebinding::NotPublic(_) => format!("if that is intended, declare it as privateEndpoint; if not, {FIND_OUT}"),
    }
}

/// Whether what a status says of a name may be taken up again: an answer counts for so long, and no longer.
pub fn is_fresh(said: &HostStatus, now: Timestamp, limits: &Limits) -> bool {
    let at = said.looked_up_at.as_ref().map(|at| at.0);
    at.is_some_and(|at| now.duration_since(at) <= counts_for(limits) && at.duration_since(now) <= AHEAD)
}

/// How long the last answer counts at the most.
fn counts_for(limits: &Limits) -> SignedDuration {
    limits.grace.max(limits.stale)
}

/// How far the clock of whoever wrote a status may have been ahead.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);

/// What is said of one name: what was said before, where only the time and the TTL of the answer would differ, unless that
/// would soon be too old to be taken up after a restart.
fn host(held: &Held, before: &[HostStatus], limits: &Limits) -> HostStatus {
    let said = HostStatus {
        name: held.host.to_string(),
        addresses: held.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect(),
        count: u32::try_from(held.addresses.len()).unwrap_or(u32::MAX),
        ttl_seconds: held.answered.map(|(_, ttl)| ttl.as_secs()),
        looked_up_at: held.answered.map(|(at, _)| seconds(at)),
        reason: held.state.reason().to_owned(),
    };
    let same = |before: &&HostStatus| {
        before.name == said.name
            && before.addresses == said.addresses
            && before.count == said.count
            && before.reason == said.reason
            && lasts(before, &said, limits)
    };
    before.iter().find(same).cloned().unwrap_or(said)
}

/// Whether it can be left at the time that was said before.
fn lasts(before: &HostStatus, said: &HostStatus, limits: &Limits) -> bool {
    match (&before.looked_up_at, &said.looked_up_at) {
        (Some(before), Some(now)) => {
            now.0.duration_since(before.0) <= (counts_for(limits) / 2).max(SignedDuration::from_mins(1))
        }
        (None, Some(_)) => false,
        (_, None) => true,
    }
}

#[cfg(test)]
mod tests;
