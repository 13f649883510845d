//! Which ClusterRoles are asked about, and whom an answer concerns.

use super::*;
use crate::clock::Clock;
use cloister_api::{AccessRole, StorageResource};
use cloister_index::{
    decode::Decoded,
    index::{Index, Indexed},
    key::Key,
};
use futures::FutureExt;
use k8s_openapi::api::rbac::v1::ClusterRole;
use serde_json::json;

/// A store that knows one StorageResource, with a role for each of these ClusterRoles.
fn store(cluster_roles: &[&str]) -> Store {
    let (mut index, mut dirty) = (Index::default(), Dirty::new());
    let roles: Vec<_> = cluster_roles
        .iter()
        .map(|role| json!({"name": role, "accessPolicy": "two-people", "clusterRole": role}))
        .chain([json!({"name": "without", "accessPolicy": "two-people"})])
        .collect();
    let storage: Decoded<StorageResource> = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "StorageResource", "metadata": {"name": "data"},
        "spec": {"sensitivity": "Moderate", "roles": roles},
    }))
    .unwrap();
    assert!(storage.object.is_ok());
    storage.upsert(&mut index, &mut dirty);
    Store::new(index, Clock::default(), 1)
}

fn add_role(store: &Store, name: &str, cluster_role: &str) {
    let role: Decoded<AccessRole> = serde_json::from_value(json!({
        "apiVersion": "cloister.dev/v1alpha1", "kind": "AccessRole", "metadata": {"name": name},
        "spec": {"clusterRole": cluster_role, "accessPolicy": "two-people"},
    }))
    .unwrap();
    role.upsert(&mut store.index_mut(), &mut Dirty::new());
}

fn add_cluster_role(store: &Store, name: &str) {
    let role = ClusterRole {
        metadata: kube::api::ObjectMeta { name: Some(name.into()), ..Default::default() },
        ..Default::default()
    };
    role.upsert(&mut store.index_mut(), &mut Dirty::new());
}

/// The keys that are ready.
fn ready(store: &Store) -> Vec<Key> {
    let next = || store.queue.next(|| store.clock.now(), |keys| store.tickets(keys)).now_or_never();
    let mut keys = Vec::new();
    while let Some(job) = next() {
        store.queue.done(&job.key, true, store.clock.now());
        keys.push(job.key);
    }
    keys
}

#[tokio::test]
async fn each_cluster_role_that_the_catalogue_names_is_asked_about_once() {
    let store = store(&["reader", "writer"]);
    assert_eq!(named(&store), ["reader".to_owned(), "writer".to_owned()].into());
    add_role(&store, "debug", "debugger");
    add_role(&store, "read", "reader");
    add_cluster_role(&store, "else");
    assert_eq!(named(&store), ["debugger".to_owned(), "reader".to_owned(), "writer".to_owned()].into());
}

#[tokio::test]
async fn an_answer_concerns_what_names_the_role_where_it_is_another_than_before() {
    let store = store(&["reader"]);
    add_role(&store, "debug", "debugger");
    add_cluster_role(&store, "reader");
    add_cluster_role(&store, "debugger");
    assert!(ready(&store).is_empty());
    note(&store, "reader", false);
    assert!(ready(&store).is_empty(), "that was so before");
    note(&store, "reader", true);
    assert_eq!(ready(&store), [Key::Storage("data".into())]);
    note(&store, "reader", true);
    assert!(ready(&store).is_empty());
    note(&store, "debugger", true);
    assert_eq!(ready(&store), [Key::Role("debug".into())]);
    note(&store, "reader", false);
    assert_eq!(ready(&store), [Key::Storage("data".into())], "the right was taken away");
}

#[tokio::test]
async fn a_cluster_role_that_is_not_there_concerns_nobody() {
    let store = store(&["reader"]);
    note(&store, "reader", true);
    assert!(ready(&store).is_empty());
    add_cluster_role(&store, "reader");
    assert!(!store.index().cluster_roles["reader"].bindable, "it is asked about when it is there");
}

#[tokio::test]
async fn an_answer_has_nothing_asked_about_again() {
    let store = store(&["reader"]);
    add_cluster_role(&store, "reader");
    note(&store, "reader", true);
    assert!(store.roles_changed.notified().now_or_never().is_none());
    store.enqueue([Key::Storage("data".into())].into());
    assert!(store.roles_changed.notified().now_or_never().is_some(), "what names it may name another now");
}
