//! The chapters of the demo: somebody does each step, and a watch of the cluster shows the result.

use super::{
    decisions, examples, record,
    say::Say,
    see::{Sighting, opens},
    stage::{INTERP, Person, SOON, Stage, eventually, since},
};
use anyhow::{Context, Result, bail, ensure};
use cloister_api::{ResearchNamespace, StorageAccessGrant, labels};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Pod, Secret},
    networking::v1::NetworkPolicy,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use std::time::Duration;

const DATA_PREP: &str = "data-prep";
const GRANT: &str = "eval-run";
/// What the operator names after the grant: its binding and its policy.
const OPENED: &str = "cloister-grant.eval-run";
const MOUNT: &str = "eval-datasets.reader.trainer";
const COPY: &str = "cloister-grant-eval-datasets.reader.trainer";
const DENY_ALL: &str = "cloister-deny-all";

/// Tells all of it.
pub async fn tell(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    the_catalogue(stage, say).await?;
    closed_by_default(stage, say).await?;
    what_is_refused(stage, say).await?;
    temporary_access(stage, say).await?;
    decisions::people_decide(stage, say).await?;
    decisions::break_glass(stage, say).await?;
    the_end_of_a_grant(stage, say).await?;
    the_end_of_a_namespace(stage, say).await?;
    record::the_record(stage, say).await?;
    the_summary(say);
    Ok(())
}

async fn the_catalogue(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "The catalogue",
        "What can be opened, and who decides about it. Nothing in this chapter opens anything.",
    );
    let Stage { admin, pat, sam, alice, watch, .. } = stage;
    admin.apply(say, "defines the roles of the people", "00-people.yaml").await?;
    admin.apply(say, "already runs a cache in the cluster", "10-infra.yaml").await?;
    let asked =
        sam.apply(say, "(security) creates the settings and the automatic policies", "20-policies.yaml").await?;
    sam.also(say, "automatic/1-policy.yaml").await?;
    sam.apply(say, "requires three approvals for the weights; allows break-glass", "strict/1-policy.yaml").await?;
    sam.also(say, "break-glass/1-policy.yaml").await?;
    pat.apply(say, "(platform) creates the allowlists", "30-catalogue.yaml").await?;
    pat.apply(say, "creates credentials that only the operator can read", "31-credentials.yaml").await?;
    pat.apply(say, "creates the storage and the roles that can be requested", "automatic/2-catalogue.yaml").await?;
    pat.also(say, "strict/2-catalogue.yaml").await?;
    pat.also(say, "break-glass/2-catalogue.yaml").await?;
    let mut rows = Vec::new();
    for file in [
        "20-policies.yaml",
        "automatic/1-policy.yaml",
        "strict/1-policy.yaml",
        "break-glass/1-policy.yaml",
        "30-catalogue.yaml",
        "automatic/2-catalogue.yaml",
        "strict/2-catalogue.yaml",
        "break-glass/2-catalogue.yaml",
    ] {
        for object in examples::load(file)? {
            let (kind, name) = (kind_of(&object), object.name_any());
            let ready = watch
                .until(&format!("{kind} {name} Ready"), SOON, |seen| {
                    seen.iter().rev().find(|s| s.is(&kind, "", &name)).filter(|s| s.is_true("Ready")).cloned()
                })
                .await?;
            let message = ready.condition("Ready").map(|ready| ready["message"].clone()).unwrap_or_default();
            rows.push(vec![kind, name, message.as_str().unwrap_or_default().to_owned()]);
        }
    }
    say.seen(since(asked, Timestamp::now()), "all objects are Ready:");
    say.table(&rows);
    say.check(&format!("all {} objects of the catalogue are Ready, and nothing is open", rows.len()));
    say.act(alice.name, "(researcher) tries to create an allowlist", Some("30-catalogue.yaml"));
    let refusal = alice.refused(&examples::load("30-catalogue.yaml")?[0], "egressallowlists").await?;
    say.refused("refused: researchers cannot change the catalogue", &refusal);
    Ok(())
}

