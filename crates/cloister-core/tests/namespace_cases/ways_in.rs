//! Who may do what in a namespace and with its declaration, and what comes in from elsewhere than research namespaces.

use super::{sentences::of_need, *};
use cloister_api::labels::LISTED;
use cloister_core::egress::PodOnNode;

fn child(world: &World, kind: ChildKind, name: &str) -> Value {
    let Some(child) = world.objects.0.get(&ChildKey::new(kind, name)) else { return Value::Null };
    match child {
        Child::NetworkPolicy(object) => json!(object),
        Child::RoleBinding(object) => json!(object),
        Child::ClusterRole(object) => json!(object),
        Child::ClusterRoleBinding(object) => json!(object),
        Child::ServiceAccount(object) => json!(object),
        other => panic!("{}", other.key()),
    }
}

fn message(world: &World, type_: &str) -> String {
    let status = world.declared.as_ref().unwrap().status.clone().unwrap_or_default();
    status.conditions.into_iter().find(|one| one.type_ == type_).map(|one| one.message).unwrap_or_default()
}

const OWNERS: &str = "cloister:owner:interp";

#[test]
fn owners_edit_their_own_research_namespace_and_nothing_else() {
    let owners = json!([{"kind": "Group", "name": "leads"}, {"kind": "User", "name": "olga"}]);
    let members = json!([{"role": "Owner", "subjects": owners}, {"role": "Researcher", "subjects": [{"kind": "User", "name": "alice"}]}]);
    let mut world = settled(world(json!({"members": members})));
    let role = child(&world, ChildKind::ClusterRole, OWNERS);
    assert_eq!(
        role["rules"],
        json!([{
            "apiGroups": ["cloister.dev"], "resources": ["researchnamespaces"], "resourceNames": ["interp"],
            "verbs": ["get", "list", "watch", "update", "patch"],
        }])
    );
    let binding = child(&world, ChildKind::ClusterRoleBinding, OWNERS);
    assert_eq!(binding["roleRef"]["name"], OWNERS);
    let names: Vec<&Value> = binding["subjects"].as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
    assert_eq!(names, ["leads", "olga"]);
    assert!(role["metadata"]["namespace"].is_null() && binding["metadata"]["namespace"].is_null());

    // Who is an owner no more edits no more; where nobody is left, nothing is.
    let declared = world.declared.as_mut().unwrap();
    declared.spec.members[0].subjects.truncate(1);
    let mut world = settled(world);
    assert_eq!(child(&world, ChildKind::ClusterRoleBinding, OWNERS)["subjects"].as_array().unwrap().len(), 1);
    world.declared.as_mut().unwrap().spec.members.remove(0);
    let world = settled(world);
    assert!(world.names(ChildKind::ClusterRole).is_empty() && world.names(ChildKind::ClusterRoleBinding).is_empty());
}

#[test]
fn nothing_of_the_owners_outlives_the_research_namespace() {
    let members = json!([{"role": "Owner", "subjects": [{"kind": "User", "name": "olga"}]}]);
    for policy in ["Retain", "Delete"] {
        let mut world = settled(world(json!({"members": members, "deletionPolicy": policy})));
        assert_eq!(world.names(ChildKind::ClusterRole), [OWNERS]);
        world.declared.as_mut().unwrap().metadata.deletion_timestamp = Some(Time(at(0)));
        let world = settled(world);
        assert!(world.names(ChildKind::ClusterRole).is_empty(), "{policy}");
        assert!(world.names(ChildKind::ClusterRoleBinding).is_empty(), "{policy}");
    }
}

