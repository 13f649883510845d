//! What the schemas refuse they refuse in one sentence, which says what is wrong or what to write instead.

use crate::{
    schema_samples::{Sample, samples},
    support::*,
};
use anyhow::{Context, Result, ensure};
use cloister_tests::cluster;
use kube::{
    Api,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// A kind, a field of its sample, what is written there, and a part of the sentence that answers. `""`: it is taken.
const SENTENCES: &[(&str, &str, &str, &str)] = &[
    ("EgressGrant", "/requestedDuration", "4 hours", "must be a duration such as 30s, 90m, 4h or 1h30m"),
    ("EgressGrant", "/requestedDuration", "1d", "a day is 24h"),
    ("EgressGrant", "/requestedDuration", "P1D", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "PT90M", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "90", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "1H", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "24h ", "without spaces"),
    ("EgressGrant", "/requestedDuration", "", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "-4h", "must be a duration"),
    ("EgressGrant", "/requestedDuration", "99999999h", "must be at most 8760h"),
    ("EgressGrant", "/requestedDuration", "99999h99999h99999h99999h", "must be at most 8760h"),
    ("EgressGrant", "/requestedDuration", "0s", "must be at least 1s"),
    ("EgressGrant", "/requestedDuration", "1h30m", ""),
    ("EgressGrant", "/requestedDuration", "1.5h", ""),
    ("AccessPolicy", "/maxDuration", "1d", "a day is 24h"),
    ("AccessPolicy", "/defaultDuration", "1d", "a day is 24h"),
    ("AccessPolicy", "/defaultDuration", "13h", "defaultDuration must not exceed maxDuration"),
    ("CloisterConfig", "/dns/resolution/grace", "5 minutes", "must be a duration"),
    ("EgressGrant", "/startTime", "2026-07-01", "is a date without a time; add one, such as 2026-07-01T18:00:00Z"),
    ("EgressGrant", "/startTime", "2026-07-01T18:00:00", "has no zone"),
    ("EgressGrant", "/startTime", "2026-02-30T18:00:00Z", "names a day that does not exist"),
    ("EgressGrant", "/startTime", "9999-01-01T00:00:00Z", "must be before the year 9000"),
    ("EgressGrant", "/startTime", "tomorrow", "must be a time with its date and zone"),
    ("EgressGrant", "/startTime", "2026-07-01T18:00:00+02:00", ""),
    ("EgressGrant", "/startTime", "2028-02-29T18:00:00.25Z", ""),
    ("EgressAllowlist", "/expiresAt", "2026-07-01", "is a date without a time"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "my_bucket.s3.amazonaws.com", ""),
    ("EgressAllowlist", "/rules/0/domainNames/0", "_dnslink.example.org", ""),
    ("EgressAllowlist", "/rules/0/domainNames/0", "data.xn--p1ai", ""),
    ("EgressAllowlist", "/rules/0/domainNames/0", "*.example.org", ""),
    ("EgressAllowlist", "/rules/0/domainNames/0", "HuggingFace.co", "write it in lower case"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "files.pythonhosted.org.", "ends with a dot; leave it out"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "bücher.example", "bücher.example is xn--bcher-kva.example"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "1.2.3.4", "is an address; declare it under networks"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "2001:db8::1", "is an address; declare it under networks"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "10.0.0.0/8", "is an address; declare it under networks"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "10.1", "which programs read as an address"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "https://x.org", "is a URL; write only its host"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "x.org/data", "has a path; write only the host"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "x.org:443", "has a port; write only the host"),
    (
        "EgressAllowlist",
        "/rules/0/domainNames/0",
        "*",
        "write *.example.com (* alone stands for every name, and nothing opens that)",
    ),
    ("EgressAllowlist", "/rules/0/domainNames/0", "a.*.org", "write *.example.com"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "*.com", "has no dot after *."),
    ("EgressAllowlist", "/rules/0/domainNames/0", "mirror", "has no dot; write the fully qualified name"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "a..org", "no label is empty"),
    ("EgressAllowlist", "/rules/0/domainNames/0", "foo_.org", "ends with - or _"),
    ("EgressAllowlist", "/rules/3/privateEndpoint/domainName", "*.blob.example", "has a *; only one exact name"),
    ("EgressAllowlist", "/rules/3/privateEndpoint/domainName", "A.blob.example", "write it in lower case"),
    ("CloisterConfig", "/egress/sharedSuffixes/0", "https://blob.example", "is a URL"),
    ("EgressAllowlist", "/rules/1/networks/0", "https://x.org", "must be a network in CIDR notation"),
    ("EgressAllowlist", "/rules/1/networks/0", "203.0.113.7", "one address is 203.0.113.7/32"),
    (
        "EgressAllowlist",
        "/rules/1/networks/0",
        "203.0.113.7/24",
        "no bits set after the prefix: 203.0.113.0/24 instead of 203.0.113.7/24",
    ),
    ("EgressAllowlist", "/rules/0/ports/0/protocol", "tcp", "must be TCP, UDP or SCTP"),
    ("EgressAllowlist", "/rules/0/name", "My_Rule", "must be in lower case"),
    ("EgressAllowlist", "/rules/0/name", "my_rule", "must be a name of lower-case letters, digits and -"),
    ("EgressAllowlist", "/rules/0/name", "", "must be a name: at least one letter or digit"),
    ("EgressAllowlist", "/namespaceSelector/matchExpressions/0/key", "bad key", "must be a key such as team"),
    ("EgressAllowlist", "/namespaceSelector/matchExpressions/0/key", "a/b/c", "must be a key such as team"),
    (
        "EgressAllowlist",
        "/namespaceSelector/matchExpressions/0/values/0",
        "nina@example.com",
        "spaces and @ are not allowed",
    ),
    ("EgressAllowlist", "/namespaceSelector/matchLabels/team", "nina@example.com", "spaces and @ are not allowed"),
    (
        "EgressAllowlist",
        "/namespaceSelector/matchLabels/team name",
        "interp",
        "the key \"team name\" is not a valid key of a label",
    ),
    ("EgressAllowlist", "/rules/0/podSelector/matchLabels/a b", "x", "the key \"a b\" is not a valid key of a label"),
    ("StorageAccessGrant", "/mount/mountPath", "C:\\var\\run", "is a Windows path"),
    ("StorageAccessGrant", "/mount/mountPath", "var/run", "must begin with /"),
    ("StorageAccessGrant", "/mount/mountPath", "/", "must be a folder below /"),
    ("StorageAccessGrant", "/mount/mountPath", "/data/", "must not end with /"),
    ("StorageAccessGrant", "/mount/mountPath", "/data/../etc", "without //, /./ and /../"),
    ("StorageAccessGrant", "/mount/mountPath", "/a b", "must be the path of a folder"),
    ("StorageAccessGrant", "/mount/mountPath", "/var/run", "where pods have the token of their ServiceAccount"),
    ("StorageAccessGrant", "/mount/mountPath", "/run/secrets/kubernetes.io/x", "where pods have the token"),
    (
        "StorageAccessGrant",
        "/mount/serviceAccountName",
        "ray.head",
        "must not contain a dot: Cloister joins names with dots",
    ),
    (
        "ResearchNamespace",
        "/serviceAccounts/0/name",
        "ray.head",
        "must not contain a dot: Cloister joins names with dots",
    ),
    (
        "ResearchNamespace",
        "/serviceAccounts/0/annotations/cost center",
        "42",
        "the key \"cost center\" is not a valid key of an annotation",
    ),
    (
        "ResearchNamespace",
        "/serviceAccounts/0/annotations/iam.gke.io~1gcp~1service-account",
        "x",
        "not a valid key of an annotation",
    ),
    ("ResearchNamespace", "/serviceAccounts/0/annotations/iam.gke.io~1gcp-service-account", "x", ""),
    ("ResearchNamespace", "/serviceAccounts/0/annotations/kubernetes.io~1x", "x", "\"kubernetes.io/x\" is reserved"),
    (
        "ResearchNamespace",
        "/quota/request.cpu",
        "4",
        "the key \"request.cpu\" must be a resource that a ResourceQuota knows",
    ),
    ("ResearchNamespace", "/quota/requests.cpu ", "4", "the key \"requests.cpu \" must be a resource"),
    ("ResearchNamespace", "/quota/gpu", "4", "the key \"gpu\" must be a resource"),
    ("AccessPolicy", "/requesters/0/name", "Olga ", "must not begin or end with a space"),
    ("ResearchNamespace", "/members/0/subjects/0/name", " alice", "must not begin or end with a space"),
    ("ResearchNamespace", "/quota/nvidia.com~1gpu", "8", "the key \"nvidia.com/gpu\" must begin with requests."),
    (
        "ResearchNamespace",
        "/quota/limits.amd.com~1gpu",
        "8",
        "the key \"limits.amd.com/gpu\" must begin with requests.",
    ),
    ("ResearchNamespace", "/quota/requests.nvidia.com~1gpu", "8", ""),
    ("ResearchNamespace", "/quota/count~1jobs.batch", "8", ""),
    ("ResearchNamespace", "/quota/gold.storageclass.storage.k8s.io~1requests.storage", "8Gi", ""),
    (
        "ResearchNamespace",
        "/quota/pods",
        "1.5",
        "the key \"pods\" must have a whole number: it counts objects or devices",
    ),
    ("ResearchNamespace", "/quota/pods", "-1", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/quota/requests.cpu", "1e999999999", "an exponent has at most two digits"),
    (
        "ResearchNamespace",
        "/quota/requests.cpu",
        "1.00000000000000000000001E-99999999",
        "an exponent has at most two digits",
    ),
    ("ResearchNamespace", "/limitRange/0/max/cpu", "1e+999999999", "an exponent has at most two digits"),
    ("ResearchNamespace", "/quota/requests.cpu", "4e3", ""),
    ("ResearchNamespace", "/quota/requests.storage", "10Ei", ""),
    ("ResearchNamespace", "/quota/requests.cpu", "0.1m", ""),
    ("ResearchNamespace", "/limitRange/0/max/gpu", "1", "the key \"gpu\" must be a resource of a container"),
    ("ResearchNamespace", "/limitRange/0/default/cpu", "4GB", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/limitRange/0/defaultRequest/cpu", "1e", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/limitRange/0/max/cpu", "4GB", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/limitRange/0/min/cpu", "", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/limitRange/0/maxLimitRequestRatio/cpu", "ten", "must be a quantity that is not negative"),
    ("ResearchNamespace", "/limitRange/0/maxLimitRequestRatio/cpu", "0.5", "maxLimitRequestRatio must be at least 1"),
    ("ResearchNamespace", "/limitRange/0/max/cpu", "2000m", ""),
    ("AccessRole", "/clusterRole", "ClusterRole/view", "must not contain / or %"),
    ("AccessRole", "/clusterRole", "", "must be the name of a ClusterRole"),
    ("AccessRole", "/clusterRole", "..", ". and .. are not valid names"),
    (
        "StorageResource",
        "/roles/0/credential/secretRef/name",
        "My Secret",
        "must be a name of lower-case letters, digits, - and dots",
    ),
    ("StorageResource", "/roles/0/credential/secretRef/name", "weights.v1", ""),
    ("AccessReview", "/requestRef/uid", "the one", "must be the metadata.uid of the object"),
    ("AccessReview", "/digest", "sha256:0", "must be the status.digest of the grant"),
    ("CloisterConfig", "/dns/servers/0", "10.96.0.10:99999", "a port from 1 to 65535"),
    ("CloisterConfig", "/dns/servers/0", "999.1.1.1:53", "must be an address and a port"),
    ("CloisterConfig", "/dns/servers/0", "1.2:53", "must be an address and a port"),
    ("CloisterConfig", "/dns/servers/0", "010.0.0.1:53", "must be an address and a port"),
    ("CloisterConfig", "/dns/servers/0", "10.96.0.10", "has no port; write 192.0.2.53:53"),
    ("CloisterConfig", "/dns/servers/0", "dns.example:53", "is a name; write the server's address"),
    ("CloisterConfig", "/dns/servers/0", "[2001:db8::53]:53", ""),
    ("CloisterConfig", "/dns/nodeLocalAddresses/0", "169.254.20", "must be an IPv4 or IPv6 address"),
    ("CloisterConfig", "/accessNetworks/0", "0.0.0.0/0", "is wider than /8"),
    ("CloisterConfig", "/accessNetworks/0", "::/0", "is wider than /8, or /16 of IPv6"),
    ("CloisterConfig", "/accessNetworks/0", "0.0.0.0/1", "is wider than /8"),
    ("CloisterConfig", "/accessNetworks/0", "64:ff9b::/96", "embeds more than a /8 of IPv4"),
    ("CloisterConfig", "/accessNetworks/0", "10.0.0.0/8", ""),
    (
        "CloisterConfig",
        "/clusterNetworks/0",
        "0.0.0.0/1",
        "is wider than /8, or /16 of IPv6, and would close nearly all egress",
    ),
    (
        "CloisterConfig",
        "/clusterNetworks/0",
        "fd00::/15",
        "is wider than /8, or /16 of IPv6, and would close nearly all egress",
    ),
    ("CloisterConfig", "/clusterNetworks/0", "10.0.0.0/8", ""),
    ("CloisterConfig", "/workloads/priorityClasses/0", "system-node-critical", "is for the system"),
    ("CloisterConfig", "/workloads/priorityClasses/0", "High Prio", "must be a name of lower-case letters"),
    ("CloisterConfig", "/workloads/volumes/0", "nfs", "must be image, csi:DRIVER"),
    ("CloisterConfig", "/workloads/tolerations/0", "a b", "must be a key such as team or example.com/team"),
    ("CloisterConfig", "/workloads/podAnnotations/0", "a b", "must be a key such as team or example.com/team"),
    ("CloisterConfig", "/personKey", "Person Key", "must be in lower case and without spaces"),
    ("RoleGrant", "/subjects/0/name", "system:serviceaccount:a:b", "by its plain name"),
    ("RoleGrant", "/subjects/0/name", "a..b", "by its plain name, such as trainer; it must be in the same namespace"),
    ("RoleGrant", "/subjects/0/name", "ray.head", ""),
    (
        "AccessPolicy",
        "/requesters/1/name",
        "system:serviceaccount:ci:bot",
        "write its namespace into the field namespace: {kind: ServiceAccount, namespace: NAMESPACE, name: NAME}",
    ),
    ("AccessPolicy", "/requesters/1/name", "ci/bot", "name a ServiceAccount by its plain name"),
    ("AccessPolicy", "/requesters/1/name", "a..b", "name a ServiceAccount by its plain name"),
    ("AccessPolicy", "/requesters/1/name", "bot.v2", ""),
    (
        "AccessPolicy",
        "/breakGlass/requesters/0/name",
        "system:serviceaccounts",
        "groups of ServiceAccounts (system:serviceaccounts*) cannot be used",
    ),
    (
        "AccessPolicy",
        "/approvalRules/0/approvers/0/name",
        "system:serviceaccounts:hub",
        "a ServiceAccount cannot approve or use break-glass",
    ),
    ("AccessPolicy", "/breakGlass/requesters/0/name", "system:authenticated", ""),
];

/// Writes a text where a pointer points; its last part may be new.
fn write(spec: &mut Value, pointer: &str, text: &str) -> Result<()> {
    if let Some(place) = spec.pointer_mut(pointer) {
        *place = text.into();
        return Ok(());
    }
    let (parent, key) = pointer.rsplit_once('/').context("a pointer")?;
    let parent = spec.pointer_mut(parent).with_context(|| format!("the sample has no {parent}"))?;
    parent[key.replace("~1", "/")] = text.into();
    Ok(())
}

async fn answer(sample: &Sample, spec: &Value) -> Result<Result<(), Vec<String>>> {
    let kind = GroupVersionKind::gvk("cloister.dev", "v1alpha1", sample.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, sample.plural);
    let admin = cluster().await.admin().await?;
    let api: Api<DynamicObject> = match sample.namespaced {
        true => Api::namespaced_with(admin, "default", &resource),
        false => Api::all_with(admin, &resource),
    };
    let name = if sample.kind == "CloisterConfig" { "cloister" } else { "sentences" };
    match api.create(&dry_run(), &object(sample.json(name, spec))).await {
        Ok(_) => Ok(Ok(())),
        // There may be one already; then the schema has taken this one.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Ok(())),
        Err(kube::Error::Api(status)) if status.code == 422 => {
            let causes = status.details.iter().flat_map(|details| &details.causes);
            Ok(Err(causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()))
        }
        Err(error) => Err(error.into()),
    }
}

#[tokio::test]
async fn the_schema_answers_in_sentences() -> Result<()> {
    let samples = samples();
    for (kind, pointer, text, wanted) in SENTENCES {
        let sample = samples.iter().find(|sample| sample.kind == *kind).context("a sample")?;
        let mut spec = sample.spec.clone();
        write(&mut spec, pointer, text)?;
        let told = format!("{kind} with {text:?} at {pointer}");
        match answer(sample, &spec).await? {
            Ok(()) => ensure!(wanted.is_empty(), "{told} is taken"),
            Err(answers) => {
                ensure!(!wanted.is_empty(), "{told} is refused: {answers:#?}");
                // What concerns another field is not a second sentence for this one.
                let beside = ["must be among the subjects"];
                let told_once: Vec<_> = answers.iter().filter(|one| !beside.iter().any(|b| one.contains(b))).collect();
                ensure!(told_once.len() == 1 && told_once[0].contains(wanted), "{told}: {answers:#?}");
                ensure!(!answers.iter().any(|answer| has_words_that_are_not_ours(answer)), "{told}: {answers:#?}");
            }
        }
    }
    Ok(())
}

/// The pointers to all texts and numbers of a value.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{}", key.replace('/', "~1")), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{at}/{index}"), found));
        }
        Value::String(_) | Value::Number(_) => found.push(at.to_owned()),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Texts that some function of CEL cannot read, or reads otherwise than its neighbour: as a quantity, a duration, a time, an
/// address, a network or a number.
const UNREADABLE: [&str; 24] = [
    "",
    " ",
    "é",
    "[",
    "]:53",
    ":",
    "/",
    "..",
    "4GB",
    "1e",
    "-1",
    "9999999999999999999",
    "99999999h",
    "99999h99999h99999h99999h",
    "2026-13-40T99:99:99Z",
    "0000-00-00T00:00:00Z",
    "[::::]:53",
    "999.1.1.1:53",
    "10.0.0.0/99",
    "::ffff:10.0.0.0/104",
    "fe80::1%eth0",
    "64:ff9b::/96",
    "a..b",
    "\n",
];

/// A rule that fails answers with its own text, beside the sentence that helps. None does, whatever is written.
#[tokio::test]
async fn no_rule_fails() -> Result<()> {
    // Some structural bounds, such as those of numbers, are told in the words of the API server.
    let of_rules = |words: &str| WORDS_OF_FAILED_RULES.iter().any(|other| words.contains(other));
    let refused_well = async |sample: &Sample, spec: &Value, told: &str| -> Result<()> {
        let answers = match answer(sample, spec).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(answers)) => answers,
            // Admission has tests of its own.
            Err(error) if matches!(error.downcast_ref(), Some(kube::Error::Api(_))) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut of_schema = answers.iter().filter(|answer| !answer.contains("AdmissionPolicy"));
        ensure!(!of_schema.any(|answer| of_rules(answer)), "{told}: {answers:#?}");
        Ok(())
    };
    let mut random = fastrand::Rng::with_seed(5);
    for sample in samples() {
        let mut found = Vec::new();
        leaves(&sample.spec, "", &mut found);
        ensure!(!found.is_empty(), "the sample of {} is empty", sample.kind);
        for pointer in found {
            for _ in 0..4 {
                let mut spec = sample.spec.clone();
                let place = spec.pointer_mut(&pointer).context("a pointer")?;
                *place = match place {
                    Value::Number(_) => json!(random.choice([i64::MIN, -1, 0, 17, 65536, i64::MAX])),
                    _ => json!(random.choice(UNREADABLE)),
                };
                let told = format!("{} with {} at {pointer}", sample.kind, spec.pointer(&pointer).context("it")?);
                refused_well(&sample, &spec, &told).await?;
            }
        }
    }
    let all = samples();
    let of = |kind: &str| all.iter().find(|sample| sample.kind == kind).context("a sample");
    // A sum that no integer holds.
    let policy = of("AccessPolicy")?;
    for required in [i64::MIN, i64::MAX] {
        let mut spec = policy.spec.clone();
        let rule = |name: &str| json!({"name": name, "required": required, "approvers": [{"kind": "Group", "name": "security"}]});
        spec["approvalRules"] = json!([rule("a"), rule("b")]);
        ensure!(answer(policy, &spec).await?.is_err(), "{required} people are taken");
        refused_well(policy, &spec, &format!("twice {required} people")).await?;
    }
    // A key so long that matching it costs more than a rule may.
    let namespace = of("ResearchNamespace")?;
    for key in ["hugepages-", "example.com/", ""].map(|begin| format!("{begin}{}", "a".repeat(200_000))) {
        for field in ["quota", "limitRange"] {
            let mut spec = namespace.spec.clone();
            match field {
                "quota" => spec["quota"] = json!({ key.clone(): "1" }),
                _ => spec["limitRange"] = json!([{"type": "Container", "max": { key.clone(): "1" }}]),
            }
            let told = format!("a long key {}… in {field}", &key[..12]);
            ensure!(answer(namespace, &spec).await?.is_err(), "{told} is taken");
            refused_well(namespace, &spec, &told).await?;
        }
    }
    Ok(())
}

