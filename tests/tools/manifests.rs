//! What validates manifests before they are sent finds no fault with ours: every example, and every manifest of the
//! documentation.

use crate::stage::{Printed, lines, tool, validate};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{fs, path::Path};
use xtask::cluster::workspace_root;

/// All manifests, parted as YAML parts documents.
fn manifests() -> Result<String> {
    let root = workspace_root()?;
    let mut all = String::new();
    examples(&root.join("examples"), &mut all)?;
    for page in fs::read_dir(root.join("docs"))? {
        for block in fs::read_to_string(page?.path())?.split("```yaml").skip(1) {
            let (head, rest) = block.split_once('\n').context("a block without an end")?;
            if !head.contains("for=") {
                let text = rest.split("```").next().unwrap_or_default();
                all.push_str(&format!("---\n{text}\n"));
            }
        }
    }
    Ok(all)
}

fn examples(folder: &Path, all: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            examples(&path, all)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            all.push_str(&format!("---\n{}\n", fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// That nothing was found fault with, and enough was looked at.
fn all_valid(printed: &Printed) -> Result<()> {
    let said: Vec<Value> = lines(&printed.text)?;
    let (last, faults) = said.split_last().context("it says nothing")?;
    ensure!(printed.success && faults.is_empty(), "{faults:#?}");
    ensure!(last["valid"].as_u64() > Some(35), "{last}");
    Ok(())
}

/// That a misspelt field is found.
fn finds_fault(printed: &Printed) -> Result<()> {
    ensure!(printed.text.contains("teir"), "{}", printed.text);
    Ok(())
}

const MISSPELT: &str = "apiVersion: cloister.dev/v1alpha1\nkind: ResearchNamespace\nmetadata: {name: a}\nspec: {tier: Standard, teir: Standard}\n";

#[test]
fn kubeconform_takes_every_manifest() -> Result<()> {
    let crds = workspace_root()?.join("crds").to_string_lossy().into_owned();
    all_valid(&tool(&["conform", &crds], &manifests()?)?)?;
    finds_fault(&tool(&["conform", &crds], MISSPELT)?)
}

#[test]
fn kubectl_validate_takes_every_manifest() -> Result<()> {
    let crds = workspace_root()?.join("crds");
    all_valid(&validate(&crds, &manifests()?)?)?;
    finds_fault(&validate(&crds, MISSPELT)?)
}
