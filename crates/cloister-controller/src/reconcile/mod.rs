//! One reconcile: a snapshot of what is known, a decision of the core, the requests that carry it out, and what is told of
//! it.

mod carry_out;
mod catalogue;
mod copies;
mod counted;
mod ended;
mod grant;
mod impersonation;
mod mount;
mod namespace;
mod retention;
mod review;

pub use copies::Replaced;

use counted::Counted;

use crate::{
    apply::{Found, ObjectTarget, Writer},
    error::Error,
    queue::Job,
    report::{Alerts, Impersonators, Metrics},
    snapshot::{Snapshot, Sources},
    watch::needs,
};
use cloister_api::GrantStatus;
use cloister_core::grant::plan;
use cloister_index::{decode::Decoded, key::Key};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Resource,
    core::{ClusterResourceScope, NamespaceResourceScope},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tracing::debug;

/// Makes the cluster what is declared, one key at a time.
pub struct Reconciler {
    /// What decisions are made from.
    pub sources: Sources,
    /// What carries them out.
    pub writer: Writer,
    /// What tells of them.
    pub alerts: Arc<Alerts>,
    /// What counts them.
    pub metrics: Arc<Metrics>,
    /// The bindings by which tenants may act as somebody else.
    pub impersonators: Arc<Impersonators>,
    /// The copies of credentials that somebody else has written.
    pub replaced: Arc<Replaced>,
    counted: Counted,
    /// The statuses of grants that have opened, which are still to be written.
    opened: Mutex<HashMap<Key, GrantStatus>>,
}

impl Reconciler {
    /// One that has reconciled nothing yet.
    pub fn new(sources: Sources, writer: Writer, alerts: Arc<Alerts>, metrics: Arc<Metrics>) -> Self {
        let (impersonators, replaced, counted, opened) = Default::default();
        Reconciler { sources, writer, alerts, metrics, impersonators, replaced, counted, opened }
    }

    /// Works on one key, with the turns that it holds.
    ///
    /// # Errors
    ///
    /// A request failed. The key must be worked on again.
    pub async fn reconcile(&self, Job { key, ticket, .. }: &Job) -> Result<(), Error> {
        let missing = self.sources.store.park(key, &needs::of(key));
        if !missing.is_empty() && !Snapshot::look(&self.sources).ends_all_the_same(key) {
            debug!(?missing, "waits until these kinds are listed");
            return Ok(());
        }
        match key {
            Key::Config => self.config().await,
            Key::Allowlist(name) => self.allowlist(name).await,
            Key::Users(name) => {
                self.sources.store.again([Key::Allowlist(name.clone())].into());
                Ok(())
            }
            Key::Storage(name) => self.storage(name).await,
            Key::Policy(name) => self.policy(name).await,
            Key::Namespace(name) => self.namespace(name).await,
            Key::Role(name) => self.role(name).await,
            Key::Grant(namespace, grant) => self.grant(namespace, grant, ticket).await,
            Key::Review(namespace, name) => self.review(namespace, name).await,
            Key::Impersonation => {
                self.impersonation();
                Ok(())
            }
            Key::Retention => self.retention().await,
            Key::Mount(namespace, name) => self.mount(namespace, name).await,
        }
    }

    /// Takes up the names that objects depend on, with the addresses that are open according to their status: what a pod
    /// reaches before a restart it reaches after it. All objects are decided about afterwards.
    pub fn remember_names(&self) {
        let keys = self.sources.store.index().all_keys();
        for key in keys {
            let snapshot = Snapshot::at_the_start(&self.sources);
            match &key {
                Key::Namespace(name) => drop(snapshot.decide_namespace(name, None)),
                // Of its reviews nothing is said now.
                Key::Grant(namespace, grant) => drop(snapshot.with_grant(namespace, grant, plan)),
                _ => {}
            }
        }
    }

    fn opened(&self) -> MutexGuard<'_, HashMap<Key, GrantStatus>> {
        // No step leaves it half changed.
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object in no namespace, of which only the status is written.
    fn cluster_wide<K>(&self, key: Key, metadata: ObjectMeta) -> ObjectTarget<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        let api: Api<Decoded<K>> = Api::all(self.writer.requests.client());
        ObjectTarget { key, namespace: "".into(), api, metadata, finalizer: "", found: Found::Anyhow }
    }

    /// An object in a namespace, of which only the status is written.
    fn namespaced<K>(&self, key: Key, namespace: &Arc<str>, metadata: ObjectMeta) -> ObjectTarget<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        let api: Api<Decoded<K>> = Api::namespaced(self.writer.requests.client(), namespace);
        ObjectTarget { key, namespace: namespace.clone(), api, metadata, finalizer: "", found: Found::Anyhow }
    }
}
