//! What the documentation shows is so: its manifests are accepted, its commands are run, in a real cluster with the
//! operator running; what they print is compared with what is written below them.
//!
//! A block ` ```console as=alice ` is run, line by line, as alice. Lines below a command must be found in its output, in
//! that order; `…` stands for anything, and spaces for any number of them. With `fails` the commands must fail. A command
//! that ends in `<<EOF` goes on until that line, and what `name=…` sets is known until the end of the block.
//! A block ` ```yaml ` must be accepted; with `file=examples/x.yaml` it must also be a part of that file. One that is `for`
//! something else than the API server's kinds, such as its own configuration, must be YAML of that kind.

use anyhow::{Context, Result, bail, ensure};
use cloister_api::{GrantKind, labels};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use std::{
    collections::HashMap,
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use xtask::{
    cargo,
    cluster::{Cluster, Options, build_kubectl, workspace_root},
    demo::examples,
    install,
    operator::{self, Operator},
    reference,
};

/// In the order in which somebody who does all of it would read them.
const PAGES: [&str; 10] = [
    "README.md",
    "docs/getting-started.md",
    "docs/platform-engineer.md",
    "docs/platforms.md",
    "docs/researcher.md",
    "docs/approver.md",
    "docs/security-engineer.md",
    "docs/conditions.md",
    "docs/network-plugins.md",
    "examples/README.md",
];

/// The file of the audit record.
const AUDIT: &str = "audit.jsonl";

/// As examples/00-people.yaml says.
const PEOPLE: [(&str, &[&str]); 8] = [
    ("pat", &["platform"]),
    ("sam", &["security"]),
    ("olga", &["security", "weights-owners"]),
    ("otto", &["weights-owners"]),
    ("alice", &["researchers", "weights-owners"]),
    ("nina", &["researchers", "interp-team"]),
    ("ida", &["oncall"]),
    ("lea", &["interp-leads"]),
];

/// A fenced block of a page.
struct Block {
    place: String,
    language: String,
    options: HashMap<String, String>,
    text: String,
}

fn blocks(page: &str) -> Result<Vec<Block>> {
    let path = workspace_root()?.join(page);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), inside) {
            (Some(info), false) => {
                let mut words = info.split_whitespace();
                let language = words.next().unwrap_or_default().to_owned();
                let options = words.map(|word| word.split_once('=').unwrap_or((word, "")));
                let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                blocks.push(Block { place: format!("{page}:{}", at + 1), language, options, text: String::new() });
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => {
                let block = blocks.last_mut().context("a line outside of a block")?;
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    ensure!(!inside, "{page} ends inside a block");
    Ok(blocks)
}

#[test]
fn the_reference_is_current() -> Result<()> {
    let written = fs::read_to_string(workspace_root()?.join("docs/reference.md"))?;
    ensure!(written == reference::render()?, "docs/reference.md is not current; run `cargo xtask docs`");
    Ok(())
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    let root = workspace_root()?;
    let others = [
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/architecture.md",
        "docs/benchmarks.md",
        "docs/contributing.md",
        "docs/decisions.md",
        "docs/reference.md",
        "docs/support.md",
    ];
    for page in PAGES.iter().chain(&others) {
        let path = root.join(page);
        let text = fs::read_to_string(&path)?;
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap_or(Path::new("")).join(file),
            };
            ensure!(target.exists(), "{page} links to {link}, which is not there");
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target)?);
                ensure!(
                    anchors.iter().any(|one| one == anchor),
                    "{page} links to {link}: no heading there is so called"
                );
            }
        }
    }
    Ok(())
}

/// Two pages say where to find what: "`apply/status.rs` (`status`)" is a function in a file of that name.
#[test]
fn functions_are_where_the_pages_for_contributors_say() -> Result<()> {
    let sources = sources(&["cloister-api", "cloister-core", "cloister-index", "cloister-controller"])?;
    for (page, least) in [("docs/architecture.md", 15), ("docs/contributing.md", 10)] {
        let text = fs::read_to_string(workspace_root()?.join(page))?;
        let mut found = 0;
        for (before, after) in text.split("` (`").zip(text.split("` (`").skip(1)) {
            let (Some(file), Some(names)) = (before.rsplit('`').next(), after.split(')').next()) else { continue };
            if !file.ends_with(".rs") {
                continue;
            }
            let there: Vec<&String> =
                sources.iter().filter(|(path, _)| path.ends_with(file)).map(|(_, source)| source).collect();
            ensure!(!there.is_empty(), "{page} names {file}, which is not there");
            for name in names.split('`').filter(|name| name.starts_with(|first: char| first.is_alphabetic())) {
                let name = name.rsplit("::").next().unwrap_or(name);
                let is_there = there.iter().any(|source| defines(source, name));
                ensure!(is_there, "{page} looks for {name} in {file}: it is not there");
                found += 1;
            }
        }
        ensure!(found > least, "only {found} functions of {page} are looked up: has it another form?");
    }
    Ok(())
}