async fn closed_by_default(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "Closed by default",
        "Each time is from the request to the report of a watch that is independent of the operator.",
    );
    let Stage { pat, watch, .. } = stage;
    let asked = pat.apply(say, "creates two ResearchNamespaces", "40-research-namespaces.yaml").await?;

    let made =
        watch.sighting("the Namespace interp", SOON, |seen| seen.is("Namespace", "", INTERP) && !seen.gone).await?;
    ensure!(made.label(labels::ENFORCED).is_none(), "the Namespace was not sealed when it was made: {:?}", made.object);
    say.seen(since(asked, made.at), "Namespace interp is created and sealed: no pod is admitted");
    let denied = watch
        .sighting("the policy that denies", SOON, |seen| seen.is("NetworkPolicy", INTERP, DENY_ALL) && !seen.gone)
        .await?;
    let nothing = opens(&denied.typed::<NetworkPolicy>()?);
    say.seen(since(asked, denied.at), &format!("NetworkPolicy {DENY_ALL} is created: {nothing}"));
    let enforced = watch
        .sighting("the Namespace unsealed", SOON, |seen| {
            seen.is("Namespace", "", INTERP) && seen.label(labels::ENFORCED) == Some("true")
        })
        .await?;
    say.seen(since(asked, enforced.at), "the seal is removed: pods are admitted");
    ensure!(
        made.revision < denied.revision && denied.revision < enforced.revision,
        "the order was wrong: made at revision {}, denied at {}, unsealed at {}",
        made.revision,
        denied.revision,
        enforced.revision
    );
    say.check(&format!(
        "the resource versions show the order: sealed at {}, traffic denied at {}, unsealed at {}",
        made.revision, denied.revision, enforced.revision
    ));

    let settled = watch
        .sighting("the two namespaces agree", SOON, |seen| {
            seen.is("ResearchNamespace", "", INTERP) && seen.is_true("Ready") && state(seen, "to/data-prep") == "Active"
        })
        .await?;
    say.note("");
    say.note(&format!("The egress of interp ({} entries are open):", settled.text("/status/egressSummary")));
    let needs = settled.field("/status/egress").and_then(|needs| needs.as_array().cloned()).unwrap_or_default();
    let text = |need: &serde_json::Value, key: &str| need[key].as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> =
        needs.iter().map(|need| vec![text(need, "name"), text(need, "state"), text(need, "message")]).collect();
    say.table(&rows);
    for (need, wanted) in [
        ("allowlist/package-mirror", "Active"),
        ("allowlist/time", "Active"),
        ("rule/wheels", "Active"),
        ("rule/cluster-b", "NeedsGrant"),
        ("rule/arxiv", "NeedsGrant"),
    ] {
        let found = state(&settled, need);
        ensure!(found == wanted, "{need} should be {wanted}, and is {found:?}");
    }
    say.check("rules that an allowlist covers are open; the others are closed, and say what to do");
    say.check("interp can reach data-prep, because both declare it");

    say.note("");
    say.note("The NetworkPolicies of interp:");
    let policies = watch.all("NetworkPolicy", INTERP);
    let mut rows = Vec::new();
    for policy in &policies {
        rows.push(vec![policy.object.name_any(), opens(&policy.typed()?)]);
    }
    say.table(&rows);
    let everywhere = rows.iter().find(|row| row[1].contains("everywhere") || row[1].contains("/0"));
    ensure!(everywhere.is_none(), "a policy opens everything: {everywhere:?}");
    say.check(&format!("{} policies, and none of them opens everything", rows.len()));
    Ok(())
}

