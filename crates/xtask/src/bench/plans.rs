//! The plans of `cloister-core` that the raw loop carries out, made before the clock runs.

use super::{fixture, raw::ObjectTarget};
use anyhow::{Context, Result, ensure};
use cloister_api::{
    AccessPolicy, AccessReview, EgressAllowlist, GrantKind, GrantStatus, ResearchNamespace, ResearchNamespaceStatus,
    StorageAccessGrant, StorageResource, labels,
};
use cloister_core::{
    cluster::{role_facts::RoleFacts, settings::Settings},
    grant,
    grant::{Catalogue, Grant, Home, Lookup},
    model::{
        child::{Children, GrantRef},
        plan::Plan,
    },
    namespace,
    namespace::KnownAllowlist,
};
use jiff::Timestamp;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client, ResourceExt, api::ListParams};
use std::collections::{BTreeMap, HashMap};

/// What to do for a namespace of which nothing is there yet.
///
/// # Errors
///
/// The fixture does not fit the kinds.
pub fn namespace(name: &str) -> Result<Plan<ResearchNamespaceStatus>> {
    let mut declared = fixture::namespace(name)?;
    declared.metadata.generation = Some(1);
    let allowlists: Vec<EgressAllowlist> = fixture::allowlists()?;
    let allowlists: BTreeMap<&str, KnownAllowlist<'_>> = allowlists
        .iter()
        .map(|allowlist| (allowlist.metadata.name.as_deref().unwrap_or_default(), KnownAllowlist::Read(allowlist)))
        .collect();
    Ok(namespace::plan(&namespace::Input {
        name,
        declared: namespace::DeclaredNamespace::Read(&declared),
        settings: &Settings::new(None),
        allowlists: &allowlists,
        granted: &[],
        endpoints: &[],
        peers: &|_| namespace::PeerFound::NotEnforced,
        is_namespace: &|_| true,
        pods_on_nodes: &|_, _| None,
        services: &|_| None,
        hosts: &|_| None,
        dns_addresses: &[],
        dns_ports: &[],
        namespace: None,
        children: &Children::new(),
        has_grant: &|_| false,
        inspection: None,
        pods: Some(0),
        open_grants: 0,
        owed_review: None,
        now: Timestamp::now(),
    }))
}

/// The target of a namespace's plan.
pub fn namespace_target(client: &Client, declared: ResearchNamespace) -> ObjectTarget<ResearchNamespace> {
    ObjectTarget {
        api: Api::all(client.clone()),
        namespace: declared.metadata.name.clone().unwrap_or_default(),
        metadata: declared.metadata,
        finalizer: labels::NAMESPACE_FINALIZER,
    }
}

/// What the catalogue has that a grant is decided by.
pub struct Known {
    /// The storage, by its name.
    pub storages: HashMap<String, StorageResource>,
    /// The policy of all of it.
    pub policy: AccessPolicy,
    /// The ClusterRoles, by their names.
    pub roles: HashMap<String, RoleFacts>,
}

impl Known {
    /// Reads it, with the policy of this name.
    ///
    /// # Errors
    ///
    /// The API server does not answer.
    pub async fn read(client: &Client, policy: &str) -> Result<Self> {
        let policy = Api::<AccessPolicy>::all(client.clone()).get(policy).await?;
        let storages = Api::<StorageResource>::all(client.clone()).list(&ListParams::default()).await?;
        let storages = storages.into_iter().map(|storage| (storage.metadata.name.clone().unwrap_or_default(), storage));
        let roles = Api::<ClusterRole>::all(client.clone()).list(&ListParams::default()).await?;
        let roles = roles.into_iter().map(|role| (role.name_any(), RoleFacts::of(&role, true)));
        Ok(Known { storages: storages.collect(), policy, roles: roles.collect() })
    }

    /// What to do for an active grant at its end.
    ///
    /// # Errors
    ///
    /// The grant has no end.
    pub fn grant_end(&self, grant: &StorageAccessGrant, children: &Children) -> Result<Plan<GrantStatus>> {
        let status = grant.status.as_ref();
        let end = status.and_then(|status| status.expires_at.as_ref()).context("the grant has no end")?.0;
        self.plan(grant, &[], children, end)
    }

    /// The status of a request that this review approves: who approved, and when the grant ends.
    ///
    /// # Errors
    ///
    /// The review does not approve it.
    pub fn approved(&self, grant: &StorageAccessGrant, review: &AccessReview) -> Result<GrantStatus> {
        let plan = self.plan(grant, &[review], &Children::new(), Timestamp::now())?;
        let status = plan.announce.or(plan.status).context("there is nothing to write of it")?;
        ensure!(status.expires_at.is_some(), "it has no end: {}", status.reason);
        Ok(status)
    }

    fn plan(
        &self,
        grant: &StorageAccessGrant,
        reviews: &[&AccessReview],
        children: &Children,
        now: Timestamp,
    ) -> Result<Plan<GrantStatus>> {
        let namespace = grant.metadata.namespace.as_deref().unwrap_or_default();
        let home = fixture::namespace(namespace)?;
        let name = grant.metadata.name.as_deref().unwrap_or_default();
        Ok(grant::plan(&grant::Input {
            namespace,
            grant: GrantRef { kind: GrantKind::StorageAccessGrant, name: name.into() },
            declared: grant::DeclaredGrant::Read(&Grant::Storage(grant.clone())),
            catalogue: Catalogue {
                storages: &|name| self.storages.get(name).map_or(Lookup::Absent, Lookup::Read),
                roles: &|_| Lookup::Absent,
                policies: &|_| Lookup::Read(&self.policy),
                endpoints: &Vec::new,
                meant: &|_, _| None,
                cluster_roles: &|name| self.roles.get(name),
                services: &|_| None,
                hosts: &|_| None,
                credentials: &|_| None,
                others: &|_| Vec::new(),
                unreviewed_break_glass: &|_| None,
            },
            settings: &Settings::new(None),
            held: None,
            recorded: true,
            home: Home::Enforced,
            members: &home.spec.members,
            accounts: &[],
            rules: &[],
            role_holders: &[],
            beside: grant::Beside::default(),
            reviews,
            children,
            mount_is_claimed: false,
            other_mounts: &[],
            holders: &[],
            now,
        }))
    }
}

/// The target of a grant's plan.
pub fn grant_target(client: &Client, grant: StorageAccessGrant) -> ObjectTarget<StorageAccessGrant> {
    let namespace = grant.metadata.namespace.clone().unwrap_or_default();
    ObjectTarget {
        api: Api::namespaced(client.clone(), &namespace),
        namespace,
        metadata: grant.metadata,
        finalizer: labels::GRANT_FINALIZER,
    }
}
