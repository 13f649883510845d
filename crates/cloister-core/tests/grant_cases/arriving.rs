//! Requests that are applied together with what they name.

use super::{
    desk::*,
    grants::{Shelf, World},
};
use cloister_api::GrantPhase;
use cloister_core::grant::Home;
use jiff::SignedDuration;
use serde_json::json;

/// Who applies a set of objects takes the first that is stalled for a failure of all.
#[test]
fn what_is_missing_may_be_on_its_way() {
    let mut no_role = world();
    no_role.cluster_roles.clear();
    let cases: [(&str, World); 4] = [
        ("StorageNotFound", World { storage: Shelf::Absent, ..world() }),
        ("PolicyNotFound", World { policy: Shelf::Absent, ..world() }),
        ("ClusterRoleNotFound", no_role),
        ("NotAResearchNamespace", World { home: Home::Closed, ..world() }),
    ];
    for (reason, mut world) in cases {
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        let waits = |stalled: bool| (GrantPhase::Pending, reason.to_owned(), stalled);
        assert_eq!(told(&world, "eval"), waits(false));
        let ready = status(&world, "eval").conditions.into_iter().find(|said| said.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", reason), "a tool waits");
        assert!(world.plan("eval").next.is_some_and(|next| next <= world.now + SignedDuration::from_secs(10)));
        world.now += SignedDuration::from_secs(9);
        settle(&mut world);
        assert_eq!(told(&world, "eval"), waits(false));
        let_time_pass(&mut world);
        assert_eq!(told(&world, "eval"), waits(true));
    }
}
