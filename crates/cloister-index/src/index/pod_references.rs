//! What a pod's spec says: where the pod runs, and which copies of credentials it references, in any form. It is read without
//! being kept.

use super::facts::HeldCopy;
use cloister_api::labels;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, marker::PhantomData};

/// What a pod's spec says of the copies of credentials. It is read without being kept.
#[derive(Clone, Debug, Default)]
pub(super) struct References {
    /// Whether it is on the network of its node.
    pub(super) on_node: bool,
    /// The name of its Node.
    pub(super) node: Option<Box<str>>,
    volumes: Vec<Volume>,
    /// The volumes of which a container mounts a part: that does not follow what becomes of the Secret.
    by_part: Vec<String>,
    /// The copies that are named anywhere else.
    elsewhere: Vec<Box<str>>,
}

#[derive(Clone, Debug, Default)]
struct Volume {
    name: String,
    /// Those that the kubelet empties.
    optional: Vec<Box<str>>,
    /// All others.
    elsewhere: Vec<Box<str>>,
}

impl References {
    /// The copies that are referenced, each once.
    pub(super) fn copies(&self) -> Vec<HeldCopy> {
        let mut held: BTreeMap<&str, bool> = BTreeMap::new();
        let volumes = self.volumes.iter().flat_map(|volume| {
            let whole = !self.by_part.contains(&volume.name);
            let optional = volume.optional.iter().map(move |secret| (secret, whole));
            optional.chain(volume.elsewhere.iter().map(|secret| (secret, false)))
        });
        for (secret, emptied) in volumes.chain(self.elsewhere.iter().map(|secret| (secret, false))) {
            *held.entry(secret).or_insert(true) &= emptied;
        }
        held.into_iter().map(|(secret, emptied)| HeldCopy { secret: secret.into(), emptied }).collect()
    }
}

impl<'de> Fields<'de> for References {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "hostNetwork" => self.on_node = map.next_value::<Option<bool>>()?.unwrap_or_default(),
            "nodeName" => self.node = map.next_value()?,
            "volumes" => self.volumes = map.next_value::<Option<Vec<Volume>>>()?.unwrap_or_default(),
            "containers" | "initContainers" | "ephemeralContainers" => {
                for container in map.next_value::<Option<Vec<Container>>>()?.unwrap_or_default() {
                    self.by_part.extend(container.by_part);
                    self.elsewhere.extend(container.elsewhere);
                }
            }
            _ => map.next_value_seed(Names(&mut self.elsewhere))?,
        }
        Ok(())
    }
}

#[derive(Default)]
struct Container {
    by_part: Vec<String>,
    elsewhere: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VolumeMount {
    name: Option<String>,
    sub_path: Option<String>,
    sub_path_expr: Option<String>,
}

impl<'de> Fields<'de> for Container {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key != "volumeMounts" {
            return map.next_value_seed(Names(&mut self.elsewhere));
        }
        let is_set = |part: &Option<String>| part.as_ref().is_some_and(|part| !part.is_empty());
        let mounts = map.next_value::<Option<Vec<VolumeMount>>>()?.unwrap_or_default();
        let parts = mounts.into_iter().filter(|mount| is_set(&mount.sub_path) || is_set(&mount.sub_path_expr));
        self.by_part.extend(parts.filter_map(|mount| mount.name));
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretSource {
    #[serde(alias = "secretName")]
    name: Option<String>,
    optional: Option<bool>,
}

impl SecretSource {
    fn note(self, optional: &mut Vec<Box<str>>, elsewhere: &mut Vec<Box<str>>) {
        let Some(name) = self.name.filter(|name| name.starts_with(labels::GRANT_SECRET_PREFIX)) else { return };
        if self.optional == Some(true) { optional } else { elsewhere }.push(name.into());
    }
}

#[derive(Deserialize)]
struct Projected {
    sources: Option<Vec<Source>>,
}

#[derive(Default)]
struct Source {
    secret: Option<SecretSource>,
    elsewhere: Vec<Box<str>>,
}

impl<'de> Fields<'de> for Source {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "secret" => self.secret = map.next_value()?,
            _ => map.next_value_seed(Names(&mut self.elsewhere))?,
        }
        Ok(())
    }
}

impl<'de> Fields<'de> for Volume {
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.name = map.next_value::<Option<String>>()?.unwrap_or_default(),
            "secret" => {
                let source: Option<SecretSource> = map.next_value()?;
                source.into_iter().for_each(|source| source.note(&mut self.optional, &mut self.elsewhere));
            }
            "projected" => {
                let projected: Option<Projected> = map.next_value()?;
                for source in projected.and_then(|projected| projected.sources).unwrap_or_default() {
                    self.elsewhere.extend(source.elsewhere);
                    let secret = source.secret.into_iter();
                    secret.for_each(|secret| secret.note(&mut self.optional, &mut self.elsewhere));
                }
            }
            _ => map.next_value_seed(Names(&mut self.elsewhere))?,
        }
        Ok(())
    }
}

/// An object that is read field by field.
trait Fields<'de>: Default {
    /// Takes one field.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
}

/// Reads it; what is no object holds nothing.
struct Reader<T>(PhantomData<T>);

impl<'de, T: Fields<'de>> Visitor<'de> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut read = T::default();
        while let Some(key) = map.next_key::<String>()? {
            read.field(&key, &mut map)?;
        }
        Ok(read)
    }

    fn visit_unit<E>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// Implements [`Deserialize`] by the fields.
macro_rules! by_field {
    ($($kind:ident),*) => {
        $(impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(PhantomData))
            }
        })*
    };
}

by_field!(References, Container, Volume, Source);

/// Every text in a value that is the name of a copy: whatever the field, the pod may hold it.
struct Names<'a>(&'a mut Vec<Box<str>>);

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        if text.starts_with(labels::GRANT_SECRET_PREFIX) {
            self.0.push(text.into());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Names(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        while fields.next_key::<IgnoredAny>()?.is_some() {
            fields.next_value_seed(Names(self.0))?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
