//! The key that ties the accounts of one person together, which CloisterConfig names.

use crate::support::*;
use anyhow::{Result, ensure};
use cloister_api::CloisterConfig;
use cloister_tests::{cluster, eventually};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client, Config, config::KubeConfigOptions};
use serde_json::{Value, json};

/// Somebody with this of `userInfo.extra`: client certificates carry none, so the administrator impersonates them.
async fn person(name: &str, extra: &[(&str, &str)]) -> Result<Client> {
    let kubeconfig = cluster().await.inner().admin_kubeconfig();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let mut header = |name: &str, value: &str| -> Result<()> {
        config.headers.push((name.parse()?, value.parse()?));
        Ok(())
    };
    header("impersonate-user", name)?;
    header("impersonate-group", "system:masters")?;
    for (key, value) in extra {
        header(&format!("impersonate-extra-{}", key.replace('/', "%2f")), value)?;
    }
    Ok(Client::try_from(config)?)
}

/// All that is said of which person somebody is.
fn persons(kind: &Attested, object: &DynamicObject) -> Value {
    json!([kind.who(object)["personKey"], kind.who(object).get("personKeys").unwrap_or(&json!([]))])
}

/// One test, because there is one CloisterConfig.
#[tokio::test]
async fn the_person_key_is_what_the_identity_provider_says() -> Result<()> {
    let _alone = CONFIG.lock().await;
    let cluster = cluster().await;
    let ns = research_namespace(&cluster.operator().await?, "person").await?;
    let configs: Api<CloisterConfig> = Api::all(cluster.admin().await?);
    let plain = person("alice", &[]).await?;
    let alice = person("alice", &[("example.com/person", "p1"), ("example.com/other", "o1")]).await?;
    let second = person("alice.admin", &[("example.com/person", "p1"), ("example.com/person", "p2")]).await?;
    let by = |name: &str, key: &str| json!({"username": name, "groups": ["system:masters", "system:authenticated"], "personKey": key});

    ensure!(configs.get_opt("cloister").await?.is_none(), "nobody else makes one here");
    for kind in attested() {
        let made = kind.api(&alice, &ns).create(&dry_run(), &object(kind.json("one"))).await?;
        assert_eq!(kind.who(&made)["personKey"], "", "no key is named");
    }
    nobody_says_who_they_are(&ns, &alice, &["p1", "p2", "o1"]).await?;
    nobody_says_who_they_are(&ns, &plain, &["p1"]).await?;

    let config = |key: &str| {
        object::<CloisterConfig>(json!({
            "apiVersion": "cloister.dev/v1alpha1", "kind": "CloisterConfig", "metadata": {"name": "cloister"},
            "spec": {"personKey": key},
        }))
    };
    configs.create(&create(), &config("example.com/person")).await?;
    let result = async {
        for kind in attested() {
            let api = kind.api(&alice, &ns);
            let person_of = |object: &DynamicObject| kind.who(object)["personKey"].as_str().map(str::to_owned);
            eventually("the setting to be seen", async || {
                let made = api.create(&dry_run(), &object(kind.json("one"))).await?;
                ensure!(person_of(&made).as_deref() == Some("p1"), "{:?}", kind.who(&made));
                Ok(())
            })
            .await?;
            // The first value is who they are, and all of them count.
            let made = kind.api(&second, &ns).create(&create(), &object(kind.json("second"))).await?;
            assert_eq!((kind.username(&made), person_of(&made).as_deref()), (Some("alice.admin"), Some("p1")));
            assert_eq!(kind.who(&made).get("personKeys"), Some(&json!(["p1", "p2"])));
            // One that is said alone is completed; what is not true is written over.
            let some = |keys: serde_json::Value| {
                let mut said = by("alice.admin", "p1");
                said["personKeys"] = keys;
                object::<DynamicObject>(kind.json_by("some", said))
            };
            let api_of_second = kind.api(&second, &ns);
            for true_ in [object(kind.json_by("some", by("alice.admin", "p1"))), some(json!(["p2", "p1"]))] {
                let made = api_of_second.create(&dry_run(), &true_).await?;
                let keys = kind.who(&made)["personKeys"].as_array().map(Vec::len);
                assert_eq!(keys, Some(2), "{:?}", kind.who(&made));
            }
            for forged in [json!(["p1"]), json!(["p1", "p3"]), json!(["p1", "p2", "p3"])] {
                let made = api_of_second.create(&dry_run(), &some(forged)).await?;
                assert_eq!(persons(&kind, &made), json!(["p1", ["p1", "p2"]]));
            }
            let made = kind.api(&plain, &ns).create(&dry_run(), &object(kind.json("one"))).await?;
            assert_eq!(person_of(&made).as_deref(), Some(""), "who has none is asked for none");

            let mut generated = kind.json("");
            generated["metadata"] = json!({"generateName": "one-"});
            assert_eq!(person_of(&api.create(&dry_run(), &object(generated)).await?).as_deref(), Some("p1"));
            // Null is as good as absent.
            let made = api.create(&dry_run(), &object(kind.json_by("null", Value::Null))).await?;
            assert_eq!((kind.username(&made), person_of(&made).as_deref()), (Some("alice"), Some("p1")));
            // What is true may be said, and what is left out of it is put in.
            for said in [by("alice", "p1"), by("alice", "")] {
                let made = api.create(&dry_run(), &object(kind.json_by("one", said))).await?;
                assert_eq!(person_of(&made).as_deref(), Some("p1"));
            }
            for (client, name, forged, truth) in [
                (&alice, "alice", "p2", json!(["p1", []])),
                (&alice, "alice", "o1", json!(["p1", []])),
                (&plain, "alice", "p1", json!(["", []])),
                (&second, "alice.admin", "p2", json!(["p1", ["p1", "p2"]])),
            ] {
                let mut forged = by(name, forged);
                forged["personKeys"] = json!(["p2", "p9"]);
                let forged = kind.json_by("forged", forged);
                let api = kind.api(client, &ns);
                let made = api.create(&dry_run(), &object(forged.clone())).await?;
                assert_eq!(persons(&kind, &made), truth);
                let apply = PatchParams { dry_run: true, ..PatchParams::apply("x") };
                assert_eq!(persons(&kind, &api.patch("forged", &apply, &Patch::Apply(forged)).await?), truth);
            }

            // A later write, of somebody else and without the key, leaves it.
            let applied = Patch::Apply(kind.json("one"));
            let forced = |manager: &str| PatchParams::apply(manager).force();
            api.patch("one", &forced("one"), &applied).await?;
            for (client, manager) in [(&alice, "one"), (&alice, "two"), (&plain, "three")] {
                let after = kind.api(client, &ns).patch("one", &forced(manager), &applied).await?;
                assert_eq!(person_of(&after).as_deref(), Some("p1"));
            }
            let mut replaced: DynamicObject = object(kind.json("one"));
            replaced.metadata.resource_version = api.get("one").await?.metadata.resource_version;
            let after = kind.api(&plain, &ns).replace("one", &create(), &replaced).await?;
            assert_eq!(person_of(&after).as_deref(), Some("p1"));
            assert!(merge(&api, "one", json!({"spec": {kind.field: {"personKey": null}}})).await.is_err());
            assert!(merge(&api, "one", json!({"spec": {kind.field: {"personKey": "p2"}}})).await.is_err());
        }

        // With a config that names none, nobody has one.
        merge(&configs, "cloister", json!({"spec": {"personKey": null}})).await?;
        for kind in attested() {
            let api = kind.api(&alice, &ns);
            eventually("the setting to be seen", async || {
                let made = api.create(&dry_run(), &object(kind.json("two"))).await?;
                ensure!(kind.who(&made)["personKey"] == "", "{:?}", kind.who(&made));
                Ok(())
            })
            .await?;
            let made = api.create(&dry_run(), &object(kind.json_by("two", by("alice", "p1")))).await?;
            assert_eq!(persons(&kind, &made), json!(["", []]));
        }
        Ok(())
    }
    .await;
    configs.delete("cloister", &delete()).await?;
    result
}

