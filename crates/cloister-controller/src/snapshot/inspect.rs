//! A look into a Namespace that is to be taken over, by lists of the API server itself.
//!
//! What cannot be looked at is told of: then the Namespace is not taken over.

use crate::{index::GatedPod, requests::Requests};
use cloister_api::{GrantMount, labels, plugin::CiliumNetworkPolicy};
use cloister_core::{
    model::child::{Child, ChildKind},
    namespace::{Account, Inspection, has_own_volume},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{LimitRange, PersistentVolumeClaim, ResourceQuota, Secret, ServiceAccount},
        rbac::v1::{Role, RoleBinding},
    },
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams},
    core::{ApiResource, GroupVersionKind, PartialObjectMeta},
    discovery::{Discovery, Scope},
};
use serde::de::DeserializeOwned;
use std::{fmt::Debug, future::Future, time::Duration};

/// How long the API server may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// How many objects are read at once.
const PAGE: u32 = 50;

/// How many objects of one kind are looked at. More than these cannot be looked through, so that the Namespace is not
/// taken over.
const MOST: usize = 5000;

/// The type of a Secret that is the token of a ServiceAccount.
const TOKEN: &str = "type=kubernetes.io/service-account-token";

/// The kinds of which a Namespace that is taken over has no object: what makes pods, and what leads traffic to them or from
/// them to elsewhere. What other controllers make pods of cannot be known.
const NONE_OF: [(&str, &str, &str, &str); 11] = [
    ("", "v1", "ReplicationController", "replicationcontrollers"),
    ("apps", "v1", "DaemonSet", "daemonsets"),
    ("apps", "v1", "Deployment", "deployments"),
    ("apps", "v1", "ReplicaSet", "replicasets"),
    ("apps", "v1", "StatefulSet", "statefulsets"),
    ("batch", "v1", "CronJob", "cronjobs"),
    ("batch", "v1", "Job", "jobs"),
    ("", "v1", "Service", "services"),
    ("", "v1", "Endpoints", "endpoints"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    ("networking.k8s.io", "v1", "Ingress", "ingresses"),
];

/// What admission says of a Secret when the operator asks whether it may delete some: that there is this one.
const FOUND: &str = "denied request: found Secret ";

/// Looks at everything that must not stand in a Namespace that is taken over: one that was kept as a research namespace, or
/// any other. The volumes are those that are listed for research namespaces.
pub async fn inspect(requests: &Requests, namespace: &str, retained: bool, volumes: &[String]) -> Inspection {
    let mut look = Look { requests, namespace, found: Inspection::default() };
    look.at_children("NetworkPolicies", Child::NetworkPolicy).await;
    look.at_children::<RoleBinding>("RoleBindings", Child::RoleBinding).await;
    look.at_children::<Role>("Roles", Child::Role).await;
    look.at_children::<ResourceQuota>("ResourceQuotas", Child::ResourceQuota).await;
    look.at_children::<LimitRange>("LimitRanges", Child::LimitRange).await;
    look.at_children::<ServiceAccount>("ServiceAccounts", Child::ServiceAccount).await;
    look.at_children::<GrantMount>("GrantMounts", |mount| Child::GrantMount(Box::new(mount))).await;
    look.at_policies_of_others().await;
    look.at_workloads(volumes).await;
    look.at_secrets(ListParams::default().fields(TOKEN)).await;
    // In a Namespace that was ours before, what says so is ours.
    if !retained {
        look.at_secrets(ListParams::default().labels(&format!("{}={}", labels::MANAGED_BY, labels::MANAGER))).await;
    }
    look.found
}

struct Look<'a> {
    requests: &'a Requests,
    namespace: &'a str,
    found: Inspection,
}

