//! What sources say of who may decide about them, and how much the catalogue may open.

use super::{
    desk::*,
    grants::{Shared, Shelf, World, annotated},
};
use cloister_api::{GrantPhase, StorageResource, labels};
use cloister_core::{
    catalogue,
    catalogue::Input,
    cluster::{role_facts, role_facts::RoleFacts, settings::Settings},
    grant::{CredentialFacts, Lookup},
};
use serde_json::{Value, json};

/// A ClusterRole with these annotations.
fn guarded(annotations: Value) -> RoleFacts {
    let rule = json!({"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create"]});
    let role = json!({"metadata": {"annotations": annotations}, "rules": [rule]});
    RoleFacts::of(&serde_json::from_value(role).unwrap(), true)
}

const POLICIES: &str = labels::ACCESS_POLICIES;
const LEAST: &str = labels::MINIMUM_SENSITIVITY;

#[test]
fn a_cluster_role_says_which_policies_may_give_it() {
    for (annotations, reason) in [
        (json!({}), None),
        (json!({POLICIES: "strict, standard"}), None),
        (json!({POLICIES: "strict"}), Some("PolicyNotAllowed")),
        (json!({POLICIES: ""}), Some("PolicyNotAllowed")),
        (json!({LEAST: "Low"}), None),
        (json!({LEAST: "High"}), Some("PolicyTooWeak")),
        (json!({LEAST: "much"}), Some("ClusterRoleRefused")),
        (json!({"cloister.dev/accesspolicies": "standard"}), Some("ClusterRoleRefused")),
        (json!({labels::STORAGE_RESOURCES: "weights"}), Some("ClusterRoleRefused")),
    ] {
        for (key, role) in [("role/debug", "cloister:debugger"), ("eval", "cloister:storage-reader")] {
            let mut world = world();
            world.cluster_roles.insert(role.into(), guarded(annotations.clone()));
            ask(&mut world, key, json!({}));
            settle(&mut world);
            let (phase, said) = said(&world, key);
            match reason {
                None => assert_eq!(phase, GrantPhase::Active, "{key} {annotations}: {said}"),
                Some(reason) => {
                    assert_eq!((phase, said.as_str()), (GrantPhase::Pending, reason), "{key} {annotations}");
                    assert!(world.objects.0.is_empty());
                }
            }
            // What is said later ends what is open.
            world.cluster_roles.insert(role.into(), guarded(json!({POLICIES: "strict"})));
            settle(&mut world);
            if reason.is_none() {
                assert_eq!(super::desk::said(&world, key).1, "PolicyNotAllowed", "{key} {annotations}");
                assert!(world.objects.0.is_empty());
            }
        }
    }
}

#[test]
fn a_secret_says_which_policies_may_hand_it_out() {
    let storages = (labels::STORAGE_RESOURCES, "weights");
    let with = |policies| World { annotations: Shared::new([storages, (POLICIES, policies)].into()), ..world() };
    let answer = |policies| answer(with(policies), json!({}));
    assert_eq!(answer("standard"), (GrantPhase::Active, "Active".into(), false));
    assert_eq!(answer("model-weights,owners"), (GrantPhase::Pending, "PolicyNotAllowed".into(), true));
    // Nobody goes past it by break-glass.
    let mut world = with("model-weights");
    let glass =
        json!({"requesters": [{"kind": "Group", "name": "researchers"}], "maxDuration": "1h", "reviewWithin": "24h"});
    world.policy = policy(json!({"breakGlass": glass}));
    ask(&mut world, "eval", json!({"breakGlass": true, "justification": "now"}));
    settle(&mut world);
    assert_eq!(said(&world, "eval"), (GrantPhase::Pending, "PolicyNotAllowed".into()));
}