/// People and groups have names as long as a directory gives them.
#[tokio::test]
async fn long_names_of_groups_are_taken() -> Result<()> {
    let long = format!("activedirectory_group://CN={},DC=corp", "A".repeat(900));
    let samples = samples();
    for (kind, pointer) in [
        ("AccessPolicy", "/requesters/0/name"),
        ("AccessPolicy", "/approvalRules/0/approvers/0/name"),
        ("AccessPolicy", "/beneficiaries/0/name"),
        ("ResearchNamespace", "/members/0/subjects/0/name"),
    ] {
        let sample = samples.iter().find(|sample| sample.kind == kind).context("a sample")?;
        let mut spec = sample.spec.clone();
        write(&mut spec, pointer, &long)?;
        ensure!(answer(sample, &spec).await?.is_ok(), "{kind} takes no long name at {pointer}");
        write(&mut spec, pointer, &"A".repeat(1025))?;
        ensure!(answer(sample, &spec).await?.is_err(), "{kind} takes any name at {pointer}");
    }
    Ok(())
}

/// Who is in very many groups is told of the groups, and not of a field that they are told to leave out.
#[tokio::test]
async fn who_is_in_too_many_groups_is_told_so() -> Result<()> {
    let cluster = cluster().await;
    for kind in attested() {
        for (count, refused) in
            [(513, ""), (3000, ""), (4000, "have more than 131,072 characters"), (4500, "more than 4,096 groups")]
        {
            let mut groups: Vec<String> = (0..count).map(|at| format!("{at:08x}-0000-4000-8000-{at:012x}")).collect();
            groups.push("system:masters".to_owned());
            let mut config = cluster.inner().admin_kubeconfig();
            let as_alice = config.auth_infos.first_mut().and_then(|named| named.auth_info.as_mut());
            let as_alice = as_alice.context("the administrator's credentials")?;
            (as_alice.impersonate, as_alice.impersonate_groups) = (Some("alice".to_owned()), Some(groups));
            let alice = xtask::cluster::client(config).await?;
            let made = kind.api(&alice, "default").create(&dry_run(), &object(kind.json("many"))).await;
            match made {
                Ok(made) => {
                    ensure!(refused.is_empty(), "{count} groups are taken");
                    let stamped = kind.who(&made)["groups"].as_array().map_or(0, Vec::len);
                    ensure!(stamped > count, "{stamped} of {count} groups are written down");
                }
                Err(error) => {
                    ensure!(!refused.is_empty() && error.to_string().contains(refused), "{count} groups: {error}");
                    ensure!(error.to_string().contains("kubectl auth whoami"), "{error}");
                }
            }
        }
    }
    Ok(())
}