/// Where no CloisterConfig says what a person is known by, nobody is known by what they write: neither by one of their own values
/// of `userInfo.extra`, nor by the fingerprint of the certificate that they show.
async fn nobody_says_who_they_are(ns: &str, who: &Client, written: &[&str]) -> Result<()> {
    let shown = cluster().await.client_for("carol", &["system:masters"]).await?;
    let review: SelfSubjectReview = Api::all(shown.clone()).create(&create(), &SelfSubjectReview::default()).await?;
    let extra = review.status.and_then(|status| status.user_info?.extra).unwrap_or_default();
    let fingerprint = extra.values().flatten().next().cloned();
    ensure!(fingerprint.is_some(), "a certificate has a value of its own");
    let theirs = written.iter().map(|value| (who, "alice", (*value).to_owned()));
    for (client, name, value) in theirs.chain(fingerprint.map(|value| (&shown, "carol", value))) {
        for kind in attested() {
            for keys in [json!([]), json!([value]), json!([value, "p9"])] {
                let said = json!({
                    "username": name, "groups": ["system:masters", "system:authenticated"], "personKey": value, "personKeys": keys,
                });
                let made = kind.api(client, ns).create(&dry_run(), &object(kind.json_by("said", said))).await?;
                assert_eq!(persons(&kind, &made), json!(["", []]), "{name} writes {value}");
            }
        }
    }
    Ok(())
}
