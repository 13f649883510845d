//! `null` is as good as absent, in every optional field of every kind, for every way to write an object.

use crate::{
    schema_samples::{Sample, samples},
    support::*,
};
use anyhow::{Context, Result, ensure};
use cloister_api::{
    AccessPolicy, AccessReview, AccessRole, CloisterConfig, EgressAllowlist, EgressGrant, ResearchNamespace, RoleGrant,
    StorageAccessGrant, StorageResource,
};
use cloister_tests::cluster;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What admission writes, and nobody else.
const ATTESTED: [&str; 2] = ["requestedBy", "reviewer"];

fn api(client: &Client, sample: &Sample) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("cloister.dev", "v1alpha1", sample.kind);
    let resource = ApiResource::from_gvk_with_plural(&kind, sample.plural);
    match sample.namespaced {
        true => Api::namespaced_with(client.clone(), "default", &resource),
        false => Api::all_with(client.clone(), &resource),
    }
}

/// The pointers to all optional fields of what a value has, and their names.
fn optional(schema: &JSONSchemaProps, value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    for (name, property) in schema.properties.iter().flatten() {
        if ATTESTED.contains(&name.as_str()) {
            continue;
        }
        let at = format!("{at}/{name}");
        if !schema.required.iter().flatten().any(|required| required == name) {
            found.push((at.clone(), name.clone()));
        }
        if value[name].is_null() {
            continue;
        }
        optional(property, &value[name], &at, found);
        if let (Some(JSONSchemaPropsOrArray::Schema(items)), Some(values)) = (&property.items, value[name].as_array()) {
            for (index, value) in values.iter().enumerate() {
                optional(items, value, &format!("{at}/{index}"), found);
            }
        }
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// What the API server makes of an object by server-side apply, and when it is created; or in which words it refuses it.
async fn answers(api: &Api<DynamicObject>, object: &Value) -> Result<[Result<Value, Vec<String>>; 2]> {
    let name = object["metadata"]["name"].as_str().context("a name")?;
    let apply = PatchParams { dry_run: true, ..PatchParams::apply("nulls").force() };
    let applied = api.patch(name, &apply, &Patch::Apply(object)).await;
    let created = api.create(&dry_run(), &serde_json::from_value(object.clone())?).await;
    let mut answers: Vec<Result<Value, Vec<String>>> = Vec::new();
    for answer in [applied, created] {
        answers.push(match answer {
            Ok(object) => Ok(object.data["spec"].clone()),
            Err(kube::Error::Api(status)) if status.code == 422 => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let mut causes: Vec<String> =
                    causes.map(|cause| format!("{} {}", cause.field, cause.message)).collect();
                causes.sort();
                Err(causes)
            }
            // Another test has one: there is one CloisterConfig.
            Err(kube::Error::Api(status)) if status.is_already_exists() => answers[0].clone(),
            Err(error) => return Err(error.into()),
        });
    }
    answers.try_into().map_err(|_| anyhow::anyhow!("two answers"))
}

/// The spec as the operator reads it, without what is absent.
fn read_as<K: DeserializeOwned + Serialize>(object: Value) -> Result<Value> {
    let read: K = serde_json::from_value(object)?;
    Ok(without_nulls(&serde_json::to_value(read)?["spec"]))
}

fn read(kind: &str, object: Value) -> Result<Value> {
    match kind {
        "ResearchNamespace" => read_as::<ResearchNamespace>(object),
        "EgressAllowlist" => read_as::<EgressAllowlist>(object),
        "StorageResource" => read_as::<StorageResource>(object),
        "AccessRole" => read_as::<AccessRole>(object),
        "AccessPolicy" => read_as::<AccessPolicy>(object),
        "StorageAccessGrant" => read_as::<StorageAccessGrant>(object),
        "EgressGrant" => read_as::<EgressGrant>(object),
        "RoleGrant" => read_as::<RoleGrant>(object),
        "AccessReview" => read_as::<AccessReview>(object),
        "CloisterConfig" => read_as::<CloisterConfig>(object),
        other => anyhow::bail!("{other} is not known here"),
    }
}

#[tokio::test]
async fn null_is_as_good_as_absent() -> Result<()> {
    let admin = cluster().await.admin().await?;
    let crds = cloister_api::crds();
    let mut tried = 0;
    for sample in samples() {
        let crd = crds.iter().find(|crd| crd.spec.names.kind == sample.kind).context(sample.kind)?;
        let schema = crd.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
        let spec = &schema.and_then(|schema| schema.properties.as_ref()).context("a schema")?["spec"];
        let mut fields = Vec::new();
        optional(spec, &sample.spec, "", &mut fields);
        let api = api(&admin, &sample);
        let name = if sample.kind == "CloisterConfig" { "cloister" } else { "nulls" };
        for answer in answers(&api, &sample.json(name, &sample.spec)).await? {
            ensure!(answer.is_ok(), "{} is no good sample: {answer:?}", sample.kind);
        }
        for (pointer, field) in fields {
            let (parent, _) = pointer.rsplit_once('/').context("a pointer")?;
            let with = |value: Option<Value>| {
                let mut spec = sample.spec.clone();
                let parent = spec.pointer_mut(parent).and_then(Value::as_object_mut);
                let parent = parent.with_context(|| format!("the sample of {} has no {pointer}", sample.kind))?;
                match value {
                    Some(value) => parent.insert(field.clone(), value),
                    None => parent.remove(&field),
                };
                anyhow::Ok(sample.json(name, &spec))
            };
            let (null, absent) = (with(Some(Value::Null))?, with(None)?);
            let wanted = answers(&api, &absent).await?;
            for (answer, wanted) in answers(&api, &null).await?.into_iter().zip(wanted) {
                let told = format!("{} with null at {pointer}", sample.kind);
                match (&answer, &wanted) {
                    (Ok(answer), Ok(wanted)) => {
                        ensure!(without_nulls(answer) == without_nulls(wanted), "{told}: {answer} is not {wanted}");
                        let read_null = read(sample.kind, sample.json(name, answer)).context(told.clone())?;
                        let read_absent = read(sample.kind, sample.json(name, wanted))?;
                        ensure!(read_null == read_absent, "{told} is read as {read_null}, not as {read_absent}");
                    }
                    (Err(answer), Err(wanted)) => ensure!(answer == wanted, "{told}: {answer:?} is not {wanted:?}"),
                    _ => anyhow::bail!("{told}: {answer:?} is not {wanted:?}"),
                }
                tried += 1;
            }
        }
    }
    ensure!(tried > 250, "{tried} are too few to show anything");
    Ok(())
}