fn of_storage(world: &World, annotations: &[(&'static str, &'static str)]) -> (String, String) {
    let (Shelf::Read(storage), Shelf::Read(policy)) = (&world.storage, &world.policy) else { unreachable!() };
    let storage: &StorageResource = storage;
    let kept = annotated(&annotations.iter().copied().collect());
    let input = Input {
        policies: &|_| Lookup::Read(policy),
        cluster_roles: &|name| world.cluster_roles.get(name),
        credentials: &|_| Some(CredentialFacts::of(&kept, Some("1".into()))),
        services: &|_| None,
        meant: &|_, _| None,
        settings: &world.settings,
    };
    let status = catalogue::storage(storage, &input, world.now).unwrap();
    let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready").unwrap();
    (ready.reason, ready.message)
}

#[test]
fn a_storage_says_that_its_policy_may_not_decide() {
    let storages = (labels::STORAGE_RESOURCES, "weights");
    assert_eq!(of_storage(&world(), &[storages, (POLICIES, "standard")]).0, "Reconciled");
    let (reason, message) = of_storage(&world(), &[storages, (POLICIES, "model-weights")]);
    assert_eq!(reason, "PolicyNotAllowed");
    assert!(message.contains("(model-weights)") && message.contains("standard is not among them"), "{message}");
}

#[test]
fn a_guard_under_a_mistaken_key_closes_what_it_was_to_guard() {
    let storages = (labels::STORAGE_RESOURCES, "weights");
    for (key, meant) in [
        ("cloister.dev/accesspolicies", " (did you mean cloister.dev/access-policies?)"),
        ("cloister.dev/access-policy", " (did you mean cloister.dev/access-policies?)"),
        ("cloister.dev/min-sensitivity", " (did you mean cloister.dev/minimum-sensitivity?)"),
        ("clositer.dev/access-policies", " (did you mean cloister.dev/access-policies?)"),
        ("cloister.dev/team", ""),
        // It is read on a ClusterRole only.
        (labels::MAY_OUTLAST_GRANT, ""),
    ] {
        let (reason, message) = of_storage(&world(), &[storages, (key, "standard")]);
        assert_eq!(reason, "CredentialNotOffered", "{key}");
        assert_eq!(
            message,
            format!(
                "role reader: Secret weights in cloister-credentials has the unknown annotation {key}{meant}. It is given to \
                 nobody anew while this is so; ask its owner to correct it"
            )
        );
        let with = World { annotations: Shared::new([storages, (key, "standard")].into()), ..world() };
        let expected = (GrantPhase::Pending, "CredentialNotOffered".into(), true);
        assert_eq!(answer(with, json!({})), expected, "{key}");
        // What is open ends when such a key is added.
        let mut world = world();
        ask(&mut world, "eval", json!({}));
        settle(&mut world);
        assert_eq!(said(&world, "eval").0, GrantPhase::Active);
        world.annotations.insert(key, "standard");
        settle(&mut world);
        assert_ne!(said(&world, "eval").0, GrantPhase::Active, "{key}");
    }
    for others in ["example.com/access-policies", "app.kubernetes.io/managed-by", "access-policies"] {
        assert_eq!(of_storage(&world(), &[storages, (others, "x")]).0, "Reconciled", "{others}");
    }
}

#[test]
fn a_storage_says_that_nobody_can_fulfil_its_policy() {
    let storages = (labels::STORAGE_RESOURCES, "weights");
    let world = World { policy: policy(json!({"autoApprove": []})), ..world() };
    let (reason, message) = of_storage(&world, &[storages]);
    assert_eq!(reason, "NeverApproves");
    assert_eq!(
        message,
        "role reader: AccessPolicy standard never gives access: there are neither approvalRules nor autoApprove, so it never \
         approves; ask a policy administrator (ClusterRole cloister:policy-admin) to correct it, or name another policy"
    );
}

#[test]
fn a_label_guards_nothing_and_closes() {
    let role = |labels: Value| {
        let role = json!({"metadata": {"labels": labels}, "rules": []});
        let facts = RoleFacts::of(&serde_json::from_value(role).unwrap(), true);
        role_facts::bindable("debugger", Some(&facts)).map_err(|fault| fault.to_string())
    };
    assert_eq!(role(json!({"cloister.dev/aggregate-to-viewer": "true", "app": "x"})), Ok(()));
    let told = role(json!({POLICIES: "strict"})).unwrap_err();
    let begin = "ClusterRole debugger has the unknown label cloister.dev/access-policies (did you mean annotation cloister.dev/access-policies?). ";
    assert!(told.starts_with(begin), "{told}");
}