/// Whether what is applied is all in what is stored, as client-side apply compares it: maps key by key, lists as a whole.
fn is_within(applied: &Value, stored: &Value) -> Result<(), String> {
    match (applied, stored) {
        (Value::Object(applied), Value::Object(stored)) => {
            applied.iter().filter(|(_, value)| !value.is_null()).try_for_each(|(key, value)| {
                is_within(value, stored.get(key).unwrap_or(&Value::Null)).map_err(|at| format!("{key}.{at}"))
            })
        }
        (applied, stored) if applied == stored => Ok(()),
        (applied, stored) => Err(format!(" {applied} is stored as {stored}")),
    }
}

/// Client-side apply that finds a difference writes at every sync, and says `configured` for ever.
#[tokio::test]
async fn what_is_stored_is_what_was_applied() -> Result<()> {
    let admin = cluster().await.admin().await?;
    for sample in samples().into_iter().filter(|sample| sample.kind != "CloisterConfig") {
        let kind = GroupVersionKind::gvk("cloister.dev", "v1alpha1", sample.kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, sample.plural);
        let api: Api<DynamicObject> = match sample.namespaced {
            true => Api::namespaced_with(admin.clone(), "default", &resource),
            false => Api::all_with(admin.clone(), &resource),
        };
        let name = cloister_tests::unique("applied");
        let json = sample.json(&name, &sample.spec);
        let created = api.create(&create(), &object(json.clone())).await?;
        is_within(&sample.spec, &created.data["spec"]).map_err(|at| anyhow::anyhow!("{}.{at}", sample.kind))?;
        // Two managers that say the same find nothing to do, and are not in each other's way.
        let mut versions = Vec::new();
        for manager in ["first", "second", "first", "second"] {
            let manager = kube::api::PatchParams::apply(manager);
            let applied = api.patch(&name, &manager, &kube::api::Patch::Apply(json.clone())).await?;
            versions.push(applied.metadata.resource_version);
        }
        ensure!(versions[1] == versions[2] && versions[2] == versions[3], "{}: {versions:?}", sample.kind);
        merge(&api, &name, json!({"metadata": {"finalizers": null}})).await?;
        api.delete(&name, &delete()).await?;
    }
    Ok(())
}