#[test]
fn an_account_of_another_namespace_is_a_member_only_where_that_is_listed() {
    let hub = json!({"kind": "ServiceAccount", "name": "hub", "namespace": "jhub"});
    let alice = json!({"kind": "User", "name": "alice"});
    let members = json!([{"role": "Researcher", "subjects": [hub, alice]}]);
    let refused = settled(world(json!({"members": members})));
    let subjects = child(&refused, ChildKind::RoleBinding, "cloister-researchers")["subjects"].clone();
    assert_eq!(subjects.as_array().unwrap().len(), 1, "alice is bound all the same");
    assert!(says(&refused, "Ready", "False", "MemberRefused") && refused.is_enforced());
    let told = message(&refused, "Ready");
    assert!(told.contains("jhub/hub") && told.contains("workloads.controllerNamespaces"), "{told}");
    assert!(
        told.ends_with("ask a policy administrator (ClusterRole cloister:policy-admin) to list the namespace"),
        "{told}"
    );

    let listed = World { settings: config(json!({"workloads": {"controllerNamespaces": ["jhub"]}})), ..refused };
    let mut listed = settled(listed);
    let binding = child(&listed, ChildKind::RoleBinding, "cloister-researchers");
    assert_eq!(binding["subjects"][0], hub);
    assert_eq!(binding["metadata"]["labels"][LISTED], "true");
    assert!(says(&listed, "Ready", "True", "Reconciled"));
    // Taken out of the list, it is bound no more; and a listed namespace is no research namespace.
    listed.settings = config(json!({}));
    let back = settled(listed);
    assert!(!child(&back, ChildKind::RoleBinding, "cloister-researchers").to_string().contains("jhub"));
    let mut own = world(json!({}));
    own.settings = config(json!({"workloads": {"controllerNamespaces": [NAME]}}));
    assert!(says(&settled(own), "Stalled", "True", "NameReserved"));
}

#[test]
fn an_account_of_the_own_namespace_needs_no_list() {
    let trainer = json!({"kind": "ServiceAccount", "name": "trainer", "namespace": NAME});
    let members = json!([{"role": "Viewer", "subjects": [trainer]}]);
    let world = settled(world(json!({"members": members, "serviceAccounts": [{"name": "trainer"}]})));
    let binding = child(&world, ChildKind::RoleBinding, "cloister-viewers");
    assert_eq!(binding["subjects"][0]["namespace"], NAME);
    assert!(binding["metadata"]["labels"][LISTED].is_null());
}

#[test]
fn a_member_that_is_declared_twice_is_bound_once() {
    let trainer = |home: Option<&str>| json!({"kind": "ServiceAccount", "name": "trainer", "namespace": home});
    let user = |name: &str| json!({"kind": "User", "name": name});
    let subjects = json!([user("olga"), trainer(None), user("alice"), user("olga"), trainer(Some(NAME))]);
    let members = json!([{"role": "Owner", "subjects": subjects}]);
    let world = settled(world(json!({"members": members, "serviceAccounts": [{"name": "trainer"}]})));
    for (kind, name) in [(ChildKind::RoleBinding, "cloister-owners"), (ChildKind::ClusterRoleBinding, OWNERS)] {
        let bound = child(&world, kind, name)["subjects"].clone();
        let names: Vec<&Value> = bound.as_array().unwrap().iter().map(|subject| &subject["name"]).collect();
        assert_eq!(names, ["olga", "trainer", "alice"], "{name}");
    }
}

fn gateways(more: Value) -> Settings {
    let mut hub = json!({"name": "hub", "namespace": "jhub", "podSelector": {"matchLabels": {"app": "proxy"}}, "namespaceSelector": {}});
    hub.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config(json!({"gateways": [hub]}))
}

fn from_gateway(gateway: &str) -> World {
    let rule =
        json!({"gateway": gateway, "podSelector": {"matchLabels": {"app": "notebook"}}, "ports": [{"port": 8888}]});
    world(json!({"ingress": {"fromGateways": [rule]}}))
}

#[test]
fn a_gateway_that_is_listed_lets_its_own_pods_in() {
    let world = settled(World { settings: gateways(json!({})), ..from_gateway("hub") });
    let policy = child(&world, ChildKind::NetworkPolicy, "cloister-gateway.0");
    assert_eq!(
        policy["spec"],
        json!({
            "podSelector": {"matchLabels": {"app": "notebook"}}, "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "jhub"}},
                    "podSelector": {"matchLabels": {"app": "proxy"}},
                }],
                "ports": [{"port": 8888, "protocol": "TCP"}],
            }],
        })
    );
    assert_eq!(policy["metadata"]["labels"][LISTED], "true");
    assert_eq!(need(&world, "gateway/0"), (EgressState::Active, String::new()));
    assert_eq!(
        of_need(&world, "gateway/0").message,
        "open from pods of Namespace jhub (app=proxy) to pods here (app=notebook), as soon as there are such pods"
    );
    // Where its own namespace is not there, nobody comes in by it; a tool that waits does not hang.
    let world = settled(World { absent: ["jhub".to_owned()].into(), ..world });
    assert_eq!(policies(&world), CLOSED);
    assert_eq!(need(&world, "gateway/0"), (EgressState::Refused, "GatewayNamespaceNotFound".to_owned()));
    assert_eq!(
        message(&world, "Ready"),
        "0 of 1 entries are open; gateway/0: gateway hub lets nobody in: its pods are in Namespace jhub, which does not exist; \
         ask a policy administrator (ClusterRole cloister:policy-admin) to correct gateways, or the owner of the gateway to \
         install it"
    );
    assert!(says(&world, "Ready", "True", "Reconciled"));
    let world = settled(World { absent: [].into(), ..world });
    assert_eq!(need(&world, "gateway/0").0, EgressState::Active);
    // Taken out of the list, it is closed.
    let world = settled(World { settings: config(json!({})), ..world });
    assert_eq!(policies(&world), CLOSED);
    assert_eq!(need(&world, "gateway/0"), (EgressState::Refused, "GatewayNotFound".to_owned()));
}

