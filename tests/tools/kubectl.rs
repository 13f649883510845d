//! kubectl, in all its ways to write an object: each does what it is meant to, or is refused with a sentence.

use crate::stage::{Stage, stage};
use anyhow::{Context, Result, ensure};
use cloister_tests::eventually;
use serde_json::Value;

/// One object of each kind, and who may write it.
fn written() -> Vec<(&'static str, &'static str, String)> {
    let ports = "ports: [{port: 443, protocol: TCP}]";
    let object = |kind: &str, spec: &str| {
        format!(
            "apiVersion: cloister.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: by-kubectl, labels: {{team: x}}}}\nspec: {spec}\n"
        )
    };
    let grant = |kind: &str, spec: &str| {
        let spec = format!("{{{spec}, requestedDuration: 30m, justification: to be seen}}");
        object(kind, &spec).replace("name: by-kubectl,", "name: by-kubectl, namespace: lab,")
    };
    let alice = "subjects: [{kind: User, name: alice}]";
    vec![
        (
            "pat",
            "researchnamespace",
            object(
                "ResearchNamespace",
                &format!(
                    "{{tier: Standard, egress: {{rules: [{{name: w, networks: [203.0.113.0/28], {ports}}}]}}, ingress: {{fromAccessNetworks: [{{podSelector: {{}}, {ports}}}]}}, quota: {{pods: \"5\"}}}}"
                ),
            ),
        ),
        (
            "pat",
            "egressallowlist",
            object(
                "EgressAllowlist",
                &format!("{{namespaceSelector: {{}}, rules: [{{name: w, networks: [203.0.113.0/24], {ports}}}]}}"),
            ),
        ),
        (
            "pat",
            "storageresource",
            object(
                "StorageResource",
                &format!(
                    "{{sensitivity: Low, endpoint: {{networks: [198.51.100.0/28], {ports}}}, roles: [{{name: reader, description: \"\", permissions: [], accessPolicy: colleagues}}]}}"
                ),
            ),
        ),
        ("pat", "accessrole", object("AccessRole", "{clusterRole: \"cloister:debugger\", accessPolicy: colleagues}")),
        (
            "sam",
            "accesspolicy",
            object(
                "AccessPolicy",
                "{requesters: [{kind: Group, name: researchers}], maxDuration: 4h, approvalRules: [{name: a, required: 1, approvers: [{kind: Group, name: security}]}]}",
            ),
        ),
        (
            "alice",
            "storageaccessgrant",
            grant("StorageAccessGrant", &format!("storage: eval-datasets, role: reader, {alice}")),
        ),
        (
            "alice",
            "egressgrant",
            grant("EgressGrant", &format!("rule: {{name: w, networks: [192.0.2.128/28], {ports}}}")),
        ),
        ("alice", "rolegrant", grant("RoleGrant", &format!("role: namespace-debugger, {alice}"))),
    ]
}

