//! A look into a Namespace that is to be taken over, by lists of the API server itself.
//!
//! What cannot be looked at is told of: then the Namespace is not taken over.

use crate::requests::Requests;
use cloister_api::{GrantMount, labels, plugin::CiliumNetworkPolicy};
use cloister_core::{
    model::child::{Child, ChildKind},
    namespace::{Account, Inspection, Unseen, has_own_volume, may_be_policies},
};
use cloister_index::index::GatedPod;
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
    discovery::{Discovery, Scope, verbs},
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

/// Why a request has no answer that is of use.
struct Failure {
    /// Whether the API server does not let the operator do it.
    forbidden: bool,
    message: String,
}

impl Failure {
    /// What is told of it. Admission refuses lists to nobody, so that a list which is forbidden lacks a right; of others
    /// the message tells.
    fn unseen(self, verb: &'static str, resource: &str) -> Unseen {
        let lacks_right = self.message.contains(&format!(" cannot {verb} resource "));
        if self.forbidden && (lacks_right || verb == verbs::LIST) {
            let said = (!lacks_right).then_some(self.message);
            return Unseen::Forbidden { verb, resource: resource.to_owned(), said };
        }
        Unseen::Failed(format!("{resource}: {}", self.message))
    }
}

/// Looks at everything that must not stand in a Namespace that is taken over: one that was kept as a research namespace, or
/// any other. The volumes are those that are listed for research namespaces.
pub async fn inspect(requests: &Requests, namespace: &str, retained: bool, volumes: &[String]) -> Inspection {
    let mut look = Look { requests, namespace, found: Inspection::default() };
    look.at_children(Child::NetworkPolicy).await;
    look.at_children::<RoleBinding>(Child::RoleBinding).await;
    look.at_children::<Role>(Child::Role).await;
    look.at_children::<ResourceQuota>(Child::ResourceQuota).await;
    look.at_children::<LimitRange>(Child::LimitRange).await;
    look.at_children::<ServiceAccount>(Child::ServiceAccount).await;
    look.at_children::<GrantMount>(|mount| Child::GrantMount(Box::new(mount))).await;
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
    async fn at_children<K>(&mut self, child: impl Fn(K) -> Child)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.requests.client(), self.namespace);
        for object in self.all(&api, &resource(&K::plural(&()), &K::group(&()))).await {
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
            Err(error) => {
                let unseen = Unseen::Failed(format!("which kinds there are: {}", error.message));
                return self.found.unseen.push(unseen);
            }
        };
        for group in discovery.groups().filter(|group| group.name() != "networking.k8s.io") {
            for (kind, capabilities) in group.recommended_resources() {
                let supports = |verb: &str| capabilities.supports_operation(verb);
                if capabilities.scope != Scope::Namespaced || !may_be_policies(&kind.plural, supports) {
                    continue;
                }
                if kind.kind == "CiliumNetworkPolicy" && kind.group == "cilium.io" {
                    let cilium = |policy| Child::CiliumNetworkPolicy(Box::new(policy));
                    self.at_children::<CiliumNetworkPolicy>(cilium).await;
                    continue;
                }
                let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), self.namespace, &kind);
                let found = self.all(&api, &resource(&kind.plural, &kind.group)).await;
                self.others(&kind.kind, found.iter().map(ResourceExt::name_any));
            }
        }
    }

    /// What runs, makes what runs, or leads to it: none of it was asked by an admission policy. Of a claim it is its data
    /// that matters, which may be another team's.
    async fn at_workloads(&mut self, volumes: &[String]) {
        let client = self.requests.client();
        let pods: Api<GatedPod> = Api::namespaced(client.clone(), self.namespace);
        let all = self.all(&pods, "pods").await;
        self.others("Pod", all.iter().filter(|pod| !pod.has_ended()).map(ResourceExt::name_any));
        for (group, version, kind, plural) in NONE_OF {
            let known = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
            let api: Api<PartialObjectMeta<DynamicObject>> =
                Api::namespaced_with(client.clone(), self.namespace, &known);
            let all = self.all(&api, &resource(plural, group)).await;
            self.others(kind, all.iter().map(ResourceExt::name_any));
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, self.namespace);
        let all = self.all(&claims, "persistentvolumeclaims").await;
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
            Err(error) => match error.message.split_once(FOUND) {
                Some((_, name)) => self.others("Secret", [name.to_owned()].into_iter()),
                None => self.found.unseen.push(error.unseen(verbs::DELETE_COLLECTION, "secrets")),
            },
        }
    }

    /// All objects of a kind, page by page.
    async fn all<K: Clone + Debug + DeserializeOwned>(&mut self, api: &Api<K>, resource: &str) -> Vec<K> {
        let mut all = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            match self.request(api.list(&params)).await {
                Ok(page) => {
                    params.continue_token = page.metadata.continue_.clone().filter(|more| !more.is_empty());
                    all.extend(page.items);
                }
                Err(error) => {
                    self.found.unseen.push(error.unseen(verbs::LIST, resource));
                    return all;
                }
            }
            if params.continue_token.is_none() {
                return all;
            }
            if all.len() > MOST {
                self.found.unseen.push(Unseen::Failed(format!("{resource}: there are more than {MOST}")));
                return all;
            }
        }
    }

    async fn request<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        let _permit = self.requests.permit().await;
        let (forbidden, message) = match tokio::time::timeout(LIMIT, request).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(kube::Error::Api(status))) => (status.is_forbidden(), status.message.clone()),
            Ok(Err(error)) => (false, error.to_string()),
            Err(_) => (false, format!("no answer within {LIMIT:?}")),
        };
        Err(Failure { forbidden, message })
    }
}

/// A kind as RBAC and kubectl name it.
fn resource(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server says if it does not let somebody do something.
    fn refused(message: &str) -> Failure {
        Failure { forbidden: true, message: message.to_owned() }
    }

    #[test]
    fn a_right_that_is_missing_is_told_apart_from_what_passes() {
        let user = "User \"system:serviceaccount:cloister-system:cloister-operator\"";
        let list = refused(&format!("x.y is forbidden: {user} cannot list resource \"x\" in API group \"y\""));
        let forbidden = |said: Option<&str>| Unseen::Forbidden {
            verb: "list",
            resource: "x.y".to_owned(),
            said: said.map(str::to_owned),
        };
        assert_eq!(list.unseen(verbs::LIST, "x.y"), forbidden(None));
        // An API server of a plugin has reasons of its own.
        let tiers = "x.y is forbidden: operation on Calico tiered policy is forbidden";
        assert_eq!(refused(tiers).unseen(verbs::LIST, "x.y"), forbidden(Some(tiers)));

        let right = format!("secrets is forbidden: {user} cannot deletecollection resource \"secrets\"");
        let told = refused(&right).unseen(verbs::DELETE_COLLECTION, "secrets");
        assert!(matches!(told, Unseen::Forbidden { verb: "deletecollection", said: None, .. }), "{told:?}");
        // Admission has not seen the label of the Namespace yet.
        let early = "secrets \"a\" is forbidden: denied request: the operator cannot delete Secrets as a collection";
        let told = refused(early).unseen(verbs::DELETE_COLLECTION, "secrets");
        assert_eq!(told, Unseen::Failed(format!("secrets: {early}")));

        let late = Failure { forbidden: false, message: "no answer within 10s".to_owned() };
        assert_eq!(late.unseen(verbs::LIST, "pods"), Unseen::Failed("pods: no answer within 10s".to_owned()));
        assert_eq!([resource("pods", ""), resource("jobs", "batch")], ["pods", "jobs.batch"]);
    }
}
