//! A simulated namespace with grants, whose plans are carried out as the controller does.

use super::objects::{Failed, Objects, service};
use cloister_api::*;
use cloister_core::{
    child::{Child, ChildKey, ChildKind},
    grant::{self, Declared, Holder, Home, Input, Known, Share, Sharer, is_approved, is_open, mount_name, secret_name},
    plan::{Action, Plan},
    settings::Settings,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};

pub const NAMESPACE: &str = "interp";

/// An object of the catalogue.
#[derive(Clone, Debug)]
pub enum Shelf<T> {
    Absent,
    Undecodable,
    Read(Box<T>),
}

impl<T> Shelf<T> {
    fn known(&self) -> Known<'_, T> {
        match self {
            Shelf::Absent => Known::Absent,
            Shelf::Undecodable => Known::Undecodable,
            Shelf::Read(object) => Known::Read(object),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Pod {
    pub secrets: BTreeSet<String>,
    pub terminating: bool,
}

#[derive(Clone, Debug)]
pub struct World {
    pub grants: BTreeMap<String, StorageAccessGrant>,
    /// Those that cannot be read.
    pub undecodable: BTreeSet<String>,
    pub storage: Shelf<StorageResource>,
    pub policy: Shelf<AccessPolicy>,
    /// The version of the credential's Secret.
    pub credential: Option<u32>,
    pub settings: Settings,
    pub home: Home,
    pub objects: Objects,
    /// The copies of credentials.
    pub secrets: BTreeSet<String>,
    pub pods: BTreeMap<String, Pod>,
    pub now: Timestamp,
}

impl World {
    pub fn new(storage: StorageResource, policy: AccessPolicy) -> Self {
        World {
            grants: BTreeMap::new(),
            undecodable: BTreeSet::new(),
            storage: Shelf::Read(Box::new(storage)),
            policy: Shelf::Read(Box::new(policy)),
            credential: Some(1),
            settings: Settings::new(None),
            home: Home::Enforced,
            objects: Objects::default(),
            secrets: BTreeSet::new(),
            pods: BTreeMap::new(),
            now: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    pub fn can_read(&self, name: &str) -> bool {
        !self.undecodable.contains(name)
    }

    /// The grants that can be read and share a mount, but for one.
    pub fn others_of<'a>(&'a self, but: &'a str, mount: &'a str) -> impl Iterator<Item = &'a StorageAccessGrant> {
        let grants = self.grants.iter().filter(move |(name, _)| *name != but && self.can_read(name));
        grants.map(|(_, grant)| grant).filter(move |grant| mount_of(grant).is_some_and(|name| name == mount))
    }

    /// The pods that hold the Secret of a mount.
    pub fn holders(&self, mount: &str) -> Vec<Holder> {
        let secret = secret_of(mount);
        let holding = self.pods.iter().filter(|(_, pod)| pod.secrets.contains(&secret));
        holding
            .map(|(name, pod)| Holder { name: name.clone(), uid: name.clone(), terminating: pod.terminating })
            .collect()
    }

    pub fn plan(&self, name: &str) -> Plan<GrantStatus> {
        let object = &self.grants[name];
        let mount = mount_of(object).filter(|_| self.can_read(name)).unwrap_or_default();
        let others = self.others_of(name, &mount).filter(|other| is_approved(other, self.now));
        let sharers: Vec<Sharer<'_>> = others
            .map(|other| Sharer {
                name: name_of(other),
                mount_path: &other.spec.mount.as_ref().unwrap().mount_path,
                counts_on_it: is_open(other, self.now),
            })
            .collect();
        let declared = if self.can_read(name) {
            Declared::Read(object)
        } else {
            Declared::Undecodable { metadata: &object.metadata, status: object.status.as_ref(), error: "unknown field" }
        };
        grant::plan(&Input {
            namespace: NAMESPACE,
            name,
            declared,
            storages: &|name| if name == "weights" { self.storage.known() } else { Known::Absent },
            policies: &|name| if name == "standard" { self.policy.known() } else { Known::Absent },
            services: &service,
            credentials: &|_| self.credential.map(|version| version.to_string().into()),
            settings: &self.settings,
            home: self.home,
            children: &self.objects.observe(),
            sharers: &sharers,
            holders: &self.holders(&mount),
            now: self.now,
        })
    }

    /// Does one action for a grant.
    pub fn perform(&mut self, name: &str, action: &Action) -> Result<(), Failed> {
        match action {
            Action::AddFinalizer => self.finalizers(name).push(labels::GRANT_FINALIZER.to_owned()),
            Action::DropFinalizer => self.finalizers(name).retain(|held| held != labels::GRANT_FINALIZER),
            Action::Apply(child) => self.objects.apply(child)?,
            Action::Delete(key) => self.objects.delete(key)?,
            Action::CopyCredential { to, .. } => {
                if self.credential.is_none() {
                    return Err(Failed);
                }
                self.secrets.insert(to.clone());
            }
            Action::DestroyCredential { name } => drop(self.secrets.remove(name)),
            Action::DeletePod { name, uid } => {
                assert_eq!(name, uid);
                if let Some(pod) = self.pods.get_mut(name) {
                    pod.terminating = true;
                }
            }
            Action::ApplyNamespace(_) | Action::DeleteNamespace { .. } | Action::Release(_) => {
                panic!("a namespace's matter: {action:?}")
            }
        }
        Ok(())
    }

    fn finalizers(&mut self, name: &str) -> &mut Vec<String> {
        self.grants.get_mut(name).expect("there is a grant").metadata.finalizers.get_or_insert_default()
    }

    /// Carries out a plan, or only so many of its actions, and says whether it is done. `check` sees the cluster and
    /// each action before it is done.
    pub fn carry_out(
        &mut self,
        name: &str,
        plan: &Plan<GrantStatus>,
        mut budget: usize,
        check: &mut dyn FnMut(&World, &str, &Action),
    ) -> bool {
        for action in plan.stages.iter().flatten() {
            if budget == 0 {
                return false;
            }
            budget -= 1;
            check(self, name, action);
            if self.perform(name, action).is_err() {
                // The controller writes down what failed.
                if let Some(grant) = self.grants.get_mut(name).filter(|_| !self.undecodable.contains(name)) {
                    grant.status = grant::failed(grant, "failed", self.now).or(grant.status.take());
                }
                return false;
            }
        }
        let grant = self.grants.get_mut(name).filter(|_| budget > 0);
        if let (Some(grant), Some(status)) = (grant, &plan.status) {
            grant.status = Some(status.clone());
        }
        budget > 0
    }

    /// What others in the cluster do by themselves.
    pub fn environment(&mut self) {
        let held = |grant: &StorageAccessGrant| !grant.metadata.finalizers.as_deref().unwrap_or_default().is_empty();
        self.grants.retain(|_, grant| grant.metadata.deletion_timestamp.is_none() || held(grant));
        let uids: BTreeSet<&String> = self.grants.values().filter_map(|grant| grant.metadata.uid.as_ref()).collect();
        // Garbage collection.
        self.objects.0.retain(|_, child| {
            let mut owners = child.metadata().owner_references.iter().flatten();
            child.metadata().owner_references.is_none() || owners.any(|owner| uids.contains(&owner.uid))
        });
    }

    /// Makes a new request of this name, unless there is one.
    pub fn ask(&mut self, name: &str, spec: &StorageAccessGrantSpec, uid: String) {
        let mut grant = StorageAccessGrant::new(name, spec.clone());
        grant.metadata.uid = Some(uid);
        grant.metadata.creation_timestamp = Some(Time(self.now));
        self.grants.entry(name.to_owned()).or_insert(grant);
    }

    /// What stands in the name of a grant.
    pub fn children_of(&self, name: &str) -> usize {
        let is_own = |child: &&Child| child.observe().grant.as_deref() == Some(name);
        self.objects.0.values().filter(is_own).count()
    }

    /// Whether a mount or its Secret stands.
    pub fn has_mount(&self, mount: &str) -> bool {
        self.objects.0.contains_key(&ChildKey::new(ChildKind::GrantMount, mount))
            || self.secrets.contains(&secret_of(mount))
    }
}

pub fn mount_of(grant: &StorageAccessGrant) -> Option<String> {
    Share::of(grant).map(|share| {
        assert_eq!(secret_name(&share), secret_of(&mount_name(&share)));
        mount_name(&share)
    })
}

pub fn secret_of(mount: &str) -> String {
    format!("{}{mount}", labels::GRANT_SECRET_PREFIX)
}

pub fn name_of(grant: &StorageAccessGrant) -> &str {
    grant.metadata.name.as_deref().unwrap_or_default()
}