/// Those of a namespace are in lab.
const IN: [&str; 2] = ["-n", "lab"];

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_write_does_what_is_meant() -> Result<()> {
    let stage = stage().await;
    stage.ok("admin", &["wait", "--for=condition=Ready", "rns/lab", "--timeout=30s"], "")?;
    for (who, kind, text) in written() {
        let place = |words: &[&'static str]| -> Vec<&'static str> { words.iter().chain(&IN).copied().collect() };
        eventually(&format!("{who}'s rights"), async || stage.ok(who, &place(&["apply", "-f", "-"]), &text)).await?;
        held(stage, kind).await?;
        let settled = stage.ok(who, &place(&["apply", "-f", "-"]), &text)?;
        ensure!(settled.contains("unchanged"), "{settled}");
        replace(stage, who, kind, &text).await.with_context(|| format!("replace {kind}"))?;
        again(stage, who, kind).await.with_context(|| format!("export {kind}"))?;
        by_two(stage, who, &text).with_context(|| format!("two managers of {kind}"))?;
    }
    Ok(())
}

/// That the operator has taken it up, with its finalizer where it holds one.
async fn held(stage: &Stage, kind: &str) -> Result<Value> {
    eventually("the operator to take it up", async || {
        let object: Value =
            serde_json::from_str(&stage.ok("admin", &["get", kind, "by-kubectl", "-n", "lab", "-o", "json"], "")?)?;
        let holds = kind == "researchnamespace" || kind.ends_with("grant");
        ensure!(object["status"]["observedGeneration"].is_i64(), "{object}");
        ensure!(object["metadata"]["finalizers"].is_array() == holds, "{object}");
        Ok(object)
    })
    .await
}

/// A file knows nothing of versions and finalizers.
async fn replace(stage: &Stage, who: &str, kind: &str, text: &str) -> Result<()> {
    // A grant cannot be changed, so that nobody is given the verb: an administrator's tool may have it all the same.
    let may = if kind.ends_with("grant") { "admin" } else { who };
    if may != who {
        let refused = stage.kubectl(who, &["replace", "-n", "lab", "-f", "-"], text)?;
        ensure!(!refused.success && refused.text.contains("cannot update resource"), "{}", refused.text);
    }
    let before = held(stage, kind).await?;
    stage.ok(may, &["replace", "-n", "lab", "-f", "-"], text)?;
    let after = held(stage, kind).await?;
    for kept in ["/metadata/uid", "/metadata/finalizers", "/spec/requestedBy"] {
        ensure!(before.pointer(kept) == after.pointer(kept), "{kept} of {kind} has changed: {after}");
    }
    // Whoever takes the finalizer off and means it is told why it is held.
    if after["metadata"]["finalizers"].is_array() {
        let strip = r#"{"metadata":{"finalizers":null}}"#;
        let refused =
            stage.kubectl(may, &["patch", kind, "by-kubectl", "-n", "lab", "--type=merge", "-p", strip], "")?;
        ensure!(
            !refused.success && refused.text.contains("only the operator removes a finalizer of cloister.dev"),
            "{}",
            refused.text
        );
    }
    // Deleted and made again, it is another, and asks anew.
    stage.ok("admin", &["replace", "--force", "--timeout=30s", "-n", "lab", "-f", "-"], text)?;
    taken_back(stage, kind).await?;
    ensure!(held(stage, kind).await?["metadata"]["uid"] != after["metadata"]["uid"], "{kind} is the same");
    stage.ok("admin", &["delete", kind, "by-kubectl", "-n", "lab", "--timeout=30s"], "")?;
    stage.ok(who, &["apply", "-n", "lab", "-f", "-"], text)?;
    taken_back(stage, kind).await?;
    held(stage, kind).await?;
    Ok(())
}

/// The Namespace of a ResearchNamespace was kept. It says how pat, who may declare it, takes it back.
async fn taken_back(stage: &Stage, kind: &str) -> Result<()> {
    if kind != "researchnamespace" {
        return Ok(());
    }
    let how = "kubectl annotate researchnamespace by-kubectl cloister.dev/adopt=by-kubectl";
    eventually("it to be said how", async || {
        let said = stage.ok("admin", &["get", "rns", "by-kubectl", "-o", "wide"], "")?;
        ensure!(said.contains("was retained when its ResearchNamespace was deleted") && said.contains(how), "{said}");
        Ok(())
    })
    .await?;
    let words: Vec<&str> = how.split(' ').skip(1).collect();
    stage.ok("pat", &words, "").map(drop)
}

/// What was exported makes another, with nothing but another name; and in nobody else's name.
async fn again(stage: &Stage, who: &str, kind: &str) -> Result<()> {
    let exported = stage.ok(who, &["get", kind, "by-kubectl", "-n", "lab", "-o", "yaml"], "")?;
    let another = exported.replace("name: by-kubectl", "name: another");
    if kind.ends_with("grant") {
        let refused = stage.kubectl("admin", &["create", "-n", "lab", "-f", "-"], &another)?;
        let told = "spec.requestedBy says who asked, and is set for you; leave it out";
        ensure!(!refused.success && refused.text.contains(told), "{}", refused.text);
    }
    stage.ok(who, &["create", "-n", "lab", "-f", "-"], &another)?;
    stage.ok("admin", &["delete", kind, "another", "-n", "lab", "--timeout=30s"], "")?;
    Ok(())
}

/// Two who apply the same do not stand in each other's way; nor does the first who comes back.
fn by_two(stage: &Stage, who: &str, text: &str) -> Result<()> {
    let apply = |manager: &'static str| {
        let manager = format!("--field-manager={manager}");
        stage.ok(who, &["apply", "--server-side", &manager, "-n", "lab", "-f", "-"], text)
    };
    apply("one")?;
    apply("two")?;
    apply("one")?;
    Ok(())
}

