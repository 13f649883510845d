//! Clusters that begin with `deploy/` in them.
//!
//! To install it costs an API server more than what most tests ask of it: each kind and policy is compiled when it is written,
//! when its status is, and when it is seen. So it is installed once, and what etcd holds then is copied. The API server that
//! reads it is as real as any other, and compiles it once.

use crate::{
    cluster::{Cluster, Options, built_from, workspace_root},
    install::{self, Parts},
};
use anyhow::{Context, Result};
use kube::api::DynamicObject;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

/// How long what nobody uses is kept: several checkouts of one folder may be tested in turn.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts an embedded cluster with the kustomization in `dir`, without its Deployments, in force.
pub async fn start(options: Options, dir: &Path) -> Result<Cluster> {
    let (late, early) = parted(install::objects(dir, Parts::WithoutWorkloads)?);
    let data = Some(data(&early).await?);
    let cluster = Cluster::start(Options { data, ..options }).await?;
    let client = cluster.admin_client().await?;
    install::wait_until_served(&client, &early).await?;
    install::apply(&client, late).await?;
    install::wait_until_in_force(&client).await?;
    Ok(cluster)
}

/// What is not installed before, and what is. An API server that finds a policy with a parameter looks for the parameter's kind
/// before it serves any of ours, and then not again for half a minute.
fn parted(objects: Vec<DynamicObject>) -> (Vec<DynamicObject>, Vec<DynamicObject>) {
    objects.into_iter().partition(|object| object.data.pointer("/spec/paramKind").is_some())
}

/// The folder of what etcd holds where these objects are installed. It is made the first time.
async fn data(objects: &[DynamicObject]) -> Result<PathBuf> {
    let all = workspace_root()?.join("target/cluster/prepared");
    let folder = all.join(key(objects)?);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&all).with_context(|| format!("cannot make {}", all.display()))?;
    let lock = all.join("lock");
    let _lock = tokio::task::spawn_blocking(move || -> Result<File> {
        let file = File::create(&lock).with_context(|| format!("cannot make {}", lock.display()))?;
        file.lock().with_context(|| format!("cannot lock {}", lock.display()))?;
        Ok(file)
    })
    .await??;
    if folder.is_dir() {
        return Ok(folder);
    }
    sweep(&all);
    // Its name comes with the last step: what was cut off is nobody's.
    let new = all.join(format!("new-{}", std::process::id()));
    let options = Options { name: "prepared".to_owned(), save_data: Some(new.clone()), ..Options::default() };
    let cluster = Cluster::start(options).await?;
    let client = cluster.admin_client().await?;
    install::apply(&client, objects.to_vec()).await?;
    install::wait_until_checked(&client).await?;
    cluster.stop().await?;
    fs::rename(&new, &folder).with_context(|| format!("the cluster did not leave its data in {}", new.display()))?;
    Ok(folder)
}

/// Of all that decides what etcd holds in the end: the objects, by which hand they are applied, and the cluster itself.
fn key(objects: &[DynamicObject]) -> Result<String> {
    let mut hash = Sha256::new();
    for part in [built_from()?.into_bytes(), install::MANAGER.as_bytes().to_vec(), serde_json::to_vec(objects)?] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Removes what was never finished, since whoever calls this holds the lock, and what has not been made lately: whoever still
/// wanted it would make it again.
fn sweep(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_part = entry.file_name().to_string_lossy().starts_with("new-");
        if (is_part || age.is_some_and(|age| age > KEPT)) && entry.path().is_dir() {
            // Another may be at it, too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_known_by_all_of_its_content() {
        let objects = install::objects(&workspace_root().unwrap().join("deploy"), Parts::WithoutWorkloads).unwrap();
        let (late, objects) = parted(objects);
        assert!(late.len() > 5 && objects.len() > 100);
        let before = key(&objects).unwrap();
        assert_eq!(before, key(&objects).unwrap());
        let policy =
            |object: &DynamicObject| object.types.as_ref().is_some_and(|t| t.kind == "ValidatingAdmissionPolicy");
        for at in (0..objects.len()).filter(|at| policy(&objects[*at])) {
            let mut changed = objects.clone();
            changed[at].data["spec"]["validations"][0]["message"] = "another".into();
            assert_ne!(before, key(&changed).unwrap());
        }
        assert_ne!(before, key(&objects[1..]).unwrap());
    }
}