#[test]
fn a_gateway_on_the_network_of_its_node_is_not_said_to_let_anybody_in() {
    let pod = |app: &str, node: &str| {
        let pod = PodOnNode { pod: "proxy-1".into(), node: node.into() };
        [("jhub".to_owned(), ([("app".to_owned(), app.to_owned())].into(), pod))].into()
    };
    let by_itself =
        settled(World { settings: gateways(json!({})), on_nodes: pod("other", "worker-1"), ..from_gateway("hub") });
    assert_eq!(need(&by_itself, "gateway/0"), (EgressState::Active, String::new()), "it is no pod of the gateway");
    let mut world = settled(World { on_nodes: pod("proxy", "worker-1"), ..by_itself });
    assert_eq!(need(&world, "gateway/0"), (EgressState::Unresolved, "GatewayOnNodes".to_owned()));
    assert_eq!(
        of_need(&world, "gateway/0").message,
        "gateway hub does not let in pod jhub/proxy-1: it is on the network of its node (hostNetwork), where a NetworkPolicy cannot \
         select it by labels; ask the owner of namespace jhub to run the gateway on the pod network, because no setting of Cloister \
         admits that pod; pods of the gateway on the pod network are admitted"
    );
    assert!(message(&world, "Ready").contains("0 of 1 entries are open; gateway/0: "), "{}", message(&world, "Ready"));
    assert!(says(&world, "Ready", "True", "Reconciled"), "a tool that waits must not hang");
    // Those that come in are those that are listed, so that the pods that replace this one come in at once.
    assert!(policies(&world).contains(&"cloister-gateway.0"));
    world.on_nodes.clear();
    assert_eq!(need(&settled(world), "gateway/0"), (EgressState::Active, String::new()));
}

#[test]
fn a_gateway_that_is_not_there_or_not_for_it_opens_nothing_and_says_which_are() {
    for (settings, asked, reason, part) in [
        (config(json!({})), "hub", "GatewayNotFound", "none is"),
        (gateways(json!({})), "hubb", "GatewayNotFound", "did you mean hub"),
        (gateways(json!({})), "istio", "GatewayNotFound", "there are: hub"),
        (
            gateways(json!({"namespaceSelector": null})),
            "hub",
            "GatewayNotAllowed",
            "it has no namespaceSelector, so it allows none; ask a policy administrator (ClusterRole cloister:policy-admin) to \
             write one in gateways, or remove it from ingress.fromGateways",
        ),
        (
            gateways(json!({"namespaceSelector": {"matchLabels": {"team": "other"}}})),
            "hub",
            "GatewayNotAllowed",
            "its namespaceSelector requires team=other, and the ResearchNamespace has team=interp",
        ),
    ] {
        let world = settled(World { settings, ..from_gateway(asked) });
        assert_eq!(need(&world, "gateway/0"), (EgressState::Refused, reason.to_owned()));
        assert!(message(&world, "Ready").contains(part), "{}", message(&world, "Ready"));
        assert_eq!(policies(&world), CLOSED);
    }
}

