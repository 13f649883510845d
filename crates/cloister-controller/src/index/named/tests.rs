//! What the settings name, as it comes and goes.

use super::*;
use crate::{index::tests::declared, key::Key};
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