#[test]
fn a_command_holds_nothing_that_is_no_name() {
    let told = |storages| of_storage(&world(), &[(labels::STORAGE_RESOURCES, storages)]).1;
    let begin = "role reader: Secret weights in cloister-credentials does not allow StorageResource weights to use it; the owner of \
                 the Secret allows that";
    let command = "kubectl annotate --overwrite secret weights -n cloister-credentials cloister.dev/storage-resources";
    let unread = " (this is `Forbidden` if you cannot read the Secret: then write only this annotation with kubectl apply \
                  --server-side --force-conflicts --field-manager=offers)";
    for (storages, left_out, names) in [
        ("", "", "weights"),
        ("other", "", "other,weights"),
        ("a; touch /tmp/x; #, b", ", which leaves out invalid names (\"a; touch /tmp/x; #\")", "b,weights"),
        ("z1;z2", ", which leaves out invalid names (\"z1;z2\")", "weights"),
    ] {
        assert_eq!(told(storages), format!("{begin}{left_out} with: {command}={names}{unread}"), "{storages}");
    }
}

#[test]
fn an_endpoint_opens_no_more_than_an_allowlist() {
    let many: Vec<String> = (0..16).map(|at| format!("{}.0.0.0/8", 20 + 2 * at)).collect();
    for (networks, opens) in [
        (json!(["203.0.113.0/24"]), true),
        (json!(["10.0.0.0/8"]), true),
        (json!(["12.0.0.0/8"]), false),
        (json!(many), false),
        (json!(["198.50.0.0/16", "198.51.0.0/16"]), false),
        (json!(["64:ff9b::c00:0/104"]), false),
    ] {
        let endpoint = json!({"networks": networks, "ports": [{"port": 1, "endPort": 65535}]});
        let world = World { storage: storage(json!({"endpoint": endpoint})), ..world() };
        let told = of_storage(&world, &[(labels::STORAGE_RESOURCES, "weights")]).0;
        assert_eq!(told, if opens { "Reconciled" } else { "TooBroad" }, "{networks}");
        let (phase, reason, _) = answer(world, json!({}));
        let expected = if opens { (GrantPhase::Active, "Active") } else { (GrantPhase::Pending, "TooBroad") };
        assert_eq!((phase, reason.as_str()), expected, "{networks}");
    }
    // Nor by a name that is expected nearly anywhere.
    for expected in [json!(["0.0.0.0/0"]), json!(["0.0.0.0/1", "128.0.0.0/1"]), json!(["52.0.0.0/8"])] {
        let private = json!({"domainName": "weights.example.com", "expectedNetworks": expected});
        let endpoint = json!({"privateEndpoint": private, "ports": [{"port": 443}]});
        let world = World { storage: storage(json!({"endpoint": endpoint})), ..world() };
        assert_eq!(of_storage(&world, &[(labels::STORAGE_RESOURCES, "weights")]).0, "TooBroad", "{expected}");
        let (phase, told, _) = answer(world, json!({}));
        assert_eq!((phase, told.as_str()), (GrantPhase::Pending, "TooBroad"), "{expected}");
    }
    // One that is widened while it is open is closed.
    let narrow = json!({"networks": ["203.0.113.0/24"], "ports": [{"port": 443}]});
    let mut world = World { storage: storage(json!({"endpoint": narrow})), ..world() };
    ask(&mut world, "eval", json!({}));
    settle(&mut world);
    let mut settings = world.settings.spec.clone();
    settings.egress.max_public_prefix.ipv4 = 28;
    world.settings = Shared::new(Settings::new(Some(&settings)));
    settle(&mut world);
    assert_eq!(said(&world, "eval").0, GrantPhase::Active);
    let open = world.objects.0.keys().filter(|key| key.kind == cloister_core::model::child::ChildKind::NetworkPolicy);
    assert_eq!(open.count(), 0, "its endpoint is closed, and the rest stands");
}