#[test]
fn an_account_has_only_the_annotations_that_are_listed() {
    let role = "arn:aws:iam::1:role/research-a";
    let account = json!({"name": "trainer", "annotations": {"eks.amazonaws.com/role-arn": role, "example.com/a": "b"}});
    let declared = || world(json!({"serviceAccounts": [account]}));
    for (list, written) in [
        (json!([]), json!(null)),
        (json!(["example.com/a"]), json!({"example.com/a": "b"})),
        (
            json!(["eks.amazonaws.com/role-arn=arn:aws:iam::1:role/research-"]),
            json!({"eks.amazonaws.com/role-arn": role}),
        ),
        (json!(["eks.amazonaws.com/role-arn=arn:aws:iam::2:"]), json!(null)),
        (json!(["eks.amazonaws.com"]), json!(null)),
    ] {
        let settings = config(json!({"workloads": {"serviceAccountAnnotations": list}}));
        let world = settled(World { settings, ..declared() });
        let found = child(&world, ChildKind::ServiceAccount, "trainer");
        assert_eq!(found["metadata"]["annotations"], written, "{list}");
        assert!(says(&world, "Ready", "False", "AnnotationRefused") && world.is_enforced(), "{list}");
        assert!(message(&world, "Ready").contains("workloads.serviceAccountAnnotations"));
    }
    let settings =
        config(json!({"workloads": {"serviceAccountAnnotations": ["example.com/a", "eks.amazonaws.com/role-arn"]}}));
    let world = settled(World { settings, ..declared() });
    assert!(says(&world, "Ready", "True", "Reconciled"));
    let without = settled(World { settings: config(json!({})), ..world });
    assert!(child(&without, ChildKind::ServiceAccount, "trainer")["metadata"]["annotations"].is_null());
}

#[test]
fn ways_to_images_come_and_go_with_the_declaration() {
    let mut world = settled(world(json!({"serviceAccounts": [{"name": "trainer", "imagePullSecrets": ["registry"]}]})));
    let pull = |world: &World| child(world, ChildKind::ServiceAccount, "trainer")["imagePullSecrets"].clone();
    assert_eq!(pull(&world), json!([{"name": "registry"}]));
    world.declared.as_mut().unwrap().spec.service_accounts[0].image_pull_secrets.clear();
    assert!(pull(&settled(world)).is_null());
}

#[test]
fn a_sandboxed_namespace_waits_until_its_runtime_class_is_there() {
    let with = |there: &[&str]| {
        let there = there.iter().map(|&name| name.into()).collect();
        config(json!({})).with_runtime_classes(there)
    };
    let sandboxed = || world(json!({"tier": "Sandboxed"}));
    let missing = settled(World { settings: with(&["kata"]), ..sandboxed() });
    assert!(missing.namespace.is_none() && says(&missing, "Stalled", "True", "RuntimeClassMissing"));
    let said = |so: &str| {
        format!(
            "tier Sandboxed needs RuntimeClass gvisor (runtimeClasses.Sandboxed of CloisterConfig), which does not exist, so \
             {so}; ask a platform engineer to create it, or a policy administrator (ClusterRole cloister:policy-admin) to name \
             another"
        )
    };
    assert_eq!(message(&missing, "Ready"), said("Namespace interp is not created"));
    let there = settled(World { settings: with(&["gvisor"]), ..missing });
    assert!(there.is_enforced() && says(&there, "Ready", "True", "Reconciled"));
    let gone = settled(World { settings: with(&[]), ..there });
    assert!(!gone.is_enforced() && gone.deny_stands() && says(&gone, "Ready", "False", "RuntimeClassMissing"));
    assert_eq!(message(&gone, "Ready"), said("no pod is admitted"));
    let standard = settled(World { settings: with(&[]), ..world(json!({})) });
    assert!(standard.is_enforced());

    // What else is wrong is told at once.
    let account = json!({"kind": "ServiceAccount", "name": "trainer"});
    let spec = json!({"tier": "Sandboxed", "members": [{"role": "Viewer", "subjects": [account]}]});
    let wrong = settled(World { settings: with(&[]), ..world(spec) });
    let more = format!("{} (and 1 more, see status.refused)", said("Namespace interp is not created"));
    assert_eq!(message(&wrong, "Ready"), more);
    let refused = &wrong.declared.as_ref().unwrap().status.as_ref().unwrap().refused;
    assert!(refused[0].message.starts_with("ServiceAccount trainer is not bound"), "{refused:?}");
    // What has been corrected is listed no more.
    let mut wrong = wrong;
    wrong.declared.as_mut().unwrap().spec.members.clear();
    let corrected = settled(wrong);
    assert!(corrected.declared.as_ref().unwrap().status.as_ref().unwrap().refused.is_empty());
}
