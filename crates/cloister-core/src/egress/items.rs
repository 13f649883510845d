//! The items of a rule, each judged by itself: a name or a network that cannot be opened closes itself, and none of its
//! neighbours.

use crate::address::{
    CutBy, NeverWhy, Refusal, Source,
    blocks::fitting,
    networks::{NetworkSet, parse, shortened},
    never::NeverOpened,
    public::public_part,
    special::meant,
    writable::{Pieces, is_writable},
};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// A network of a rule.
struct Item<'a> {
    text: &'a str,
    network: IpNet,
    declared: NetworkSet,
    /// The same without what is never opened.
    open: NetworkSet,
}

impl Item<'_> {
    /// To how many networks it comes.
    fn pieces(&self) -> usize {
        self.open.to_networks().len()
    }
}

/// The networks of a rule that can be opened, without what is never opened, and why the others stay closed.
///
/// What a policy may open in all is bounded too: where that is exceeded, the widest networks stay closed. It is measured as
/// it was declared first, so that nothing opens because something else is cut out or stays closed.
pub(crate) fn networks(declared: Vec<&str>, never: &NeverOpened) -> (Networks, Vec<Refusal>) {
    let mut closed = Closed::default();
    let mut items = Vec::new();
    for text in declared {
        match parse(text) {
            Ok(network) => items.extend(item(text, network, never, &mut closed)),
            Err(refusal) => closed.refusals.push(refusal),
        }
    }
    // Each of them is writable by itself.
    while items.len() > 1 && !is_writable(&union(&items, |item| &item.declared).to_networks()) {
        let widest = items.iter().enumerate().max_by_key(|(at, item)| (item.declared.breadth(), *at)).map(|(at, _)| at);
        let Some(widest) = widest else { break };
        let item = items.remove(widest);
        if !item.open.is_empty() {
            closed.too_wide.push(shortened(item.text));
        }
    }
    let declared = union(&items, |item| &item.declared);
    items.retain(|item| !item.open.is_empty() && !closed.is_too_much(item, never));
    let mut open = union(&items, |item| &item.open);
    while items.len() > 1 && fitting(&union(&items, |item| &item.declared), &open).is_none() {
        let most = items.iter().enumerate().max_by_key(|(at, item)| (item.pieces(), *at)).map(|(at, _)| at);
        let Some(most) = most else { break };
        closed.is_too_many(&items.remove(most), &open, never);
        open = union(&items, |item| &item.open);
    }
    (Networks { declared, open }, closed.refusals())
}

/// A network as far as it may be declared at all.
fn item<'a>(text: &'a str, network: IpNet, never: &NeverOpened, closed: &mut Closed) -> Option<Item<'a>> {
    let declared = NetworkSet::of([network]);
    let open = never.taken_from(declared.clone());
    if open.is_empty() {
        let text = shortened(text);
        match never.is_api_server(&network) {
            true => closed.api_server.push(text),
            false => closed.never_opened.entry(never.why(network)).or_default().push(text),
        }
        // What is public counts all the same: its neighbours are not narrow because it is somebody's.
        if public_part(&[meant(network)]).is_empty() {
            return None;
        }
    } else if !is_writable(&[network]) {
        closed.too_wide.push(shortened(text));
        return None;
    }
    is_writable(&[network]).then_some(Item { text, network, declared, open })
}

fn union<'a>(items: &[Item<'a>], of: for<'i> fn(&'i Item<'a>) -> &'i NetworkSet) -> NetworkSet {
    match items {
        [one] => of(one).clone(),
        items => NetworkSet::union_of(items.iter().map(of)),
    }
}

/// What stays closed, by why.
#[derive(Default)]
struct Closed {
    refusals: Vec<Refusal>,
    api_server: Vec<String>,
    never_opened: BTreeMap<NeverWhy, Vec<String>>,
    too_wide: Vec<String>,
    too_many: Vec<Refusal>,
}

impl Closed {
    /// Whether what is left of a network is too much by itself.
    fn is_too_much(&mut self, item: &Item<'_>, never: &NeverOpened) -> bool {
        let is_much = fitting(&item.declared, &item.open).is_none();
        if is_much {
            self.is_too_many(item, &item.open, never);
        }
        is_much
    }

    /// With a network, the rule comes to too many.
    fn is_too_many(&mut self, item: &Item<'_>, open: &NetworkSet, never: &NeverOpened) {
        self.too_many.push(Refusal::NetworksTooMany {
            networks: shortened(item.text),
            pieces: Pieces::of(&open.to_networks()),
            made_by: CutBy::of(never, item.network),
        });
    }

    fn refusals(mut self) -> Vec<Refusal> {
        self.too_wide.sort_unstable();
        let named = |networks: Vec<String>| (!networks.is_empty()).then(|| networks.join(", "));
        let mut all = self.refusals;
        all.extend(named(self.api_server).map(|what| Refusal::ApiServer { what }));
        all.extend(self.never_opened.into_iter().map(|(why, networks)| {
            let networks = networks.join(", ");
            Refusal::NetworksNeverOpened { networks, why }
        }));
        all.extend(named(self.too_wide).map(|networks| Refusal::NetworksTooWide { networks }));
        all.extend(self.too_many);
        all
    }
}

impl CutBy {
    /// Those that have a network in this one.
    pub(crate) fn of(never: &NeverOpened, network: IpNet) -> Self {
        let nodes = never.sources_in(network).filter_map(|source| match source {
            Source::PodCidr(node) | Source::NodeAddress(node) => Some(node.clone()),
            _ => None,
        });
        CutBy(nodes.collect())
    }
}

/// Networks that a rule reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Networks {
    /// What was declared.
    pub(crate) declared: NetworkSet,
    /// The same without what is never opened.
    pub(crate) open: NetworkSet,
}

impl Networks {
    /// Those that a policy holds for it.
    pub(crate) fn to_write(&self) -> Vec<IpNet> {
        fitting(&self.declared, &self.open).unwrap_or_else(|| self.open.to_networks())
    }
}
