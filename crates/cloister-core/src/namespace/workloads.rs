//! What a pod that is there already has, and no research namespace admits.
//!
//! Admission asks this of every new pod: Pod Security at its level restricted, and the policies of Cloister. A Namespace
//! that is taken over has pods that nobody has asked. What is not known to be allowed is an objection.

use cloister_api::labels;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EphemeralContainer, Lifecycle, LifecycleHandler, Pod, PodSpec, Probe,
    SecurityContext, Volume,
};
use serde_json::Value;

/// The sysctls that every pod may set.
const SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// The fields of a volume that any pod may have, beside its name.
const VOLUMES: [&str; 9] = [
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a namespace asks of its pods beyond what all do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands<'a> {
    /// The RuntimeClass that every pod must name.
    pub runtime_class: Option<&'a str>,
    /// Whether pods of an account may have the copies of credentials that are named after it: they got them by a grant.
    pub own_credentials: bool,
}

/// Whether a pod has run to its end: it sends nothing and holds nothing.
pub fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Why no research namespace would admit this pod; nothing where one would.
pub fn objections(pod: &Pod, demands: Demands<'_>) -> Vec<&'static str> {
    let Some(spec) = &pod.spec else { return vec!["no spec"] };
    let mut found = Vec::new();
    let mut object = |holds: bool, to: &'static str| {
        if holds && !found.contains(&to) {
            found.push(to);
        }
    };
    object(spec.host_network == Some(true), "hostNetwork");
    object(spec.host_pid == Some(true), "hostPID");
    object(spec.host_ipc == Some(true), "hostIPC");
    object(spec.volumes.iter().flatten().any(|volume| !is_plain(volume)), "a volume of the node or of another kind");
    object(!sysctls_are_safe(spec), "unsafe sysctls");
    object(is_of_node(pod), "made by a node");
    object(
        demands.runtime_class.is_some_and(|class| spec.runtime_class_name.as_deref() != Some(class)),
        "runtimeClassName",
    );
    object(names_a_copy(spec, demands), "names a Secret cloister-grant-*");
    let pod_wide = PodWide::of(spec);
    for container in containers(spec) {
        let context = container.context.cloned().unwrap_or_default();
        object(context.privileged == Some(true), "privileged");
        object(context.allow_privilege_escalation != Some(false), "allowPrivilegeEscalation");
        object(!drops_all(context.capabilities.as_ref()), "capabilities");
        object(!context.run_as_non_root.unwrap_or(pod_wide.run_as_non_root), "runAsNonRoot");
        object(context.run_as_user.or(pod_wide.run_as_user) == Some(0), "runAsUser 0");
        object(context.proc_mount.as_deref().is_some_and(|mount| mount != "Default"), "procMount");
        let seccomp = context.seccomp_profile.as_ref().map(|profile| profile.type_.as_str()).or(pod_wide.seccomp);
        object(!matches!(seccomp, Some("RuntimeDefault" | "Localhost")), "seccompProfile");
        object(container.ports.iter().any(|port| port.host_port.is_some_and(|port| port != 0)), "hostPort");
        object(container.asks_another_host(), "a probe of another host");
        object(
            is_odd(&serde_json::to_value(&context).unwrap_or_default()),
            "seLinuxOptions, appArmorProfile or hostProcess",
        );
    }
    let pod_context = serde_json::to_value(&spec.security_context).unwrap_or_default();
    object(is_odd(&pod_context), "seLinuxOptions, appArmorProfile or hostProcess");
    let unconfined = |(key, value): (&String, &String)| key.starts_with("container.apparmor.") && value == "unconfined";
    object(pod.metadata.annotations.iter().flatten().any(unconfined), "seLinuxOptions, appArmorProfile or hostProcess");
    found
}

/// What a pod says for all its containers.
struct PodWide<'a> {
    run_as_non_root: bool,
    run_as_user: Option<i64>,
    seccomp: Option<&'a str>,
}

impl<'a> PodWide<'a> {
    fn of(spec: &'a PodSpec) -> Self {
        let context = spec.security_context.as_ref();
        PodWide {
            run_as_non_root: context.and_then(|context| context.run_as_non_root).unwrap_or_default(),
            run_as_user: context.and_then(|context| context.run_as_user),
            seccomp: context.and_then(|context| Some(context.seccomp_profile.as_ref()?.type_.as_str())),
        }
    }
}

/// A container of any sort.
struct AnyContainer<'a> {
    context: Option<&'a SecurityContext>,
    ports: &'a [ContainerPort],
    probes: [Option<&'a Probe>; 3],
    lifecycle: Option<&'a Lifecycle>,
}

