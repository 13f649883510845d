//! What happens while nothing may be opened, and while the audit record is behind.

use super::{desk::*, grants::World};
use cloister_api::{Decision, GrantPhase};
use cloister_core::model::hold::Held;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

const KINDS: [&str; 3] = ["eval", "egress/eval", "role/eval"];

fn deleted(world: &mut World, key: &str) {
    world.grants.get_mut(key).unwrap().metadata_mut().deletion_timestamp = Some(Time(world.now));
}

#[test]
fn nothing_is_approved_while_openings_are_held() {
    for held in [Held::ClockSkew, Held::AuditUnavailable] {
        for key in KINDS {
            let mut world = World { held: Some(held), ..world() };
            ask(&mut world, key, json!({}));
            settle(&mut world);
            assert_eq!(said(&world, key), (GrantPhase::Pending, held.reason().to_owned()));
            assert_eq!(status(&world, key).approved_at, None);
            assert!(world.objects.0.is_empty());
            world.held = None;
            settle(&mut world);
            assert_eq!(said(&world, key).0, GrantPhase::Active);
        }
    }
}

#[test]
fn what_was_approved_does_not_open_while_openings_are_held_or_its_approval_is_not_recorded() {
    for key in KINDS {
        for (held, recorded) in [(Some(Held::AuditUnavailable), false), (Some(Held::ClockSkew), true), (None, false)] {
            let mut world = world();
            ask(&mut world, key, json!({}));
            let plan = world.plan(key);
            world.carry_out(key, &plan, usize::MAX, &mut |_, _, _| ());
            (world.held, world.recorded) = (held, recorded);
            settle(&mut world);
            assert_eq!(said(&world, key).0, GrantPhase::Approved);
            assert!(world.objects.0.is_empty() && world.secrets.is_empty());
            (world.held, world.recorded) = (None, true);
            settle(&mut world);
            assert_eq!(said(&world, key).0, GrantPhase::Active);
        }
    }
}

#[test]
fn what_stands_stays_and_what_ends_ends_without_the_record() {
    for key in KINDS {
        for how in ["expired", "revoked", "deleted"] {
            let mut world = world();
            ask(&mut world, key, json!({}));
            settle(&mut world);
            (world.held, world.recorded) = (Some(Held::AuditUnavailable), false);
            settle(&mut world);
            assert_eq!(said(&world, key).0, GrantPhase::Active);
            assert!(world.children_of(key) > 0 || world.has_mount("weights-reader-trainer"));
            match how {
                "expired" => world.now += jiff::SignedDuration::from_mins(10),
                "revoked" => review(&mut world, key, Decision::Revoke, person("alice", &["researchers"])),
                _ => deleted(&mut world, key),
            }
            settle(&mut world);
            let over = if how == "expired" { GrantPhase::Expired } else { GrantPhase::Revoked };
            assert_eq!(said(&world, key).0, over);
            assert!(world.objects.0.is_empty() && world.secrets.is_empty());
        }
    }
}

#[test]
fn a_deleted_grant_is_there_until_its_end_is_in_the_record() {
    for key in KINDS {
        for opened in [true, false] {
            let mut world = World { held: (!opened).then_some(Held::AuditUnavailable), ..world() };
            ask(&mut world, key, json!({}));
            settle(&mut world);
            world.recorded = false;
            deleted(&mut world, key);
            settle(&mut world);
            assert!(world.grants.contains_key(key), "what its record follows from is gone");
            assert!(world.objects.0.is_empty() && world.secrets.is_empty());
            world.recorded = true;
            settle(&mut world);
            assert!(world.grants.is_empty());
        }
    }
}

#[test]
fn what_only_finalizers_of_others_hold_says_so() {
    for key in KINDS {
        let mut world = world();
        ask(&mut world, key, json!({}));
        settle(&mut world);
        let metadata = world.grants.get_mut(key).unwrap().metadata_mut();
        metadata.finalizers.get_or_insert_default().push("velero.io/hold".to_owned());
        deleted(&mut world, key);
        settle(&mut world);
        assert_eq!(said(&world, key).0, GrantPhase::Revoked);
        let ready = status(&world, key).conditions.iter().find(|condition| condition.type_ == "Ready").unwrap().clone();
        assert!(
            ready.message.ends_with(
                "; it is being deleted, but finalizers of other tools hold it: velero.io/hold. Those tools must remove them; \
                 if such a tool no longer exists, a platform engineer must"
            ),
            "{}",
            ready.message
        );
        assert_eq!(world.grants[key].metadata().finalizers.as_deref(), Some(&["velero.io/hold".to_owned()][..]));
        assert!(world.plan(key).is_empty(), "it is said once");
    }
}