/// Client-side apply settles: the second time nothing is to do.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_manifests_are_unchanged_by_client_side_apply() -> Result<()> {
    let stage = stage().await;
    stage.kubectl("admin", &["apply", "-k", "deploy"], "")?;
    let second = stage.ok("admin", &["apply", "-k", "deploy"], "")?;
    let changed: Vec<&str> =
        second.lines().filter(|line| line.contains("/") && !line.ends_with(" unchanged")).collect();
    ensure!(changed.is_empty() && second.lines().count() > 90, "{changed:#?}");
    let diff = stage.kubectl("admin", &["diff", "-k", "deploy"], "")?;
    ensure!(diff.success && diff.text.is_empty(), "{}", diff.text);
    // As the stage had it: the operator of the tests runs in no pod.
    stage.ok("admin", &["delete", "deployment", "-n", "cloister-system", "--all"], "")?;
    Ok(())
}

/// An ApplySet marks what belongs to it, and prunes what does not any more.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_set_is_pruned() -> Result<()> {
    let stage = stage().await;
    let allowlist = |name: &str| {
        format!(
            "---\napiVersion: cloister.dev/v1alpha1\nkind: EgressAllowlist\nmetadata: {{name: {name}}}\nspec:\n  namespaceSelector: {{}}\n  \
             rules: [{{name: w, networks: [203.0.113.0/24], ports: [{{port: 443, protocol: TCP}}]}}]\n"
        )
    };
    let namespace = "---\napiVersion: cloister.dev/v1alpha1\nkind: ResearchNamespace\nmetadata: {name: in-a-set, labels: {team: x}}\nspec: {tier: Standard}\n";
    let apply = ["apply", "-n", "default", "--prune", "--applyset=configmaps/research", "-f", "-"];
    let all = format!("{namespace}{}{}", allowlist("set-a"), allowlist("set-b"));
    stage.ok("admin", &apply, &all)?;
    let fewer = stage.ok("admin", &apply, &format!("{namespace}{}", allowlist("set-a")))?;
    ensure!(fewer.contains("set-b pruned") && !fewer.contains("in-a-set pruned"), "{fewer}");
    stage.ok("admin", &["wait", "--for=condition=Ready", "rns/in-a-set", "--timeout=30s"], "")?;
    Ok(())
}

/// What waits, and the reviews of one request, are found by their fields.
#[tokio::test(flavor = "multi_thread")]
async fn fields_select() -> Result<()> {
    let stage = stage().await;
    let pending = |kind: &str, phase: &str| {
        let selector = format!("--field-selector=status.phase={phase}");
        stage.ok("admin", &["get", kind, "-n", "plain", &selector, "-o", "name"], "")
    };
    for kind in ["sag", "egr", "rgr"] {
        ensure!(pending(kind, "Pending")?.lines().count() == 1, "{kind}");
        ensure!(
            pending(kind, "Active")?.contains("No resources found") || pending(kind, "Active")?.is_empty(),
            "{kind}"
        );
    }
    let of = |name: &str| {
        let selector = format!("--field-selector=spec.requestRef.kind=RoleGrant,spec.requestRef.name={name}");
        stage.ok("admin", &["get", "arev", "-n", "plain", &selector, "-o", "json"], "")
    };
    for (name, count) in [("debug", 1), ("other", 0)] {
        let list: Value = serde_json::from_str(&of(name)?)?;
        ensure!(list["items"].as_array().map(Vec::len) == Some(count), "{name}: {list}");
    }
    Ok(())
}
