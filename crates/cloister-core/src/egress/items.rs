//! The items of a rule, each judged by itself: a name or a network that cannot be opened closes itself, and none of its
//! neighbours.

use super::{
    NeverOpened, Refusal,
    breadth::is_writable,
    networks::{NetworkSet, parse, shortened},
};

/// The networks of a rule that can be opened, without what is never opened, and why the others stay closed.
///
/// What a policy may open in all is bounded too: where that is exceeded, the widest networks stay closed.
pub(super) fn networks(declared: &[String], never: &NeverOpened) -> (NetworkSet, Vec<Refusal>) {
    let (mut open, mut closed): (Vec<(String, NetworkSet)>, Vec<Refusal>) = (Vec::new(), Vec::new());
    let (mut never_opened, mut too_wide, mut api_server) = (Vec::new(), Vec::new(), Vec::new());
    for text in declared {
        let network = match parse(text) {
            Ok(network) => network,
            Err(refusal) => {
                closed.push(refusal);
                continue;
            }
        };
        let left = never.taken_from(NetworkSet::of([network]));
        if left.is_empty() {
            if never.is_api_server(&network) { &mut api_server } else { &mut never_opened }.push(shortened(text));
        } else if is_writable(&left.to_networks()) {
            open.push((text.clone(), left));
        } else {
            too_wide.push(shortened(text));
        }
    }
    let mut all = NetworkSet::union_of(open.iter().map(|(_, network)| network));
    while !is_writable(&all.to_networks()) {
        let widest =
            open.iter().enumerate().max_by_key(|(at, (_, network))| (network.breadth(), *at)).map(|(at, _)| at);
        let Some(widest) = widest else { break };
        too_wide.push(open.remove(widest).0);
        all = NetworkSet::union_of(open.iter().map(|(_, network)| network));
    }
    too_wide.sort_unstable();
    let named = |networks: Vec<String>| (!networks.is_empty()).then(|| networks.join(", "));
    closed.extend(named(api_server).map(|what| Refusal::ApiServer { what }));
    closed.extend(named(never_opened).map(|networks| Refusal::NetworksNeverOpened { networks }));
    closed.extend(named(too_wide).map(|networks| Refusal::NetworksTooWide { networks }));
    (all, closed)
}
