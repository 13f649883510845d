//! What comes to members by the labels of ClusterRoles.

use crate::support::*;
use anyhow::{Result, ensure};
use cloister_tests::{assert_denied, cluster, eventually, unique};
use k8s_openapi::api::rbac::v1::{ClusterRole, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const POLICY: &str = "member-roles.cloister.dev";

fn role(name: &str, to: &str, rules: &Value) -> ClusterRole {
    let labels = json!({format!("cloister.dev/aggregate-to-{to}"): "true"});
    object(json!({"metadata": {"name": name, "labels": labels}, "rules": rules}))
}

fn rule(group: &str, resource: &str, verbs: &[&str]) -> Value {
    json!([{"apiGroups": [group], "resources": [resource], "verbs": verbs}])
}

#[tokio::test]
async fn members_get_by_label_what_is_harmless_and_nothing_that_is_kept_closed() -> Result<()> {
    let roles: Api<ClusterRole> = Api::all(cluster().await.admin().await?);
    let name = unique("labelled");
    let all = ["get", "list", "watch", "create", "update", "patch", "delete"];
    for harmless in [
        rule("ray.io", "rayclusters", &all),
        rule("kubeflow.org", "pytorchjobs", &all),
        rule("batch", "jobs", &all),
        rule("argoproj.io", "workflows", &all),
        rule("kueue.x-k8s.io", "localqueues", &["get", "list"]),
        rule("sparkoperator.k8s.io", "sparkapplications", &all),
        rule("ray.io", "rayclusters/scale", &["get", "patch"]),
        rule("ray.io", "rayclusters/status", &["get"]),
        rule("bitnami.com", "sealedsecrets", &["get"]),
        rule("", "configmaps", &all),
        rule("", "serviceaccounts", &["get"]),
        rule("cloister.dev", "egressgrants", &["create"]),
    ] {
        for to in ["researcher", "owner"] {
            roles.create(&dry_run(), &role(&name, to, &harmless)).await?;
        }
    }
    for closed in [
        rule("", "secrets", &["get"]),
        rule("", "secrets", &["list"]),
        rule("", "serviceaccounts/token", &["create"]),
        rule("", "serviceaccounts", &["create"]),
        rule("", "serviceaccounts", &["impersonate"]),
        rule("", "users", &["impersonate"]),
        rule("authentication.k8s.io", "uids", &["impersonate:user-info"]),
        rule("", "pods/exec", &["create"]),
        rule("", "pods/exec", &["get"]),
        rule("", "pods/attach", &["create"]),
        rule("", "pods/portforward", &["create"]),
        rule("", "pods/ephemeralcontainers", &["patch"]),
        rule("", "pods/binding", &["create"]),
        rule("", "pods/eviction", &["create"]),
        rule("", "services/proxy", &["get"]),
        rule("", "nodes/proxy", &["get"]),
        rule("", "namespaces", &["patch"]),
        rule("", "resourcequotas", &["delete"]),
        rule("", "endpoints", &["update"]),
        rule("", "*", &["get"]),
        rule("*", "pods", &["get"]),
        rule("", "pods", &["*"]),
        rule("", "pods/*", &["get"]),
        rule("apps", "daemonsets", &["create"]),
        rule("policy", "poddisruptionbudgets", &["create"]),
        rule("rbac.authorization.k8s.io", "rolebindings", &["create"]),
        rule("rbac.authorization.k8s.io", "clusterroles", &["bind"]),
        rule("networking.k8s.io", "networkpolicies", &["delete"]),
        rule("networking.k8s.io", "ingresses", &["create"]),
        rule("policy.example.com", "globalnetworkpolicies", &["create"]),
        rule("gateway.networking.k8s.io", "httproutes", &["create"]),
        rule("networking.istio.io", "virtualservices", &["create"]),
        rule("discovery.k8s.io", "endpointslices", &["create"]),
        rule("external-secrets.io", "externalsecrets", &["create"]),
        rule("certificates.k8s.io", "certificatesigningrequests", &["create"]),
        rule("admissionregistration.k8s.io", "validatingadmissionpolicies", &["delete"]),
        // Those that are like one of the above.
        rule("", "pods/status", &["patch"]),
        rule("", "services/status", &["patch"]),
        rule("", "pods/resize", &["patch"]),
        rule("", "events", &["create"]),
        rule("ray.io", "rayclusters/status", &["patch"]),
        rule("ray.io", "rayclusters/finalizers", &["update"]),
        rule("bitnami.com", "sealedsecrets", &["create"]),
        rule("secrets.hashicorp.com", "vaultstaticsecrets", &["create"]),
        rule("traefik.io", "ingressroutes", &["create"]),
        rule("multicluster.x-k8s.io", "serviceexports", &["create"]),
        rule("k8s.ovn.org", "egressfirewalls", &["create"]),
        rule("k8s.cni.cncf.io", "network-attachment-definitions", &["create"]),
        rule("subresources.kubevirt.io", "virtualmachineinstances/console", &["get"]),
        rule("argoproj.io", "applications", &["create"]),
        rule("helm.toolkit.fluxcd.io", "helmreleases", &["create"]),
        rule("kyverno.io", "policies", &["create"]),
        rule("new.k8s.io", "anything", &["create"]),
        rule("cloister.dev", "accessreviews", &["delete"]),
        rule("cloister.dev", "accesspolicies", &["create"]),
        rule("cloister.dev", "grantmounts", &["create"]),
        rule("cloister.dev", "storageaccessgrants/status", &["patch"]),
        json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
    ] {
        for to in ["researcher", "owner", "viewer"] {
            assert_denied(roles.create(&dry_run(), &role(&name, to, &closed)).await, POLICY);
        }
        // Without the label it is nobody's business, until it is labelled.
        let plain = object(json!({"metadata": {"name": name}, "rules": closed}));
        roles.create(&create(), &plain).await?;
        let label = json!({"metadata": {"labels": {"cloister.dev/aggregate-to-researcher": "true"}}});
        assert_denied(merge(&roles, &name, label).await, POLICY);
        roles.delete(&name, &delete()).await?;
    }
    assert_denied(roles.create(&dry_run(), &role(&name, "viewer", &rule("ray.io", "rayclusters", &all))).await, POLICY);
    // Nor straight away, where the label would have been.
    for shipped in ["cloister:viewer", "cloister:researcher", "cloister:owner", "cloister:members:researcher"] {
        let more = json!({"rules": rule("", "secrets", &["get"])});
        assert_denied(merge(&roles, shipped, more).await, POLICY);
    }
    Ok(())
}

/// What members may be given of Kubernetes' own kinds: nothing, reading, or everything. Each is decided on purpose, so that
/// what a later version brings is.
const CLOSED: &[(&str, &str)] = &[
    (
        "",
        "bindings namespaces/finalize nodes nodes/proxy nodes/status pods/attach pods/binding \
         pods/ephemeralcontainers pods/eviction pods/exec pods/portforward pods/proxy pods/resize secrets \
         serviceaccounts/token services/proxy",
    ),
    ("certificates.k8s.io", "certificatesigningrequests/approval"),
];
const READ: &[(&str, &str)] = &[
    (
        "",
        "componentstatuses endpoints events limitranges namespaces namespaces/status \
         persistentvolumeclaims/status persistentvolumes persistentvolumes/status pods/log pods/status \
         replicationcontrollers/status resourcequotas resourcequotas/status serviceaccounts \
         services/status",
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies mutatingadmissionpolicybindings mutatingwebhookconfigurations \
         validatingadmissionpolicies validatingadmissionpolicies/status validatingadmissionpolicybindings \
         validatingwebhookconfigurations",
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions customresourcedefinitions/status"),
    ("apiregistration.k8s.io", "apiservices apiservices/status"),
    (
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments/status replicasets/status \
         statefulsets/status",
    ),
    ("authentication.k8s.io", "selfsubjectreviews tokenreviews"),
    (
        "authorization.k8s.io",
        "localsubjectaccessreviews selfsubjectaccessreviews selfsubjectrulesreviews subjectaccessreviews",
    ),
    ("autoscaling", "horizontalpodautoscalers/status"),
    ("batch", "cronjobs/status jobs/status"),
    (
        "certificates.k8s.io",
        "certificatesigningrequests certificatesigningrequests/status clustertrustbundles \
         podcertificaterequests podcertificaterequests/status",
    ),
    ("discovery.k8s.io", "endpointslices"),
    ("events.k8s.io", "events"),
    (
        "flowcontrol.apiserver.k8s.io",
        "flowschemas flowschemas/status prioritylevelconfigurations prioritylevelconfigurations/status",
    ),
    (
        "networking.k8s.io",
        "ingressclasses ingresses ingresses/status ipaddresses networkpolicies servicecidrs \
         servicecidrs/status",
    ),
    ("node.k8s.io", "runtimeclasses"),
    ("policy", "poddisruptionbudgets poddisruptionbudgets/status"),
    ("rbac.authorization.k8s.io", "clusterrolebindings clusterroles rolebindings roles"),
    ("resource.k8s.io", "deviceclasses devicetaintrules devicetaintrules/status resourceclaims/status resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
    (
        "storage.k8s.io",
        "csidrivers csinodes csinodes/status csistoragecapacities storageclasses volumeattachments \
         volumeattachments/status volumeattributesclasses",
    ),
    ("storagemigration.k8s.io", "storageversionmigrations storageversionmigrations/status"),
];
const WRITTEN: &[(&str, &str)] = &[
    (
        "",
        "configmaps persistentvolumeclaims pods podtemplates replicationcontrollers \
         replicationcontrollers/scale services",
    ),
    ("apps", "deployments deployments/scale replicasets replicasets/scale statefulsets statefulsets/scale"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs jobs"),
    ("coordination.k8s.io", "leases"),
    ("resource.k8s.io", "resourceclaims resourceclaimtemplates"),
];

/// Everything that the API server has of its own, with its subresources.
async fn discovered(client: &Client) -> Result<BTreeSet<(String, String)>> {
    let mut lists = Vec::new();
    for version in client.list_core_api_versions().await?.versions {
        lists.push((String::new(), client.list_core_api_resources(&version).await?));
    }
    let is_own = |group: &str| !group.contains('.') || (group.ends_with(".k8s.io") && !group.ends_with(".x-k8s.io"));
    let groups: Vec<_> =
        client.list_api_groups().await?.groups.into_iter().filter(|group| is_own(&group.name)).collect();
    for group in groups {
        for version in &group.versions {
            // One that another test takes away meanwhile is none of Kubernetes'.
            if let Ok(list) = client.list_api_group_resources(&version.group_version).await {
                lists.push((group.name.clone(), list));
            }
        }
    }
    let defined = Api::<CustomResourceDefinition>::all(client.clone()).list(&ListParams::default()).await?;
    let defined: BTreeSet<String> = defined.items.into_iter().map(|definition| definition.spec.group).collect();
    let own = lists.into_iter().filter(|(group, _)| !defined.contains(group));
    Ok(own
        .flat_map(|(group, list)| list.resources.into_iter().map(move |resource| (group.clone(), resource.name)))
        .collect())
}

#[tokio::test]
async fn each_of_kubernetes_own_kinds_is_decided_about() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let name = unique("decided");
    let mut decided = BTreeSet::new();
    for (table, reads, writes) in [(CLOSED, false, false), (READ, true, false), (WRITTEN, true, true)] {
        for (group, resources) in table {
            for resource in resources.split_whitespace() {
                assert!(
                    decided.insert(((*group).to_owned(), resource.to_owned())),
                    "{group}/{resource} is there twice"
                );
                for (verbs, admitted) in
                    [(&["get", "list", "watch"][..], reads), (&["create", "patch", "delete"], writes)]
                {
                    let answer =
                        roles.create(&dry_run(), &role(&name, "researcher", &rule(group, resource, verbs))).await;
                    if admitted {
                        answer?;
                    } else {
                        assert_denied(answer, POLICY);
                    }
                }
            }
        }
    }
    assert_eq!(discovered(&admin).await?, decided);
    Ok(())
}

#[tokio::test]
async fn researchers_make_what_a_labelled_role_lets_them_make() -> Result<()> {
    let (admin, operator) = (cluster().await.admin().await?, cluster().await.operator().await?);
    let ns = research_namespace(&operator, "ray").await?;
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    let binding: RoleBinding = object(json!({
        "metadata": {"name": "cloister-owners"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cloister:owner"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": ns}],
    }));
    Api::namespaced(operator, &ns).create(&create(), &binding).await?;
    let client = cluster().await.client_for(&ns, &[]).await?;
    let leases =
        kube::api::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("coordination.k8s.io", "v1", "Lease"));
    let leases: Api<DynamicObject> = Api::namespaced_with(client, &ns, &leases);
    let lease = object::<DynamicObject>(
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "a"}}),
    );
    ensure!(leases.create(&dry_run(), &lease).await.is_err(), "nobody gave it to them");
    let more = role(&ns, "researcher", &rule("coordination.k8s.io", "leases", &["create"]));
    roles.create(&create(), &more).await?;
    eventually("the role to come to owners", async || Ok(leases.create(&dry_run(), &lease).await?)).await?;
    roles.delete(&ns, &delete()).await?;
    eventually("it to go again", async || {
        ensure!(leases.create(&dry_run(), &lease).await.is_err());
        Ok(())
    })
    .await
}
