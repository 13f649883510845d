use super::{inner::PATIENCE, *};

const WORKERS: usize = 64;

fn queue() -> Queue {
    Queue::new(WORKERS)
}

fn inner() -> Inner {
    Inner::new(Places::new(WORKERS))
}

fn key(name: &str) -> Key {
    Key::Namespace(name.into())
}

fn review() -> Key {
    Key::Review("a".into(), "b".into())
}

fn normal(name: &str) -> (Key, Ticket) {
    (key(name), Ticket::default())
}

fn said() -> (Key, Ticket) {
    (review(), Ticket::of(Lane::Status))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn a_key_is_queued_once() {
    let mut inner = inner();
    inner.add(key("a"), Ticket::default());
    inner.add(key("a"), Ticket::default());
    assert_eq!(inner.pop().unwrap().key, key("a"));
    assert!(inner.pop().is_none());
}

#[test]
fn what_can_wait_goes_last_though_not_for_ever() {
    let mut inner = Inner::new(Places::new(1000));
    inner.add(review(), Ticket::of(Lane::Status));
    for at in 0..PATIENCE + 4 {
        inner.add(key(&format!("n{at}")), Ticket::default());
    }
    let order: Vec<Key> = std::iter::from_fn(|| inner.pop()).map(|job| job.key).collect();
    assert_eq!(order.iter().position(|key| *key == review()), Some(PATIENCE as usize));
    assert_eq!(order.len(), PATIENCE as usize + 5);
}

#[test]
fn a_key_that_becomes_urgent_moves_up() {
    let mut inner = Inner::new(Places::new(1));
    for at in 0..9 {
        inner.add(key(&format!("n{at}")), Ticket::default());
    }
    assert_eq!(inner.pop().unwrap().key, key("n0"));
    // The only place of what opens is taken, and that does not matter.
    assert!(inner.pop().is_none());
    inner.add(key("n8"), Ticket::of(Lane::Ending));
    assert_eq!(inner.pop().unwrap().key, key("n8"));
    assert!(inner.pop().is_none());
    assert_eq!(inner.depth().0, 7);
}

#[test]
fn who_waits_for_a_turn_takes_no_place() {
    let mut inner = Inner::new(Places::new(2));
    let mount = |mode| Ticket { lane: Lane::Normal, turns: vec![(Group::Mount("a".into(), "m".into()), mode)] };
    inner.add(key("ends"), mount(Mode::End));
    assert_eq!(inner.pop().unwrap().key, key("ends"));
    for name in ["b", "c", "d"] {
        inner.add(key(name), mount(Mode::Open));
    }
    inner.add(key("other"), Ticket::default());
    assert_eq!(inner.pop().unwrap().key, key("other"));
    assert!(inner.pop().is_none());
    inner.end(&key("ends"));
    // Those that open go together, as far as there are places.
    assert_eq!(inner.pop().unwrap().key, key("b"));
    assert!(inner.pop().is_none());
    inner.end(&key("other"));
    assert_eq!(inner.pop().unwrap().key, key("c"));
}

#[test]
fn what_ends_goes_before_what_opens() {
    let mut inner = inner();
    let mount = |lane, mode| Ticket { lane, turns: vec![(Group::Mount("a".into(), "m".into()), mode)] };
    inner.add(key("opens"), mount(Lane::Normal, Mode::Open));
    assert_eq!(inner.pop().unwrap().key, key("opens"));
    inner.add(key("ends"), mount(Lane::Ending, Mode::End));
    assert!(inner.pop().is_none());
    // One that came later does not go past it.
    inner.add(key("opens too"), mount(Lane::Normal, Mode::Open));
    assert!(inner.pop().is_none());
    inner.end(&key("opens"));
    assert_eq!(inner.pop().unwrap().key, key("ends"));
    assert!(inner.pop().is_none());
    inner.end(&key("ends"));
    assert_eq!(inner.pop().unwrap().key, key("opens too"));
    inner.end(&key("opens too"));
    assert!(inner.is_idle());
}

#[tokio::test]
async fn what_can_wait_waits_for_what_is_under_way() {
    let queue = queue();
    queue.add_all([normal("a"), said()]);
    assert_eq!(queue.lock().pop().unwrap().key, key("a"));
    assert!(queue.lock().pop().is_none());
    let calm = queue.calm();
    tokio::pin!(calm);
    assert!(futures::poll!(&mut calm).is_pending());
    queue.done(&key("a"), true, at(0));
    calm.await;
    assert_eq!(queue.lock().pop().unwrap().key, review());
    // What is only said does not disturb.
    queue.calm().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_gives_way_waits_for_the_others() {
    let queue = Queue::new(2);
    let a = key("a");
    queue.add_all([normal("a"), normal("b"), normal("c")]);
    for name in ["a", "b"] {
        assert_eq!(queue.lock().pop().unwrap().key, key(name));
    }
    assert!(queue.lock().pop().is_none());
    let polite = queue.give_way(&a);
    tokio::pin!(polite);
    assert!(futures::poll!(&mut polite).is_pending());
    // Its place is free for another.
    assert_eq!(queue.lock().pop().unwrap().key, key("c"));
    queue.done(&key("c"), true, at(0));
    queue.done(&key("b"), true, at(0));
    assert!(futures::poll!(&mut polite).is_ready());

    queue.add_all([normal("b")]);
    assert_eq!(queue.lock().pop().unwrap().key, key("b"));
    let polite = queue.give_way(&a);
    tokio::pin!(polite);
    assert!(futures::poll!(&mut polite).is_pending());
    queue.add_all([normal("a")]);
    assert!(futures::poll!(&mut polite).is_ready());
    queue.done(&key("a"), true, at(0));
    // Whatever is under way, it ends.
    queue.give_way(&a).await;
}

#[test]
fn a_key_added_while_it_runs_comes_again_afterwards() {
    let queue = queue();
    queue.add_all([normal("a")]);
    assert!(queue.lock().pop().is_some());
    queue.add_all([normal("a")]);
    assert!(queue.lock().pop().is_none());
    queue.done(&key("a"), true, at(0));
    assert_eq!(queue.lock().pop().unwrap().key, key("a"));
}

#[test]
fn the_earlier_time_counts() {
    let mut inner = inner();
    inner.add_at(key("a"), at(9));
    inner.add_at(key("a"), at(5));
    inner.add_at(key("a"), at(7));
    assert!(inner.fallen_due(at(4)).is_empty());
    assert_eq!(inner.fallen_due(at(5)), [key("a")]);
    assert!(inner.fallen_due(at(100)).is_empty());
}

#[test]
fn failures_wait_longer_and_success_forgets_them() {
    let queue = queue();
    let waits: Vec<Duration> = (0..12).filter_map(|_| queue.done(&key("a"), false, at(0))).collect();
    assert!(waits[0] <= FIRST_BACKOFF && waits[0] >= FIRST_BACKOFF / 2);
    assert!(waits[11] <= LAST_BACKOFF && waits[11] >= LAST_BACKOFF / 2);
    queue.done(&key("a"), true, at(0));
    assert!(queue.done(&key("a"), false, at(0)).unwrap() <= FIRST_BACKOFF);
}

#[test]
fn what_failed_is_forgotten_when_everything_is_tried_again() {
    let queue = queue();
    for _ in 0..12 {
        queue.done(&key("a"), false, at(0));
    }
    assert_eq!(queue.forget_failures(), [key("a")].into());
    assert!(queue.forget_failures().is_empty());
    assert!(queue.done(&key("a"), false, at(0)).unwrap() <= FIRST_BACKOFF);
}

#[tokio::test]
async fn a_key_that_is_due_is_handed_out_with_a_ticket_of_then() {
    let queue = queue();
    queue.add_at(key("a"), at(5));
    let late = |keys: Vec<Key>| keys.into_iter().map(|key| (key, Ticket::of(Lane::Ending))).collect();
    let job = queue.next(|| at(6), late).await;
    assert_eq!((job.key, job.ticket.lane), (key("a"), Lane::Ending));
    assert_eq!(queue.depth(), (0, 0));
}
