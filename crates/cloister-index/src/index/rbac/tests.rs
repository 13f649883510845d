//! Roles and bindings, as they come and go: who may act as somebody else, and what there is in a namespace.

use super::*;
use crate::decode::Decoded;
use cloister_api::{AccessRole, StorageResource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn read<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// Takes note of an object. What it concerns is returned.
fn take(index: &mut Index, object: impl Indexed) -> Dirty {
    let mut dirty = Dirty::new();
    object.upsert(index, &mut dirty);
    dirty
}

/// Forgets an object. What that concerns is returned.
fn forget<K: Indexed>(index: &mut Index, namespace: &str, name: &str) -> Dirty {
    let mut dirty = Dirty::new();
    K::remove(index, &at(namespace, name), &mut dirty);
    dirty
}

fn at(namespace: &str, name: &str) -> ObjectName {
    ObjectName { namespace: namespace.into(), name: name.into() }
}

fn rule(resource: &str, verb: &str) -> Value {
    json!({"apiGroups": [if resource == "clusterroles" { "rbac.authorization.k8s.io" } else { "" }], "resources": [resource], "verbs": [verb]})
}

fn cluster_role(name: &str, rules: &[Value]) -> ClusterRole {
    read(json!({"metadata": {"name": name}, "rules": rules}))
}

fn role(namespace: &str, name: &str, rules: &[Value]) -> Role {
    read(json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules}))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name})
}

fn binding(version: u64, name: &str, role: Value) -> RoleBinding {
    let metadata = json!({"name": name, "namespace": "interp", "resourceVersion": version.to_string()});
    let alice = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "alice"});
    read(json!({"metadata": metadata, "roleRef": role, "subjects": [alice]}))
}

fn minds(dirty: &Dirty) -> bool {
    dirty.contains(&Key::Impersonation)
}

#[test]
fn a_binding_matters_to_impersonation_only_where_its_role_allows_that() {
    let mut index = Index::default();
    let act = [rule("users", "impersonate")];
    assert!(!minds(&take(&mut index, cluster_role("view", &[rule("pods", "get")]))));
    assert!(!minds(&take(&mut index, binding(1, "a", reference("ClusterRole", "view")))));
    assert!(!minds(&take(&mut index, binding(1, "b", reference("ClusterRole", "act")))), "there is no such role");
    assert!(minds(&take(&mut index, cluster_role("act", &act))), "a role that comes later tells of itself");
    assert!(!minds(&take(&mut index, binding(1, "b", reference("ClusterRole", "act")))), "it is the same binding");
    assert!(minds(&take(&mut index, binding(2, "a", reference("ClusterRole", "act")))));
    assert!(minds(&take(&mut index, binding(3, "a", reference("ClusterRole", "view")))), "it was one before");
    assert!(!minds(&forget::<RoleBinding>(&mut index, "interp", "a")));
    assert!(minds(&forget::<RoleBinding>(&mut index, "interp", "b")));
    assert!(minds(&take(&mut index, cluster_role("act", &[rule("pods", "get")]))), "it allowed that before");
    assert!(index.bindings.is_empty());
}

#[test]
fn a_role_counts_in_its_own_namespace_alone() {
    let mut index = Index::default();
    let act = [rule("serviceaccounts", "impersonate")];
    assert!(minds(&take(&mut index, role("other", "act", &act))));
    assert!(!minds(&take(&mut index, role("other", "act", &act))), "nothing is new of it");
    assert!(!minds(&take(&mut index, binding(1, "a", reference("Role", "act")))), "the role is in another namespace");
    assert!(minds(&take(&mut index, role("interp", "act", &act))));
    let bound = index.bindings[&at("interp", "a")].clone();
    assert!(index.lets_impersonate(&at("interp", "a"), &bound));
    assert!(minds(&take(&mut index, role("interp", "act", &[rule("pods", "get")]))));
    assert!(!index.lets_impersonate(&at("interp", "a"), &bound));
    assert!(!minds(&forget::<Role>(&mut index, "interp", "act")));
    assert!(minds(&forget::<Role>(&mut index, "other", "act")));
}