async fn what_is_refused(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "What is refused",
        "Admission policies in the API server refuse these requests, from everybody, even if the operator does not run.",
    );
    let Stage { admin, alice, .. } = stage;
    let privileged = "90-refused-privileged.yaml";
    say.act(alice.name, "creates a privileged pod", Some(privileged));
    let refusal = alice.refused(&examples::load(privileged)?[0], "violates PodSecurity \"restricted").await?;
    say.refused("refused: the namespace enforces the restricted Pod Security Standard", &refusal);

    let open = "92-refused-open-everything.yaml";
    say.act(admin.name, "adds a policy that allows everything", Some(open));
    let refusal = admin.refused(&examples::load(open)?[0], "managed-objects.cloister.dev").await?;
    say.refused(
        "refused, even for cluster-admin: only the operator creates NetworkPolicies in research namespaces",
        &refusal,
    );

    say.act(admin.name, &format!("deletes {DENY_ALL}"), None);
    let policies: Api<NetworkPolicy> = Api::namespaced(admin.client.clone(), INTERP);
    let refusal =
        refusal_of(policies.delete(DENY_ALL, &DeleteParams::default()).await, "managed-objects.cloister.dev")?;
    say.refused("refused: only the operator can delete the policy that denies all traffic", &refusal);
    Ok(())
}

async fn temporary_access(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "Temporary access",
        "A grant is requested, approved, opened and mounted. Its end time is fixed at the approval.",
    );
    let Stage { admin, alice, watch, .. } = stage;
    let asked = alice.apply(say, "requests eval-datasets for 15 seconds", "automatic/3-request.yaml").await?;
    let grant = |seen: &Sighting| seen.is("StorageAccessGrant", INTERP, GRANT);

    let pending = watch.sighting("the request", SOON, grant).await?;
    let who = pending.text("/spec/requestedBy/username");
    ensure!(who == "alice", "the request says that {who:?} asked");
    ensure!(pending.text("/status/phase") != "Active", "it is Active before anything was decided");
    say.seen(since(asked, pending.at), "requested; the API server, not alice, set requestedBy: alice");
    let approved = watch.sighting("it approved", SOON, |seen| grant(seen) && seen.is_true("Approved")).await?;
    let end: Timestamp = approved.text("/status/expiresAt").parse().context("it was approved without an end")?;
    let message = approved.condition("Approved").map(|condition| condition["message"].clone()).unwrap_or_default();
    let (phase, message) = (approved.text("/status/phase"), message.as_str().unwrap_or_default());
    say.seen(since(asked, approved.at), &format!("{phase} until {end}: {message}"));

    let opened = [
        ("RoleBinding", OPENED, "RoleBinding: trainer has cloister:storage-reader"),
        ("NetworkPolicy", OPENED, ""),
        ("Secret", COPY, "Secret: the copy of the credential"),
        ("GrantMount", MOUNT, "GrantMount: new pods of trainer mount it"),
    ];
    let mut openings = Vec::new();
    for (kind, name, what) in opened {
        let seen =
            watch.sighting(&format!("its {kind}"), SOON, |seen| seen.is(kind, INTERP, name) && !seen.gone).await?;
        let what =
            if kind == "NetworkPolicy" { format!("NetworkPolicy: {}", opens(&seen.typed()?)) } else { what.into() };
        openings.push((seen, what));
    }
    openings.sort_by_key(|(seen, _)| seen.revision);
    for (seen, what) in &openings {
        say.seen(since(asked, seen.at), what);
        ensure!(seen.revision > approved.revision, "{what} came before the approval was recorded");
    }
    let active = watch.sighting("it Active", SOON, |seen| grant(seen) && seen.is_true("Active")).await?;
    say.seen(since(asked, active.at), "Active");
    ensure!(active.text("/status/expiresAt") == end.to_string(), "its end has changed");
    say.check(&format!(
        "its end time was recorded (resource version {}) before anything was opened",
        approved.revision
    ));

    let notebook = &examples::load("50-notebook.yaml")?[0];
    // The API server learns of the GrantMount by a watch of its own.
    eventually("admission to mount the credential", async || {
        let would_be = examples::dry_run(&alice.client, notebook).await?;
        mount_path(&would_be)?.context("it does not yet").map(drop)
    })
    .await?;
    let started = alice.apply(say, "creates a notebook pod that names no Secret", "50-notebook.yaml").await?;
    let pod = watch.sighting("the notebook", SOON, |seen| seen.is("Pod", INTERP, "notebook")).await?;
    let path = mount_path(&pod.object)?.context("the credential is not mounted")?;
    say.seen(since(started, pod.at), "the pod is admitted, and labelled with its ServiceAccount");
    ensure!(
        pod.label(labels::SERVICE_ACCOUNT) == Some("trainer"),
        "the pod is not labelled: {:?}",
        pod.object.labels()
    );
    say.check(&format!("admission mounted Secret {COPY} at {path}, read-only"));

    let thief = "91-refused-other-account.yaml";
    say.act(alice.name, "runs a pod of another account with the same Secret", Some(thief));
    let refusal = alice.refused(&examples::load(thief)?[0], "grant-secrets.cloister.dev").await?;
    say.refused("refused: only pods of trainer can use the Secret", &refusal);
    say.act(alice.name, "reads the Secret", None);
    let secrets: Api<Secret> = Api::namespaced(alice.client.clone(), INTERP);
    let refusal = refusal_of(secrets.get(COPY).await, "cannot get resource \"secrets\"")?;
    say.refused("refused: pods of trainer can mount it, but members cannot read it", &refusal);

    say.act(admin.name, "extends the grant in its spec and in its status", None);
    let grants: Api<StorageAccessGrant> = Api::namespaced(admin.client.clone(), INTERP);
    let longer = Patch::Merge(json!({"spec": {"requestedDuration": "8h"}}));
    let refusal = refusal_of(grants.patch(GRANT, &PatchParams::default(), &longer).await, "cannot be changed")?;
    say.refused("refused: the spec of a grant cannot change after the request", &refusal);
    let later = Patch::Merge(json!({"status": {"expiresAt": "2099-01-01T00:00:00Z"}}));
    let refusal = refusal_of(grants.patch_status(GRANT, &PatchParams::default(), &later).await, "status.cloister.dev")?;
    say.refused("refused: only the operator writes the status, and it never changes the end time", &refusal);
    Ok(())
}