impl AnyContainer<'_> {
    fn asks_another_host(&self) -> bool {
        let by_probe = self.probes.iter().flatten().any(|probe| {
            let http = probe.http_get.as_ref().and_then(|get| get.host.as_ref());
            let tcp = probe.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref());
            http.into_iter().chain(tcp).any(|host| !host.is_empty())
        });
        let by_hook = |hook: &LifecycleHandler| {
            let http = hook.http_get.as_ref().and_then(|get| get.host.as_ref());
            let tcp = hook.tcp_socket.as_ref().and_then(|socket| socket.host.as_ref());
            http.into_iter().chain(tcp).any(|host| !host.is_empty())
        };
        let hooks = self.lifecycle.into_iter().flat_map(|all| all.post_start.iter().chain(&all.pre_stop));
        by_probe || hooks.into_iter().any(by_hook)
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = AnyContainer<'_>> {
    let usual = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    usual.map(of_container).chain(spec.ephemeral_containers.iter().flatten().map(of_ephemeral))
}

fn of_container(container: &Container) -> AnyContainer<'_> {
    AnyContainer {
        context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        probes: [
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
            container.startup_probe.as_ref(),
        ],
        lifecycle: container.lifecycle.as_ref(),
    }
}

fn of_ephemeral(container: &EphemeralContainer) -> AnyContainer<'_> {
    AnyContainer {
        context: container.security_context.as_ref(),
        ports: container.ports.as_deref().unwrap_or_default(),
        probes: [
            container.liveness_probe.as_ref(),
            container.readiness_probe.as_ref(),
            container.startup_probe.as_ref(),
        ],
        lifecycle: container.lifecycle.as_ref(),
    }
}

fn is_plain(volume: &Volume) -> bool {
    let fields = serde_json::to_value(volume).unwrap_or_default();
    fields.as_object().is_some_and(|fields| fields.keys().all(|field| VOLUMES.contains(&field.as_str())))
}

fn drops_all(capabilities: Option<&Capabilities>) -> bool {
    capabilities.is_some_and(|capabilities| {
        capabilities.drop.iter().flatten().any(|dropped| dropped == "ALL")
            && capabilities.add.iter().flatten().all(|added| added == "NET_BIND_SERVICE")
    })
}

fn sysctls_are_safe(spec: &PodSpec) -> bool {
    let set = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    set.into_iter().flatten().all(|sysctl| SYSCTLS.contains(&sysctl.name.as_str()))
}

/// Whether a node made it from a file of its own: nobody else can end it.
fn is_of_node(pod: &Pod) -> bool {
    let mirrored = |key: &String| key == "kubernetes.io/config.mirror";
    pod.metadata.annotations.iter().flatten().any(|(key, _)| mirrored(key))
        || pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "Node")
}

/// Whether a security context has what Pod Security refuses of SELinux, AppArmor and Windows.
fn is_odd(context: &Value) -> bool {
    let text = |at: &str| context.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let selinux = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    !selinux.contains(&text("/seLinuxOptions/type"))
        || !text("/seLinuxOptions/user").is_empty()
        || !text("/seLinuxOptions/role").is_empty()
        || text("/appArmorProfile/type") == "Unconfined"
        || context.pointer("/windowsOptions/hostProcess") == Some(&Value::Bool(true))
}

/// Whether a pod names the copy of a credential, in any field: it would have it as soon as there is one.
fn names_a_copy(spec: &PodSpec, demands: Demands<'_>) -> bool {
    let account = spec.service_account_name.as_deref().unwrap_or_default();
    let is_own = |name: &str| demands.own_credentials && name.split('.').skip(2).eq([account]);
    let value = serde_json::to_value(spec).unwrap_or_default();
    any_text(&value, &|text| text.starts_with(labels::GRANT_SECRET_PREFIX) && !is_own(text))
}

