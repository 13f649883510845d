//! What happens to grants over time.

use super::{
    grants::{Pod, Shared, Shelf, Spec, World, reference, secret_of},
    tamper::{TAMPERING, tamper},
};
use cloister_api::*;
use cloister_core::{
    grant::Home,
    model::child::{Child, names::name_of_opened},
};
use jiff::SignedDuration;
use k8s_openapi::{
    api::{
        networking::v1::NetworkPolicy,
        rbac::v1::{Role, RoleBinding},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The names of all grants.
pub const NAMES: [&str; 5] = ["a", "b", "c", "role/a", "egress/a"];

#[derive(Clone, Debug)]
pub enum Event {
    Ask(usize, Value, i64),
    Pass(i64),
    Storage(&'static str),
    Policy(&'static str),
    Credential(Option<u32>),
    Delete(usize),
    /// Somebody takes the finalizer off a grant, and it is gone.
    Force(usize),
    Readable(usize, bool),
    /// Somebody with the operator's token writes something else into the status of a grant.
    Tamper(usize, usize),
    /// Something stands in the name of a grant that the operator has not put there.
    Forge(usize, usize, usize),
    Home(Home),
    Usable(bool),
    /// Whether the clocks disagree.
    Skew(bool),
    /// A pod of the account starts, and holds its credentials in a form that the kubelet empties, or not.
    PodStarts(&'static str, bool),
    /// The owners of all pods delete them, with a long grace.
    PodsLinger,
    PodsEnd,
    /// The watch of pods says nothing any more, or says what it missed.
    Silence(bool),
    /// Somebody else's finalizer holds what stands, or holds it no more.
    Hold(bool),
    /// The operator works on a grant, and is cut off after so many actions.
    Work(usize, usize),
    Sweep(usize),
}

pub fn storage(kind: &str) -> Shelf<StorageResource> {
    let credential = json!({"secretRef": {"namespace": "cloister-credentials", "name": "weights"}});
    let role = |name: &str, credential: Value| json!({"name": name, "accessPolicy": "standard", "clusterRole": "cloister:storage-reader", "credential": credential});
    let spec = |roles: Value| {
        let endpoint = json!({"service": {"namespace": "infra", "name": "cache"}, "ports": [{"port": 80}]});
        let spec = serde_json::from_value(json!({"sensitivity": "Low", "endpoint": endpoint, "roles": roles})).unwrap();
        let mut storage = StorageResource::new("weights", spec);
        storage.metadata.uid = Some("uid-weights".to_owned());
        Shelf::Read(Shared::new(storage))
    };
    match kind {
        "full" => spec(json!([role("reader", credential)])),
        "bare" => spec(json!([role("reader", Value::Null)])),
        "other" => spec(json!([role("writer", credential)])),
        "undecodable" => Shelf::Undecodable,
        _ => Shelf::Absent,
    }
}

pub fn policy(kind: &str) -> Shelf<AccessPolicy> {
    let spec = |auto: Value| {
        let people = json!([{"name": "security", "required": 1, "approvers": [{"kind": "Group", "name": "security"}]}]);
        let requesters = json!([{"kind": "Group", "name": "researchers"}, {"kind": "ServiceAccount", "namespace": "flux", "name": "sync"}]);
        let spec = json!({
            "requesters": requesters, "approvalRules": people, "autoApprove": auto,
            "maxDuration": "1000s", "pendingRequestTTL": "800s",
        });
        let mut policy = AccessPolicy::new("standard", serde_json::from_value(spec).unwrap());
        policy.metadata.uid = Some("uid-standard".to_owned());
        Shelf::Read(Shared::new(policy))
    };
    match kind {
        "auto" => spec(json!(["request.storage == 'weights'"])),
        "people" => spec(json!([])),
        "undecodable" => Shelf::Undecodable,
        _ => Shelf::Absent,
    }
}

/// A request of somebody who may ask, or not, with what every kind needs.
pub fn request() -> impl Strategy<Value = Value> {
    let mount = prop::sample::select(vec![
        json!({"serviceAccountName": "trainer", "mountPath": "/mnt/weights"}),
        json!({"serviceAccountName": "trainer", "mountPath": "/mnt/weights"}),
        json!({"serviceAccountName": "trainer", "mountPath": "/mnt/other"}),
        json!({"serviceAccountName": "eval", "mountPath": "/mnt/weights"}),
        Value::Null,
    ]);
    let who = prop::sample::select(vec![
        json!({"username": "alice", "groups": ["researchers"]}),
        json!({"username": "alice", "groups": ["researchers"]}),
        json!({"username": "alice", "groups": ["researchers"]}),
        json!({"username": "mallory", "groups": ["guests"]}),
        json!({"username": "system:serviceaccount:flux:sync", "groups": ["researchers"]}),
        Value::Null,
    ]);
    (mount, who, 1..11_u32, prop::sample::select(vec!["Terminate", "Empty"])).prop_map(
        |(mount, who, duration, on_expiry)| {
            json!({
                "rule": {"name": "lab", "networks": ["203.0.113.0/24"], "ports": [{"port": 443}]},
                "storage": "weights", "mount": mount, "requestedBy": who, "onExpiry": on_expiry,
                "requestedDuration": format!("{}s", duration * 100),
                "subjects": [{"kind": "ServiceAccount", "name": "trainer"}, {"kind": "ServiceAccount", "name": "eval"}],
            })
        },
    )
}

pub fn event() -> impl Strategy<Value = Event> {
    let of = 0..NAMES.len();
    let storage = prop::sample::select(vec!["full", "full", "full", "bare", "bare", "other", "undecodable", "gone"]);
    let policy = prop::sample::select(vec!["auto", "auto", "auto", "people", "undecodable", "gone"]);
    let home = prop::sample::select(vec![Home::Enforced, Home::Enforced, Home::NotEnforced, Home::Closed]);
    let budget = prop_oneof![3 => Just(usize::MAX), 2 => 0..6_usize];
    prop_oneof![
        12 => (of.clone(), budget).prop_map(|(grant, budget)| Event::Work(grant, budget)),
        6 => (of.clone(), request(), -2..4_i64).prop_map(|(grant, spec, start)| Event::Ask(grant, spec, start)),
        4 => (1..400_i64).prop_map(Event::Pass),
        3 => (prop::sample::select(vec!["trainer", "eval"]), prop::bool::weighted(0.3))
            .prop_map(|(account, lasting)| Event::PodStarts(account, lasting)),
        1 => any::<bool>().prop_map(Event::Silence),
        1 => Just(Event::PodsLinger),
        1 => Just(Event::PodsEnd),
        1 => storage.prop_map(Event::Storage),
        1 => policy.prop_map(Event::Policy),
        1 => prop::sample::select(vec![Some(1), Some(1), Some(2), None]).prop_map(Event::Credential),
        2 => of.clone().prop_map(Event::Delete),
        1 => of.clone().prop_map(Event::Force),
        1 => (of.clone(), 0..4_usize, 0..3_usize).prop_map(|(grant, kind, owner)| Event::Forge(grant, kind, owner)),
        1 => (of, prop::bool::weighted(0.6)).prop_map(|(grant, readable)| Event::Readable(grant, readable)),
        2 => (0..NAMES.len(), 0..TAMPERING).prop_map(|(grant, what)| Event::Tamper(grant, what)),
        1 => home.prop_map(Event::Home),
        1 => prop::bool::weighted(0.6).prop_map(Event::Usable),
        1 => prop::bool::weighted(0.3).prop_map(Event::Skew),
        1 => any::<bool>().prop_map(Event::Hold),
        1 => (0..4_usize).prop_map(Event::Sweep),
    ]
}

/// Everything that happens but the operator's own work.
pub fn happen(world: &mut World, event: &Event, count: usize) {
    let now = world.now;
    match event {
        Event::Ask(grant, spec, start) => {
            let (key, mut spec) = (NAMES[*grant], spec.clone());
            spec["role"] = if key == "role/a" { "debugger".into() } else { "reader".into() };
            if *start != 0 {
                spec["startTime"] = (now + SignedDuration::from_secs(start * 150)).to_string().into();
            }
            world.ask(key, Spec::of(key, spec), format!("uid-{count}"));
        }
        Event::Pass(seconds) => world.now += SignedDuration::from_secs(*seconds),
        Event::Storage(kind) => world.storage = storage(kind),
        Event::Policy(kind) => world.policy = policy(kind),
        Event::Credential(version) => world.credential = *version,
        Event::Delete(grant) => {
            if let Some(grant) = world.grants.get_mut(NAMES[*grant]) {
                grant.metadata_mut().deletion_timestamp.get_or_insert(Time(now));
            }
        }
        Event::Force(grant) => drop(world.grants.remove(NAMES[*grant])),
        Event::Readable(grant, true) => world.undecodable.retain(|name| name != NAMES[*grant]),
        Event::Readable(grant, false) => world.undecodable.extend([NAMES[*grant].to_owned()]),
        Event::Forge(grant, kind, owner) => forge(world, NAMES[*grant], *kind, *owner),
        Event::Tamper(grant, what) => tamper(world, NAMES[*grant], *what, &[]),
        Event::Home(home) => world.home = *home,
        Event::Usable(usable) => world.settings.usable = *usable,
        Event::Skew(skewed) => world.settings.held = *skewed,
        Event::PodStarts(account, lasting) => {
            let mounts = world.mounts().into_iter().filter(|mount| mount.name.ends_with(&format!(".{account}")));
            let mounts = mounts.filter(|mount| world.is_injected(mount));
            let secrets = mounts.map(|mount| secret_of(&mount.name)).collect();
            let pod = Pod { secrets, lasting: *lasting, created: Some(now), ..Pod::default() };
            world.pods.insert(format!("pod-{count}"), pod);
        }
        Event::PodsLinger => world.pods.values_mut().for_each(|pod| pod.lingers = true),
        Event::PodsEnd => world.pods.retain(|_, pod| !pod.terminating),
        Event::Silence(true) => drop(world.stale.get_or_insert_with(|| world.pods.clone())),
        Event::Silence(false) => world.stale = None,
        Event::Hold(held) => hold(world, *held),
        Event::Work(..) | Event::Sweep(_) => {}
    }
    world.environment();
}

/// Where somebody puts the mounts who has the power to.
pub const PLANTED: &str = "/planted";

/// Puts an object there that is named after a grant: with no owner, with the grant as its owner, or with another. Or puts
/// all mounts elsewhere.
fn forge(world: &mut World, key: &str, kind: usize, owner: usize) {
    if kind == 3 {
        for child in world.objects.0.values_mut() {
            if let Child::GrantMount(mount) = child {
                mount.spec.mount_path = PLANTED.to_owned();
            }
        }
        let keys: Vec<_> = world.objects.0.keys().cloned().collect();
        keys.iter().for_each(|key| world.objects.edit(key, |_| {}));
        return;
    }
    let grant = reference(key);
    let owner = match (owner, world.grants.get(key)) {
        (0, _) | (_, None) => None,
        (1, Some(grant)) => grant.metadata().uid.clone(),
        (_, Some(_)) => world.grants.values().find_map(|other| other.metadata().uid.clone()),
    };
    let owners = owner.map(|uid| {
        vec![OwnerReference {
            api_version: "cloister.dev/v1alpha1".to_owned(),
            kind: grant.kind.as_str().to_owned(),
            name: grant.name.to_string(),
            uid,
            ..OwnerReference::default()
        }]
    });
    let name = Some(name_of_opened(grant.kind, &grant.name));
    let metadata = ObjectMeta { name, owner_references: owners, ..ObjectMeta::default() };
    let child = match kind {
        0 => Child::NetworkPolicy(NetworkPolicy { metadata, ..NetworkPolicy::default() }),
        1 => Child::RoleBinding(RoleBinding { metadata, ..RoleBinding::default() }),
        _ => Child::Role(Role { metadata, ..Role::default() }),
    };
    let key = child.key();
    world.objects.0.insert(key.clone(), child);
    // What is remembered of one that stood there before is of another.
    world.objects.edit(&key, |_| {});
}

/// Puts somebody else's finalizer on everything, or takes it off.
pub fn hold(world: &mut World, held: bool) {
    let keys: Vec<_> = world.objects.0.keys().cloned().collect();
    for key in keys {
        world.objects.edit(&key, |metadata| metadata.finalizers = held.then(|| vec!["example.com/hold".to_owned()]));
    }
}