async fn the_end_of_a_grant(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "The end of a grant",
        "The first grant ends at its time, without any action of a person. Each time is from its expiresAt.",
    );
    let Stage { alice, watch, .. } = stage;
    let grants = watch.all("StorageAccessGrant", INTERP);
    let grant = grants.iter().find(|grant| grant.object.name_any() == GRANT).context("the grant is gone")?;
    let end: Timestamp = grant.text("/status/expiresAt").parse()?;
    loop {
        let left = end.duration_since(Timestamp::now());
        if !left.is_positive() {
            break;
        }
        say.tick(&format!("{} s left until the end", left.as_secs() + 1));
        tokio::time::sleep(Duration::from_millis(200).min(left.unsigned_abs())).await;
    }
    say.ticked();
    say.line("");

    let emptied = |seen: &Sighting| {
        let data = seen.field("/data").and_then(|data| data.as_object());
        seen.is("Secret", INTERP, COPY) && !seen.gone && data.is_none_or(serde_json::Map::is_empty)
    };
    let gone = |kind: &'static str, name: &'static str| move |seen: &Sighting| seen.is(kind, INTERP, name) && seen.gone;
    let over =
        |seen: &Sighting| seen.is("StorageAccessGrant", INTERP, GRANT) && seen.text("/status/phase") == "Expired";
    // Shortly before the end, so that no pod that begins then holds it past the end.
    let is_mount = |seen: &Sighting| seen.is("GrantMount", INTERP, MOUNT) && !seen.gone;
    let has = |seen: &Sighting, annotation: &str| seen.object.annotations().contains_key(annotation);
    let mounted = watch
        .sighting("the mount with its version", SOON, |seen| is_mount(seen) && has(seen, labels::CREDENTIAL_VERSION))
        .await?;
    let unmounted =
        |seen: &Sighting| is_mount(seen) && seen.revision > mounted.revision && has(seen, labels::UNMOUNTED_AT);
    let mount = watch.sighting("the mount without its version", SOON, unmounted).await?;
    let binding = watch.sighting("the binding gone", SOON, gone("RoleBinding", OPENED)).await?;
    let policy = watch.sighting("the policy gone", SOON, gone("NetworkPolicy", OPENED)).await?;
    let empty = watch.sighting("the copy emptied", SOON, emptied).await?;
    let copy = watch.sighting("the copy gone", SOON, gone("Secret", COPY)).await?;
    let pod = watch.sighting("the notebook gone", SOON, gone("Pod", "notebook")).await?;
    let expired = watch.sighting("the grant Expired", SOON, over).await?;
    let early = since(mount.at, end).as_secs_f64();
    say.line(&format!("from {early:.1} s before the end, no new pod mounts the credential"));
    let mut steps = [
        (&binding, "the RoleBinding is deleted"),
        (&policy, "the NetworkPolicy to the storage is deleted"),
        (&empty, "the copy of the credential is emptied"),
        (&copy, "the copy of the credential is deleted"),
        (&pod, "the notebook pod that mounted it is deleted"),
        (&expired, "Expired: nothing that it opened is left"),
    ];
    steps.sort_by_key(|(seen, _)| seen.revision);
    for (seen, what) in steps {
        ensure!(seen.at >= end, "{what} at {}, before its end at {end}", seen.at);
        say.seen(since(end, seen.at), what);
    }
    let order = [&mount, &empty, &copy, &pod, &expired].map(|seen| seen.revision);
    ensure!(order.is_sorted(), "the order leaves a gap; the revisions were {order:?}");
    let closed = [&binding, &policy].map(|seen| seen.revision);
    ensure!(closed.iter().all(|at| *at < expired.revision), "it is called over before it is closed: {closed:?}");
    say.check("the grant is Expired only after the removal of everything that it opened is confirmed");
    let notebook = &examples::load("50-notebook.yaml")?[0];
    eventually("admission to mount nothing", async || {
        let would_be = examples::dry_run(&alice.client, notebook).await?;
        ensure!(mount_path(&would_be)?.is_none(), "it still mounts the credential");
        Ok(())
    })
    .await?;
    say.check("a new notebook pod would not get the credential");
    Ok(())
}