#[test]
fn whether_a_cluster_role_may_be_bound_outlasts_its_changes() {
    let mut index = Index::default();
    take(&mut index, cluster_role("reader", &[rule("pods", "get")]));
    assert!(!index.cluster_roles["reader"].bindable, "nobody has asked yet");
    index.cluster_roles.get_mut("reader").unwrap().bindable = true;
    assert!(take(&mut index, cluster_role("reader", &[rule("pods", "get")])).is_empty(), "it is the same");
    take(&mut index, cluster_role("reader", &[rule("pods", "list")]));
    assert!(index.cluster_roles["reader"].bindable);
    forget::<ClusterRole>(&mut index, "", "reader");
    take(&mut index, cluster_role("reader", &[rule("pods", "list")]));
    assert!(!index.cluster_roles["reader"].bindable, "it is another one");
}

#[test]
fn a_cluster_role_concerns_what_names_it_and_one_that_binds_all() {
    let mut index = Index::default();
    let access_role = |name: &str, of: &str| -> Decoded<AccessRole> {
        read(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name},
            "spec": {"clusterRole": of, "accessPolicy": "two-people"},
        }))
    };
    let storage: Decoded<StorageResource> = read(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": "data"},
        "spec": {"sensitivity": "Moderate", "roles": [{"name": "r", "accessPolicy": "two-people", "clusterRole": "reader"}]},
    }));
    assert!(storage.object.is_ok());
    for name in ["reader", "debugger"] {
        take(&mut index, cluster_role(name, &[rule("pods", "get")]));
    }
    take(&mut index, storage);
    take(&mut index, access_role("debug", "debugger"));
    let named =
        |dirty: &Dirty| (dirty.contains(&Key::Storage("data".into())), dirty.contains(&Key::Role("debug".into())));
    assert_eq!(named(&take(&mut index, cluster_role("reader", &[rule("pods", "list")]))), (true, false));
    assert_eq!(named(&take(&mut index, cluster_role("debugger", &[rule("pods", "list")]))), (false, true));
    assert_eq!(named(&take(&mut index, cluster_role("else", &[rule("pods", "list")]))), (false, false));
    assert_eq!(named(&take(&mut index, cluster_role("else", &[rule("clusterroles", "bind")]))), (true, true));
    assert_eq!(named(&forget::<ClusterRole>(&mut index, "", "debugger")), (false, true));
}

#[test]
fn what_the_owners_of_a_namespace_have_is_known_with_that_namespace() {
    let mut index = Index::default();
    let name = "cloister:owner:interp";
    assert!(take(&mut index, cluster_role(name, &[rule("pods", "get")])).contains(&Key::Namespace("interp".into())));
    assert!(index.cluster_roles.is_empty() && index.children.contains_key("interp"));
    assert_eq!(<ClusterRole as Indexed>::known(&index), [at("", name)]);
    assert!(forget::<ClusterRole>(&mut index, "", name).contains(&Key::Namespace("interp".into())));
    assert!(index.children.is_empty());
}

#[test]
fn of_a_binding_the_newest_version_counts_and_a_change_by_others_is_noted() {
    let mut index = Index::default();
    let (view, edit) = (reference("ClusterRole", "view"), reference("ClusterRole", "edit"));
    let namespace = Key::Namespace("interp".into());
    // Whoever made it, it gives access.
    assert!(take(&mut index, binding(5, "a", view.clone())).contains(&namespace));
    assert!(take(&mut index, binding(4, "a", edit.clone())).is_empty(), "it is older");
    assert!(take(&mut index, binding(6, "a", view)).is_empty(), "nothing is new of it");
    assert!(index.children["interp"].changed.is_empty());
    assert!(take(&mut index, binding(7, "a", edit)).contains(&namespace));
    let changed = index.children["interp"].changed.clone();
    assert_eq!(changed.iter().map(|key| (key.kind, &*key.name)).collect::<Vec<_>>(), [(ChildKind::RoleBinding, "a")]);
    // What the operator wrote itself is no change by others.
    changed.iter().for_each(|key| index.wrote("interp", key, None));
    assert!(index.children["interp"].changed.is_empty());
    assert!(forget::<RoleBinding>(&mut index, "interp", "a").contains(&namespace));
    assert!(forget::<RoleBinding>(&mut index, "interp", "a").is_empty(), "it is gone already");
}
