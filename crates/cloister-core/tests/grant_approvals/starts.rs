//! The clusters in which histories begin: an empty one, and some in which grants stand.

use super::{
    events::{Event, Of},
    model::Model,
};
use cloister_api::{Decision, GrantPhase};

fn after(events: &[Event]) -> Model {
    let mut model = Model::new();
    events.iter().for_each(|event| model.take(event));
    model
}

fn ask(key: &'static str, who: &'static str) -> Vec<Event> {
    let length = if who == "glass" { 3 } else { 6 };
    vec![Event::Ask { key, who, length, start: 0 }, work(key)]
}

fn work(key: &'static str) -> Event {
    Event::Work(key, usize::MAX)
}

fn approve(key: &'static str, who: usize) -> Event {
    Event::Review { key, who, decision: Decision::Approve, of: Of::This }
}

/// Two of the accounts, and turns enough to open.
fn agreed(key: &'static str, who: &'static str, people: [usize; 2]) -> Vec<Event> {
    let reviews = people.map(|person| approve(key, person));
    [ask(key, who), reviews.to_vec(), vec![work(key), work(key)]].concat()
}

fn is(model: &Model, key: &str, phase: GrantPhase) -> bool {
    model.world.grants[key].phase() == phase
}

pub fn all() -> Vec<Model> {
    let (sam, olga, both) = (0, 1, 2);
    let people = after(&[agreed("a", "alice", [sam, olga]), agreed("role/a", "alice", [both, olga])].concat());
    assert!(is(&people, "a", GrantPhase::Active) && is(&people, "role/a", GrantPhase::Active));
    let shared = after(&[agreed("a", "alice", [sam, olga]), agreed("b", "account", [sam, olga])].concat());
    assert!(is(&shared, "b", GrantPhase::Active));
    let glass = after(&[ask("role/a", "glass"), vec![work("role/a")], ask("egress/a", "alice")].concat());
    assert!(is(&glass, "role/a", GrantPhase::Active) && is(&glass, "egress/a", GrantPhase::Pending));
    let auto = [vec![Event::Policy("auto")], ask("egress/a", "alice"), vec![work("egress/a")]].concat();
    let auto = after(&[auto, ask("a", "alice"), vec![work("a"), Event::Save]].concat());
    assert!(is(&auto, "egress/a", GrantPhase::Active) && is(&auto, "a", GrantPhase::Active));
    let waiting = after(
        &[ask("a", "alice"), vec![approve("a", sam)], ask("role/a", "account"), vec![approve("role/a", both)]].concat(),
    );
    let asks = |key, who| Event::Ask { key, who, length: 3, start: 0 };
    let two = after(&[asks("a", "glass"), asks("role/a", "glass")]);
    let decided = [&ask("a", "alice")[..], &[approve("a", sam), approve("a", olga), work("a")]].concat();
    let decided = after(&decided);
    assert!(is(&decided, "a", GrantPhase::Approved));
    vec![after(&[]), people, shared, glass, auto, waiting, two, decided]
}