async fn the_end_of_a_namespace(stage: &Stage<'_>, say: &mut Say) -> Result<()> {
    say.chapter(
        "The end of a namespace",
        "The Namespace stays with its data, closed and sealed. All access to it ends.",
    );
    let Stage { admin, pat, watch, .. } = stage;
    say.act(pat.name, "deletes ResearchNamespace data-prep", None);
    let asked = Timestamp::now();
    Api::<ResearchNamespace>::all(pat.client.clone()).delete(DATA_PREP, &DeleteParams::default()).await?;
    let sealed = watch
        .sighting("data-prep sealed", SOON, |seen| {
            seen.is("Namespace", "", DATA_PREP)
                && seen.label(labels::RETAINED) == Some("true")
                && seen.label(labels::ENFORCED).is_none()
        })
        .await?;
    say.seen(since(asked, sealed.at), "Namespace data-prep is sealed again, and labelled as retained");
    let gone = watch
        .sighting("the ResearchNamespace gone", SOON, |seen| seen.is("ResearchNamespace", "", DATA_PREP) && seen.gone)
        .await?;
    let closed = watch
        .sighting("interp closed towards it", SOON, |seen| {
            seen.is("NetworkPolicy", INTERP, "cloister-to.data-prep") && seen.gone
        })
        .await?;
    let mut steps = [(&gone, "the ResearchNamespace is deleted"), (&closed, "interp can no longer reach it")];
    steps.sort_by_key(|(seen, _)| seen.at);
    for (seen, what) in steps {
        say.seen(since(asked, seen.at), what);
    }
    let left: Vec<String> = watch.all("NetworkPolicy", DATA_PREP).iter().map(|p| p.object.name_any()).collect();
    ensure!(left == [DENY_ALL], "more than the policy that denies is left: {left:?}");
    let bound = watch.all("RoleBinding", DATA_PREP);
    ensure!(bound.is_empty(), "somebody is still bound there: {bound:?}");
    say.check(&format!("only NetworkPolicy {DENY_ALL} is left there; nobody has a role in it"));
    let late = "93-refused-retained.yaml";
    say.act(admin.name, "creates a pod there", Some(late));
    let refusal = admin.refused(&examples::load(late)?[0], "seal.cloister.dev").await?;
    say.refused("refused: a sealed namespace admits no pod", &refusal);
    Ok(())
}

