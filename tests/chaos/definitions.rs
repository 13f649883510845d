//! A definition that is newer than the operator: what ends, ends, whether it can be read or not.

use crate::stage::{CONVERGED, LATE, Stage};
use anyhow::{Result, ensure};
use cloister_api::GrantKind;
use cloister_tests::eventually;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::time::Instant;

const FIELD: &str = "/properties/spec/properties/newer";

fn definition(kind: GrantKind) -> String {
    format!("{}s.cloister.dev", kind.as_str().to_lowercase())
}

#[tokio::test]
async fn grants_that_cannot_be_read_any_more_end_on_time() -> Result<()> {
    let mut stage = Stage::start("chaos-newer", &[]).await?;
    stage.ask_for_all("lab", 3600).await?;
    let lasting = stage.asked().len();
    stage.ask_for_all("lab", 25).await?;
    for kind in GrantKind::ALL {
        let newer = json!({"type": "boolean", "default": false});
        stage.bare.add_field(&definition(kind), FIELD, newer).await?;
    }
    eventually("what cannot be read to be closed", async || {
        stage.asked()[..lasting].iter().try_for_each(|asked| stage.is_closed(asked))
    })
    .await?;
    for asked in &stage.asked()[lasting..] {
        eventually(&format!("{} to be Expired", asked.name), async || {
            let phase = stage.phase(asked).await?;
            ensure!(phase == "Expired", "it is {phase}");
            stage.is_closed(asked)
        })
        .await?;
        let late = Timestamp::now().duration_since(asked.end);
        println!(
            "{} that cannot be read: Expired and closed {:.1} s after its end",
            asked.kind.as_str(),
            late.as_secs_f64()
        );
        ensure!(late <= LATE, "{} was over only {late:#} after its end", asked.name);
    }

    // Those that last are open again when they can be read.
    let definitions: Api<CustomResourceDefinition> = Api::all(stage.bare.admin.clone());
    for kind in GrantKind::ALL {
        let path = format!("/spec/versions/0/schema/openAPIV3Schema{FIELD}");
        let patch: json_patch::Patch = serde_json::from_value(json!([{"op": "remove", "path": path}]))?;
        definitions.patch(&definition(kind), &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
    }
    let since = Instant::now();
    eventually("what lasts to be open again", async || {
        stage.asked()[..lasting].iter().try_for_each(|asked| stage.is_open(asked))
    })
    .await?;
    stage.converged().await?;
    println!("definitions that are newer: as declared again {:.1} s after", since.elapsed().as_secs_f64());
    ensure!(since.elapsed() <= CONVERGED, "it took {:?}", since.elapsed());
    Ok(())
}
