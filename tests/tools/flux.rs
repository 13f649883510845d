//! Flux, by the library that its kustomize-controller applies, waits and prunes with.

use crate::stage::{Printed, Stage, lines, stage};
use anyhow::{Result, ensure};
use cloister_tests::eventually;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Change {
    subject: String,
    action: String,
}

/// What became of each object of a set.
fn changes(printed: &Printed) -> Result<BTreeMap<String, String>> {
    ensure!(printed.success, "{}", printed.text);
    let changes: Vec<Change> = lines(&printed.text)?;
    Ok(changes.into_iter().map(|change| (change.subject, change.action)).collect())
}

/// That all objects of a set came out so.
fn all(printed: &Printed, action: &str) -> Result<()> {
    let changes = changes(printed)?;
    ensure!(!changes.is_empty() && changes.values().all(|found| found == action), "not all {action}: {changes:?}");
    Ok(())
}

/// The account that Flux works as, which may apply everything. Whom its grants are for decides somebody else.
async fn flux(stage: &'static Stage) -> Result<&'static Stage> {
    static ACCOUNT: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let make = async || {
        stage.ok("admin", &["create", "namespace", "flux-system"], "")?;
        stage.ok("admin", &["create", "serviceaccount", "-n", "flux-system", "flux"], "")?;
        let subject = "--serviceaccount=flux-system:flux";
        stage.ok("admin", &["create", "clusterrolebinding", "flux", "--clusterrole=cluster-admin", subject], "")?;
        stage.account("flux-system", "flux").await
    };
    ACCOUNT.get_or_try_init(make).await?;
    Ok(stage)
}

fn catalogue(name: &str, network: &str) -> String {
    format!(
        "---
apiVersion: cloister.dev/v1alpha1
kind: AccessPolicy
metadata: {{name: {name}}}
spec:
  requesters: [{{kind: ServiceAccount, name: flux, namespace: flux-system}}]
  beneficiaries: [{{kind: User, name: alice}}]
  maxDuration: 24h
  approvalRules: [{{name: security, required: 2, approvers: [{{kind: Group, name: security}}]}}]
---
apiVersion: cloister.dev/v1alpha1
kind: AccessRole
metadata: {{name: {name}}}
spec: {{clusterRole: \"cloister:debugger\", accessPolicy: {name}}}
---
apiVersion: cloister.dev/v1alpha1
kind: EgressAllowlist
metadata: {{name: {name}}}
spec:
  namespaceSelector: {{matchLabels: {{team: {name}}}}}
  rules: [{{name: lab, networks: [\"{network}\"], ports: [{{port: 443}}]}}]
---
apiVersion: cloister.dev/v1alpha1
kind: ResearchNamespace
metadata: {{name: {name}, labels: {{team: {name}}}}}
spec:
  tier: Standard
  egress: {{allowlists: [{name}]}}
"
    )
}

fn content(name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {name}}}
data: {{a: b}}
---
apiVersion: cloister.dev/v1alpha1
kind: RoleGrant
metadata: {{name: debug, namespace: {name}}}
spec:
  role: {name}
  subjects: [{{kind: User, name: alice}}]
  requestedDuration: 4h
  justification: from Git
"
    )
}

/// A Kustomization of namespaces, and one of what lives in them that depends on it.
#[tokio::test(flavor = "multi_thread")]
async fn two_sets_apply_wait_and_are_pruned() -> Result<()> {
    let stage = stage().await;
    let stage = flux(stage).await?;
    let (first, second) = (catalogue("two-sets", "203.0.113.0/28"), content("two-sets"));
    // At once, it is in the way of itself: the second set can be asked for only where there is a Namespace.
    let too_early = stage.flux("flux", "apply", &second)?;
    ensure!(!too_early.success && too_early.text.contains("\"two-sets\" not found"), "{}", too_early.text);

    all(&stage.flux("flux", "apply", &first)?, "created")?;
    ensure!(stage.flux("flux", "wait", &first)?.success, "it waits in vain");
    // That it waited means that the Namespace is there.
    all(&stage.flux("flux", "apply", &second)?, "created")?;
    // A grant that waits for people holds nothing up.
    let waited = stage.flux("flux", "wait", &second)?;
    ensure!(waited.success, "{}", waited.text);

    all(&stage.flux("flux", "apply", &first)?, "unchanged")?;
    all(&stage.flux("flux", "apply", &second)?, "unchanged")?;
    let changed = changes(&stage.flux("flux", "apply", &catalogue("two-sets", "203.0.113.16/28"))?)?;
    for (subject, action) in &changed {
        let expected = if subject.starts_with("EgressAllowlist/") { "configured" } else { "unchanged" };
        ensure!(action == expected, "{changed:?}");
    }
    // What cannot be changed is said to be so, and to whom it matters.
    let edited = stage.flux("flux", "apply", &second.replace("4h", "8h"))?;
    ensure!(
        !edited.success && edited.text.contains("a grant cannot be changed; delete it and ask again"),
        "{}",
        edited.text
    );

    let pruned = stage.flux("flux", "prune", &format!("{first}{second}"))?;
    all(&pruned, "deleted")?;
    ensure!(stage.ok("admin", &["get", "namespace", "two-sets"], "")?.contains("Active"), "Retain keeps it");

    // The commit is reverted, and the ResearchNamespace asks for what was kept.
    let asks = "metadata: {name: two-sets, annotations: {cloister.dev/adopt: two-sets}, labels: {team: two-sets}}";
    let back = first.replace("metadata: {name: two-sets, labels: {team: two-sets}}", asks);
    ensure!(back.contains(asks), "{back}");
    all(&stage.flux("flux", "apply", &back)?, "created")?;
    let waited = stage.flux("flux", "wait", &back)?;
    ensure!(waited.success, "{}: {}", waited.text, said_of(stage, "two-sets")?);
    all(&stage.flux("flux", "apply", &second)?, "created")?;
    Ok(())
}

/// What the operator says of a research namespace.
fn said_of(stage: &Stage, name: &str) -> Result<String> {
    stage.ok("admin", &["get", "researchnamespace", name, "-o", "jsonpath={.status.conditions}"], "")
}

/// One Kustomization that has the Namespace too, offered for adoption.
#[tokio::test(flavor = "multi_thread")]
async fn one_set_with_the_namespace_in_it() -> Result<()> {
    let stage = stage().await;
    let stage = flux(stage).await?;
    let namespace = "---
apiVersion: v1
kind: Namespace
metadata:
  name: one-set
  annotations: {cloister.dev/adopt: one-set, kustomize.toolkit.fluxcd.io/prune: disabled}
";
    let set = format!("{namespace}{}{}", catalogue("one-set", "203.0.113.32/28"), content("one-set"));
    all(&stage.flux("flux", "apply", &set)?, "created")?;
    let waited = stage.flux("flux", "wait", &set)?;
    ensure!(waited.success, "{}: {}", waited.text, said_of(stage, "one-set")?);
    let labels = stage.ok("admin", &["get", "namespace", "one-set", "-o", "jsonpath={.metadata.labels}"], "")?;
    ensure!(labels.contains("cloister.dev/enforced"), "{labels}");
    eventually("nothing to change", async || all(&stage.flux("flux", "apply", &set)?, "unchanged")).await?;

    // Taken out of Git and put back: the Namespace stays, and so does the offer that brings it back.
    let pruned = changes(&stage.flux("flux", "prune", &set)?)?;
    ensure!(pruned.get("Namespace/one-set").is_some_and(|action| action == "skipped"), "{pruned:?}");
    let kept = stage.ok("admin", &["get", "namespace", "one-set", "-o", "jsonpath={.metadata.labels}"], "")?;
    ensure!(kept.contains("cloister.dev/retained"), "{kept}");
    let back = changes(&stage.flux("flux", "apply", &set)?)?;
    ensure!(back.get("ResearchNamespace/one-set").is_some_and(|action| action == "created"), "{back:?}");
    // A grant that is seen before its namespace is not stalled, because that is on its way.
    let waited = stage.flux("flux", "wait", &set)?;
    ensure!(waited.success, "{}: {}", waited.text, said_of(stage, "one-set")?);
    Ok(())
}

/// The labels that Flux adds are its own, and an owner may let it add them. The owner has no rights but those that the operator
/// gives to owners.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_applies_with_flux() -> Result<()> {
    let stage = stage().await;
    let lab = "apiVersion: cloister.dev/v1alpha1
kind: ResearchNamespace
metadata: {name: lab, labels: {team: lab}}
spec:
  tier: Standard
  members:
  - {role: Owner, subjects: [{kind: User, name: lea}]}
  - {role: Researcher, subjects: [{kind: User, name: alice}]}
  egress: {allowlists: [package-mirror]}
";
    let bound =
        ["get", "clusterrolebinding", "cloister:owner:lab", "-o", "jsonpath={.roleRef.name} {.subjects[*].name}"];
    eventually("the operator's binding for the owners", async || {
        let printed = stage.kubectl("admin", &bound, "")?;
        ensure!(printed.success && printed.text == "cloister:owner:lab lea", "{}", printed.text);
        Ok(())
    })
    .await?;
    let applied = eventually("lea's rights", async || {
        let printed = stage.flux("lea", "apply", lab)?;
        ensure!(printed.success, "{}", printed.text);
        Ok(printed)
    })
    .await?;
    all(&applied, "configured")?;
    let other = stage.flux("lea", "apply", &lab.replace("team: lab", "team: weights"))?;
    ensure!(!other.success && other.text.contains("allowlists select by the labels"), "{}", other.text);
    ensure!(other.text.contains("who may create ResearchNamespaces; ask a platform engineer. "), "{}", other.text);
    ensure!(other.text.contains("kustomize.toolkit.fluxcd.io/"), "{}", other.text);
    Ok(())
}