fn the_summary(say: &Say) {
    let (shown, seconds) = (say.checks(), say.elapsed().as_secs_f64());
    say.line("");
    say.line(&format!(
        "  The demo made {shown} claims, and a watch of the cluster confirmed each of them. It took {seconds:.0} s after the build."
    ));
}

impl Person {
    /// Gives a file of the examples to the API server, and says when.
    pub(crate) async fn apply(&self, say: &Say, does: &str, file: &str) -> Result<Timestamp> {
        say.act(self.name, does, Some(file));
        let asked = Timestamp::now();
        self.give(file).await?;
        Ok(asked)
    }

    /// Gives one more file to the API server, in the same breath.
    pub(crate) async fn also(&self, say: &Say, file: &str) -> Result<()> {
        say.also(file);
        self.give(file).await
    }

    async fn give(&self, file: &str) -> Result<()> {
        for object in examples::load(file)? {
            let created = examples::create(&self.client, &object).await;
            created
                .with_context(|| format!("{} cannot create {} {}", self.name, kind_of(&object), object.name_any()))?;
        }
        Ok(())
    }

    /// What the API server says when it refuses an object, for the reason that is expected.
    async fn refused(&self, object: &DynamicObject, because: &str) -> Result<String> {
        refusal_of(examples::create(&self.client, object).await, because)
    }
}

fn refusal_of<T>(result: kube::Result<T>, because: &str) -> Result<String> {
    match result {
        Ok(_) => bail!("it was accepted, but should have been refused ({because})"),
        Err(kube::Error::Api(status)) if status.message.contains(because) => Ok(status.message),
        Err(error) => Err(error).context(format!("refused, but not for the reason that was expected ({because})")),
    }
}

/// Where the copy of the credential is mounted in every container of a pod, read-only.
fn mount_path(pod: &DynamicObject) -> Result<Option<String>> {
    let pod: Pod = serde_json::from_value(serde_json::to_value(pod)?)?;
    let spec = pod.spec.unwrap_or_default();
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.secret.as_ref().and_then(|secret| secret.secret_name.as_deref()) == Some(COPY));
    let Some(volume) = volume else { return Ok(None) };
    let mut path = None;
    for container in &spec.containers {
        let mounts = container.volume_mounts.iter().flatten();
        let mount = mounts.into_iter().find(|mount| mount.name == volume.name);
        let mount = mount.with_context(|| format!("container {} does not mount it", container.name))?;
        ensure!(mount.read_only == Some(true), "it is mounted for writing");
        path = Some(mount.mount_path.clone());
    }
    Ok(path)
}

/// The state of one of the needs of a ResearchNamespace.
fn state(seen: &Sighting, need: &str) -> String {
    let needs = seen.field("/status/egress").and_then(|needs| needs.as_array());
    let found = needs.into_iter().flatten().find(|found| found["name"] == need);
    found.and_then(|found| found["state"].as_str()).unwrap_or_default().to_owned()
}

fn kind_of(object: &DynamicObject) -> String {
    object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default()
}