/// Whether a source has a function or a type of this name.
fn defines(source: &str, name: &str) -> bool {
    let kinds = ["fn", "struct", "enum", "trait", "macro_rules!"].into_iter();
    kinds.flat_map(|kind| [" ", "(", "<"].map(|end| format!("{kind} {name}{end}"))).any(|text| source.contains(&text))
}

/// What links call the headings of a page.
fn anchors(page: &str) -> Vec<String> {
    let mut inside = false;
    let outside = page.lines().filter(|line| {
        inside ^= line.starts_with("```");
        !inside
    });
    let headings =
        outside.filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn headings_are_called_as_they_are_written() {
    let page = "# The page\n```sh\n# no heading\n```\n### If `etcd` is lost, what then?\n#also-none\n";
    assert_eq!(anchors(page), ["the-page", "if-etcd-is-lost-what-then"]);
}

#[test]
fn each_kind_of_grant_is_documented_and_has_an_example() -> Result<()> {
    let root = workspace_root()?;
    let examples: Vec<String> =
        files(&root.join("examples"))?.iter().map(fs::read_to_string).collect::<std::io::Result<_>>()?;
    for kind in GrantKind::ALL.map(GrantKind::as_str) {
        for page in ["docs/researcher.md", "docs/approver.md", "docs/reference.md"] {
            ensure!(fs::read_to_string(root.join(page))?.contains(kind), "{page} does not name {kind}");
        }
        let declares = |text: &String| text.lines().any(|line| line == format!("kind: {kind}"));
        ensure!(examples.iter().any(declares), "no example is a {kind}");
    }
    Ok(())
}

/// A reason that the code gives is a reason that the page explains.
#[test]
fn every_reason_is_explained() -> Result<()> {
    let root = workspace_root()?;
    let page = fs::read_to_string(root.join("docs/conditions.md"))?;
    let mut missing = Vec::new();
    for (_, source) in sources(&["cloister-core", "cloister-index", "cloister-controller"])? {
        missing.extend(unexplained(&source, &page));
    }
    let constants = fs::read_to_string(root.join("crates/cloister-api/src/condition.rs"))?;
    missing.extend(unexplained(&constants, &page));
    missing.sort();
    missing.dedup();
    ensure!(missing.is_empty(), "docs/conditions.md does not explain {}", missing.join(", "));
    Ok(())
}

/// The sources of these crates, each with its path.
fn sources(crates: &[&str]) -> Result<Vec<(PathBuf, String)>> {
    let root = workspace_root()?.join("crates");
    let mut sources = Vec::new();
    for name in crates {
        for path in files(&root.join(name).join("src"))? {
            sources.push((path.clone(), fs::read_to_string(&path)?));
        }
    }
    Ok(sources)
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        found.extend(files(&entry?.path())?);
    }
    Ok(found)
}