impl Look<'_> {
    async fn at_children<K>(&mut self, what: &str, child: impl Fn(K) -> Child)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.requests.client(), self.namespace);
        for object in self.all(&api, what).await {
            let uid = object.uid().unwrap_or_default();
            let child = child(object);
            let (key, observed) = (child.key(), child.observe());
            let opens = key.kind.is_policy() || key.kind.is_access();
            let bounds = matches!(key.kind, ChildKind::ResourceQuota | ChildKind::LimitRange);
            let is_account = key.kind == ChildKind::ServiceAccount;
            if is_account {
                self.found.accounts.push(Account { name: key.name.to_string(), uid });
            }
            if opens || bounds || is_account || observed.marked || key.kind == ChildKind::GrantMount {
                self.found.children.insert(key, observed);
            }
        }
    }

    /// Policies of network plugins add up with NetworkPolicies: each kind that is called so is looked at.
    async fn at_policies_of_others(&mut self) {
        let client = self.requests.client();
        let discovered = self.request(Discovery::new(client.clone()).run_aggregated()).await;
        let discovery = match discovered {
            Ok(discovery) => discovery,
            Err(error) => return self.found.unseen.push(format!("which kinds there are: {error}")),
        };
        for group in discovery.groups().filter(|group| group.name() != "networking.k8s.io") {
            for (resource, capabilities) in group.recommended_resources() {
                let is_policy = resource.plural.contains("networkpolic") && capabilities.scope == Scope::Namespaced;
                if !is_policy || !capabilities.supports_operation(kube::discovery::verbs::LIST) {
                    continue;
                }
                if resource.kind == "CiliumNetworkPolicy" && resource.group == "cilium.io" {
                    let cilium = |policy| Child::CiliumNetworkPolicy(Box::new(policy));
                    self.at_children::<CiliumNetworkPolicy>("CiliumNetworkPolicies", cilium).await;
                    continue;
                }
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), self.namespace, &resource);
                let what = format!("{}.{}", resource.plural, resource.group);
                let found = self.all(&api, &what).await;
                self.others(&resource.kind, found.iter().map(ResourceExt::name_any));
            }
        }
    }

    /// What runs, makes what runs, or leads to it: none of it was asked by an admission policy. Of a claim it is its data
    /// that matters, which may be another team's.
    async fn at_workloads(&mut self, volumes: &[String]) {
        let client = self.requests.client();
        let pods: Api<GatedPod> = Api::namespaced(client.clone(), self.namespace);
        let all = self.all(&pods, "Pods").await;
        self.others("Pod", all.iter().filter(|pod| !pod.has_ended()).map(ResourceExt::name_any));
        for (group, version, kind, plural) in NONE_OF {
            let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
            let api: Api<PartialObjectMeta<DynamicObject>> =
                Api::namespaced_with(client.clone(), self.namespace, &resource);
            let all = self.all(&api, plural).await;
            self.others(kind, all.iter().map(ResourceExt::name_any));
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, self.namespace);
        let all = self.all(&claims, "PersistentVolumeClaims").await;
        let is_own = |claim: &&PersistentVolumeClaim| {
            let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
            has_own_volume(claim.metadata.uid.as_deref().unwrap_or_default(), volume, volumes)
        };
        let why = "its volume was not created for it, and is not listed in workloads.volumes of CloisterConfig";
        let others = all.iter().filter(|claim| !is_own(claim)).map(|claim| format!("{} ({why})", claim.name_any()));
        self.others("PersistentVolumeClaim", others);
    }

    fn others(&mut self, kind: &str, names: impl Iterator<Item = String>) {
        self.found.others.extend(names.map(|name| format!("{kind}/{name}")));
    }

    /// The operator may read no Secrets here, and needs not. It asks whether it may delete these, without deleting any:
    /// admission refuses that for each that there is, and names one. An answer without a refusal is that there is none.
    async fn at_secrets(&mut self, which: ListParams) {
        let api: Api<PartialObjectMeta<Secret>> = Api::namespaced(self.requests.client(), self.namespace);
        let only_ask = DeleteParams { dry_run: true, ..DeleteParams::default() };
        match self.request(api.delete_collection(&only_ask, &which)).await {
            Ok(either::Either::Left(there)) => {
                self.others("Secret", there.iter().map(ResourceExt::name_any));
            }
            Ok(either::Either::Right(_)) => {}
            Err(error) => match error.split_once(FOUND) {
                Some((_, name)) => self.others("Secret", [name.to_owned()].into_iter()),
                None => self.found.unseen.push(format!("Secrets: {error}")),
            },
        }
    }

    /// All objects of a kind, page by page.
    async fn all<K: Clone + Debug + DeserializeOwned>(&mut self, api: &Api<K>, what: &str) -> Vec<K> {
        let mut all = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            match self.request(api.list(&params)).await {
                Ok(page) => {
                    params.continue_token = page.metadata.continue_.clone().filter(|more| !more.is_empty());
                    all.extend(page.items);
                }
                Err(error) => {
                    self.found.unseen.push(format!("{what}: {error}"));
                    return all;
                }
            }
            if params.continue_token.is_none() {
                return all;
            }
            if all.len() > MOST {
                self.found.unseen.push(format!("{what}: there are more than {MOST}"));
                return all;
            }
        }
    }

    async fn request<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
        let _permit = self.requests.permit().await;
        match tokio::time::timeout(LIMIT, request).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) => Err(status.message.clone()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {LIMIT:?}")),
        }
    }
}
