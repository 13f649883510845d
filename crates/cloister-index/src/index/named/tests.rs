//! What the settings name, as it comes and goes.

use super::*;
use crate::index::tests::declared;
use cloister_api::CloisterConfig;
use serde_json::{Value, json};

fn settings(version: u64, spec: &Value) -> Decoded<CloisterConfig> {
    serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig",
        "metadata": {"name": "cloister", "resourceVersion": version.to_string(), "generation": version}, "spec": spec,
    }))
    .unwrap()
}

#[test]
fn an_entry_that_names_a_research_namespace_is_in_force_while_that_does_not_stand() {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    settings(1, &json!({"credentialNamespaces": ["vault", "interp"]})).upsert(&mut index, &mut dirty);
    let listed = |index: &Index| index.settings().spec.credential_namespaces.join(",");
    declared("interp", 2, false).upsert(&mut index, &mut dirty);
    assert_eq!(listed(&index), "vault,interp", "it is not made");
    dirty.clear();
    declared("interp", 3, true).upsert(&mut index, &mut dirty);
    assert_eq!(listed(&index), "vault");
    assert!(dirty.contains(&Key::Config));
    dirty.clear();
    declared("other", 4, true).upsert(&mut index, &mut dirty);
    assert!(!dirty.contains(&Key::Config), "it names no other");
    let interp = ObjectName { namespace: "".into(), name: "interp".into() };
    Decoded::<ResearchNamespace>::remove(&mut index, &interp, &mut dirty);
    assert_eq!(listed(&index), "vault,interp");
    assert!(dirty.contains(&Key::Config));
}

#[test]
fn the_settings_are_looked_at_when_what_they_name_comes_or_goes() {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    let spec = json!({"workloads": {"volumes": ["storageClass:gp3"], "priorityClasses": ["low"]}});
    settings(1, &spec).upsert(&mut index, &mut dirty);
    let class = |name: &str| -> PartialObjectMeta<StorageClass> {
        serde_json::from_value(json!({"metadata": {"name": name}})).unwrap()
    };
    for (name, concerned) in [("gp2", true), ("gp3", true), ("gp4", false), ("gp3", false)] {
        dirty.clear();
        class(name).upsert(&mut index, &mut dirty);
        assert_eq!(dirty.contains(&Key::Config), concerned, "{name}: it is named, or may have been meant");
    }
    dirty.clear();
    let at = ObjectName { namespace: "".into(), name: "gp3".into() };
    PartialObjectMeta::<StorageClass>::remove(&mut index, &at, &mut dirty);
    assert!(dirty.contains(&Key::Config));
    assert_eq!(PartialObjectMeta::<StorageClass>::known(&index).len(), 2);
}

#[test]
fn who_names_a_gateway_is_looked_at_when_its_namespace_comes_or_goes() {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    let gateways = json!([
        {"name": "hub", "namespace": "jhub", "podSelector": {}, "namespaceSelector": {}},
        {"name": "istio", "namespace": "istio-system", "podSelector": {}, "namespaceSelector": {}},
    ]);
    settings(1, &json!({"gateways": gateways})).upsert(&mut index, &mut dirty);
    for (version, (name, gateway)) in (2..).zip([("interp", "hub"), ("other", "istio")]) {
        let rule = json!({"gateway": gateway, "podSelector": {}, "ports": [{"port": 8888}]});
        let research: Decoded<ResearchNamespace> = serde_json::from_value(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "ResearchNamespace",
            "metadata": {"name": name, "resourceVersion": format!("{version}")},
            "spec": {"tier": "Standard", "ingress": {"fromGateways": [rule]}},
        }))
        .unwrap();
        research.upsert(&mut index, &mut dirty);
    }
    let concerned = |dirty: &Dirty| ["interp", "other"].map(|name| dirty.contains(&Key::Namespace(name.into())));
    dirty.clear();
    let namespace = json!({"metadata": {"name": "jhub", "resourceVersion": "9"}});
    let namespace: k8s_openapi::api::core::v1::Namespace = serde_json::from_value(namespace).unwrap();
    namespace.upsert(&mut index, &mut dirty);
    assert_eq!(concerned(&dirty), [true, false]);
    dirty.clear();
    let at = ObjectName { namespace: "".into(), name: "jhub".into() };
    <k8s_openapi::api::core::v1::Namespace as Indexed>::remove(&mut index, &at, &mut dirty);
    assert_eq!(concerned(&dirty), [true, false]);
}