/// The words in quotes that look like reasons (of two words or more), and are not in the page.
fn unexplained(source: &str, page: &str) -> Vec<String> {
    // What looks like a reason, and is a value of Kubernetes or of ours.
    const VALUES: [&str; 7] =
        ["AuditRecord", "DoesNotExist", "ExternalIP", "ExternalName", "InternalIP", "NotIn", "RuntimeDefault"];
    // Kinds; a reason is none of these with an "s" either.
    const KINDS: [&str; 34] = [
        "AccessPolicy",
        "AccessReview",
        "AccessRole",
        "CSIDriver",
        "CiliumNetworkPolicy",
        "CloisterConfig",
        "ClusterNetworkPolicy",
        "ClusterRole",
        "ClusterRoleBinding",
        "CronJob",
        "CustomResourceDefinition",
        "DaemonSet",
        "EgressAllowlist",
        "EgressGrant",
        "EndpointSlice",
        "GrantMount",
        "LimitRange",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PriorityClass",
        "ReplicaSet",
        "ReplicationController",
        "ResearchNamespace",
        "ResourceQuota",
        "RoleBinding",
        "RoleGrant",
        "RuntimeClass",
        "SelfSubjectAccessReview",
        "ServiceAccount",
        "ServiceCIDR",
        "StatefulSet",
        "StorageAccessGrant",
        "StorageClass",
        "StorageResource",
    ];
    let is_kind = |word: &str| {
        let one =
            word.strip_suffix('s').map(|one| one.strip_suffix("ie").map_or(one.to_owned(), |stem| format!("{stem}y")));
        KINDS.contains(&word) || one.is_some_and(|one| KINDS.contains(&one.as_str()))
    };
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let quoted = code.split('"').filter(|word| {
        let humps = word.chars().filter(char::is_ascii_uppercase).count();
        humps > 1
            && word.starts_with(|first: char| first.is_ascii_uppercase())
            && word.chars().all(|letter| letter.is_ascii_alphabetic())
            && word.chars().any(|letter| letter.is_ascii_lowercase())
    });
    let reasons = quoted.filter(|word| !VALUES.contains(word) && !is_kind(word));
    reasons.filter(|word| !page.contains(&format!("`{word}`"))).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_accepted_and_commands_do_what_is_written() -> Result<()> {
    let world = World::start().await?;
    for page in PAGES {
        for block in blocks(page)? {
            let place = block.place.clone();
            let outcome = match block.language.as_str() {
                "yaml" => world.accepts(&block).await,
                "console" if block.options.contains_key("as") => world.runs(&block).await,
                _ => Ok(()),
            };
            outcome.with_context(|| format!("{place} is not so"))?;
        }
    }
    // What is refused must be refused for the reason it was written for, which the demo shows.
    let folder = workspace_root()?.join("examples");
    for path in files(&folder)? {
        let name = path.strip_prefix(&folder)?.to_string_lossy().into_owned();
        if name.ends_with(".yaml") && !name.contains("refused") {
            for object in examples::load(&name)? {
                world.would_accept(&object).await.with_context(|| format!("examples/{name} is not accepted"))?;
            }
        }
    }
    world.operator.stop().await?;
    world.cluster.stop().await?;
    Ok(())
}

struct World {
    admin: Client,
    cluster: Cluster,
    operator: Operator,
    folder: tempfile::TempDir,
    /// The search path of the commands, in which kubectl is the cluster's own.
    path: OsString,
}

impl World {
    async fn start() -> Result<Self> {
        let cluster = Cluster::start(Options { name: "docs".to_owned(), ..Options::default() }).await?;
        let admin = cluster.admin_client().await?;
        let folder = tempfile::tempdir()?;
        let deploy = workspace_root()?.join("deploy");
        let kubectl = tokio::task::spawn_blocking(build_kubectl).await??;
        // With the command of docs/getting-started.md, or its own commands would meet another manager's fields.
        let mut apply = Command::new(&kubectl);
        apply.args(["apply", "--server-side", "-k"]).arg(deploy).env("KUBECONFIG", cluster.kubeconfig_path());
        let output = apply.output()?;
        ensure!(output.status.success(), "cannot install: {}", String::from_utf8_lossy(&output.stderr));
        install::wait_until_in_force(&admin).await?;
        // As docs/getting-started.md says, for an operator that runs in no pod.
        let outside = Patch::Merge(json!({"metadata": {"labels": {labels::OPERATOR: labels::OUTSIDE}}}));
        let namespaces: Api<Namespace> = Api::all(admin.clone());
        namespaces.patch(labels::SYSTEM_NAMESPACE, &PatchParams::default(), &outside).await?;
        let binary = tokio::task::spawn_blocking(operator::build).await??;
        let audit = folder.path().join(AUDIT).to_string_lossy().into_owned();
        let log = folder.path().join("operator.log");
        let operator = Operator::start(&binary, &cluster, &log, &["--audit", &audit]).await?;
        for (name, groups) in PEOPLE {
            let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
            let kubeconfig = cluster.kubeconfig_for(name, groups).await?;
            fs::write(folder.path().join(name), serde_saphyr::to_string_with_options(&kubeconfig, options)?)?;
        }
        fs::copy(cluster.kubeconfig_path(), folder.path().join("admin"))?;
        Ok(World { admin, cluster, operator, folder, path: first_in_path(&kubectl)? })
    }

    async fn accepts(&self, block: &Block) -> Result<()> {
        if let Some(kind) = block.options.get("for") {
            let file: serde_json::Value = serde_saphyr::from_str(&block.text)?;
            ensure!(file["kind"] == kind.as_str(), "it is {}, and said to be for {kind}", file["kind"]);
            return Ok(());
        }
        if let Some(file) = block.options.get("file") {
            let whole = fs::read_to_string(workspace_root()?.join(file))?;
            ensure!(whole.contains(&block.text), "it is not a part of {file}");
        }
        let objects = examples::parse(&block.text)?;
        ensure!(!objects.is_empty(), "there is no manifest in it");
        for object in objects {
            self.would_accept(&object).await?;
        }
        Ok(())
    }

    /// Asks the API server whether it would take a manifest, by server-side apply, as somebody who may.
    async fn would_accept(&self, object: &DynamicObject) -> Result<()> {
        let api = examples::api(&self.admin, object).await?;
        let parameters = PatchParams::apply("documentation").force().dry_run();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await?;
        Ok(())
    }

    async fn runs(&self, block: &Block) -> Result<()> {
        let who = &block.options["as"];
        let kubeconfig = self.folder.path().join(who);
        ensure!(kubeconfig.exists(), "nobody is called {who}");
        let must_fail = block.options.contains_key("fails");
        let mut known = String::new();
        for (command, expected) in commands(&block.text)? {
            let mut bash = Command::new("bash");
            cargo::as_from_a_shell(&mut bash);
            let output = bash
                .args(["-c", &format!("set -o pipefail\n{known}{command}")])
                .current_dir(workspace_root()?)
                .env("PATH", &self.path)
                .env("KUBECONFIG", &kubeconfig)
                .env("CLOISTER_AUDIT", self.folder.path().join(AUDIT))
                .output()?;
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            ensure!(
                output.status.success() != must_fail,
                "`{command}` ended with {}, as {who}:\n{text}",
                output.status
            );
            if is_assignment(&command) {
                known.push_str(&format!("{command}\n"));
            }
            let mut lines = text.lines();
            for line in expected {
                ensure!(
                    lines.any(|printed| matches(line, printed)),
                    "`{command}` does not print, in this order: {line}\nIt prints:\n{text}"
                );
            }
        }
        Ok(())
    }
}

/// The search path of this process, with the folder of a program before all others.
fn first_in_path(program: &Path) -> Result<OsString> {
    let folder = program.parent().context("a program is in a folder")?.to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(std::iter::once(folder).chain(env::split_paths(&path)))?)
}