fn any_text(value: &Value, holds: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => holds(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, holds)),
        Value::Object(fields) => fields.values().any(|field| any_text(field, holds)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A pod that the restricted Pod Security Standard admits, with this at a place of its spec.
    fn pod(pointer: &str, value: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "pod"},
            "spec": {
                "serviceAccountName": "trainer",
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "main", "image": "i",
                    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                }],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        });
        if let Some((parent, key)) = pointer.rsplit_once('/') {
            let parent = pod.pointer_mut(parent).expect("the parent is there");
            match parent {
                Value::Array(items) => items.push(value.clone()),
                parent => parent[key] = value.clone(),
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_restricted_pod_is_admitted() {
        assert_eq!(objections(&pod("", &Value::Null), Demands::default()), [] as [&str; 0]);
        let secret = json!({"name": "s", "secret": {"secretName": "theirs"}});
        assert_eq!(objections(&pod("/spec/volumes/-", &secret), Demands::default()), [] as [&str; 0]);
        let bind = json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]});
        let pod = pod("/spec/containers/0/securityContext/capabilities", &bind);
        assert_eq!(objections(&pod, Demands::default()), [] as [&str; 0]);
    }

    #[test]
    fn what_no_research_namespace_admits_is_named() {
        let container = "/spec/containers/0";
        let debug = json!({"name": "debug", "image": "i", "securityContext": {"privileged": true}});
        for (at, value, expected) in [
            ("/spec/hostNetwork".to_owned(), json!(true), "hostNetwork"),
            ("/spec/hostPID".to_owned(), json!(true), "hostPID"),
            ("/spec/hostIPC".to_owned(), json!(true), "hostIPC"),
            ("/spec/securityContext/runAsNonRoot".to_owned(), json!(false), "runAsNonRoot"),
            ("/spec/securityContext/runAsUser".to_owned(), json!(0), "runAsUser 0"),
            ("/spec/securityContext/seccompProfile".to_owned(), json!({"type": "Unconfined"}), "seccompProfile"),
            (
                "/spec/securityContext/sysctls".to_owned(),
                json!([{"name": "kernel.msgmax", "value": "1"}]),
                "unsafe sysctls",
            ),
            (format!("{container}/securityContext/privileged"), json!(true), "privileged"),
            (format!("{container}/securityContext/allowPrivilegeEscalation"), Value::Null, "allowPrivilegeEscalation"),
            (
                format!("{container}/securityContext/capabilities"),
                json!({"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
                "capabilities",
            ),
            (format!("{container}/securityContext/procMount"), json!("Unmasked"), "procMount"),
            (
                format!("{container}/securityContext/seLinuxOptions"),
                json!({"type": "spc_t"}),
                "seLinuxOptions, appArmorProfile or hostProcess",
            ),
            (format!("{container}/ports"), json!([{"containerPort": 80, "hostPort": 80}]), "hostPort"),
            (
                format!("{container}/livenessProbe"),
                json!({"tcpSocket": {"port": 80, "host": "10.0.0.1"}}),
                "a probe of another host",
            ),
            (
                format!("{container}/lifecycle"),
                json!({"preStop": {"httpGet": {"port": 80, "host": "10.0.0.1"}}}),
                "a probe of another host",
            ),
            ("/spec/ephemeralContainers".to_owned(), json!([debug]), "privileged"),
            ("/spec/initContainers".to_owned(), json!([debug]), "privileged"),
            (
                "/spec/volumes/-".to_owned(),
                json!({"name": "h", "hostPath": {"path": "/"}}),
                "a volume of the node or of another kind",
            ),
            (
                "/spec/volumes/-".to_owned(),
                json!({"name": "h", "nfs": {"path": "/", "server": "s"}}),
                "a volume of the node or of another kind",
            ),
            (
                "/spec/volumes/-".to_owned(),
                json!({"name": "h", "secret": {"secretName": "cloister-grant-w.r.trainer"}}),
                "names a Secret cloister-grant-*",
            ),
            (
                format!("{container}/envFrom"),
                json!([{"secretRef": {"name": "cloister-grant-w.r.other"}}]),
                "names a Secret cloister-grant-*",
            ),
            ("/metadata/annotations".to_owned(), json!({"kubernetes.io/config.mirror": "x"}), "made by a node"),
        ] {
            let found = objections(&pod(&at, &value), Demands::default());
            assert!(found.contains(&expected), "{at}: {found:?}");
        }
    }

    #[test]
    fn a_namespace_may_demand_more() {
        let gvisor = Demands { runtime_class: Some("gvisor"), own_credentials: false };
        assert_eq!(objections(&pod("", &Value::Null), gvisor), ["runtimeClassName"]);
        assert_eq!(objections(&pod("/spec/runtimeClassName", &json!("gvisor")), gvisor), [] as [&str; 0]);
        // In one that was a research namespace, pods have what was theirs.
        let retained = Demands { runtime_class: None, own_credentials: true };
        let of =
            |account: &str| json!({"name": "s", "secret": {"secretName": format!("cloister-grant-w.r.{account}")}});
        assert_eq!(objections(&pod("/spec/volumes/-", &of("trainer")), retained), [] as [&str; 0]);
        assert_eq!(objections(&pod("/spec/volumes/-", &of("other")), retained), ["names a Secret cloister-grant-*"]);
    }
}