/// The commands of a block, each with the lines below it.
fn commands(text: &str) -> Result<Vec<(String, Vec<&str>)>> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    let mut here = false;
    for line in text.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (_, Some((command, _))) if here => {
                command.push_str(&format!("\n{line}"));
                here = line != "EOF";
            }
            (Some(command), _) => {
                here = command.ends_with("<<EOF");
                commands.push((command.to_owned(), Vec::new()));
            }
            (None, Some((_, expected))) => expected.push(line),
            (None, None) => bail!("it begins with no command"),
        }
    }
    ensure!(!here, "there is no EOF");
    Ok(commands)
}

/// Whether a command is `name=value` and nothing else.
fn is_assignment(command: &str) -> bool {
    let name = command.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.chars().all(|letter| letter.is_ascii_lowercase())
}

/// Whether a line was printed as it is written: `…` stands for anything.
fn matches(written: &str, printed: &str) -> bool {
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (written, printed) = (squeezed(written), squeezed(printed));
    let parts: Vec<&str> = written.split('…').map(str::trim).collect();
    let Some(mut rest) = printed.strip_prefix(parts[0]) else { return false };
    if parts.len() == 1 {
        return rest.is_empty();
    }
    for part in &parts[1..] {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[test]
fn commands_may_have_several_lines() {
    let found = commands("$ uid=$(one)\nseen\n$ two <<EOF\na: $uid\nEOF\nmade\n").unwrap();
    assert_eq!(found[0], ("uid=$(one)".to_owned(), vec!["seen"]));
    assert_eq!(found[1], ("two <<EOF\na: $uid\nEOF".to_owned(), vec!["made"]));
    assert!(is_assignment(&found[0].0) && !is_assignment(&found[1].0));
    assert!(commands("$ two <<EOF\n").is_err());
}

#[test]
fn dots_stand_for_anything() {
    assert!(matches("interp   Standard … 4/6   …", "interp Standard   True  True  4/6  12s"));
    assert!(!matches("interp Standard", "interp Standard True"));
    assert!(!matches("a … c", "a b"));
}
