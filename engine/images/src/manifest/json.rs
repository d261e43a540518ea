//! Leniency of the JSON of images: null for anything, a text for a list of one. A key that is there twice is refused,
//! since readers would disagree on which one counts.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// Null is the default.
pub(super) fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(input: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or_default())
}

/// A list, a single text, or null.
pub(super) fn texts<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Texts {
        List(Vec<String>),
        One(String),
    }
    Ok(Option::deserialize(input)?.map(|texts| match texts {
        Texts::List(list) => list,
        Texts::One(text) => vec![text],
    }))
}

/// An object or null, every key once; a null for a value is its default.
pub(super) fn map<'de, D: Deserializer<'de>, V: Default + Deserialize<'de>>(
    input: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Object<V>(PhantomData<V>);

    impl<'de, V: Default + Deserialize<'de>> Visitor<'de> for Object<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or null")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = object.next_entry::<String, Option<V>>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("key `{key}` is there twice")));
                }
                map.insert(key, value.unwrap_or_default());
            }
            Ok(map)
        }
    }

    input.deserialize_any(Object(PhantomData))
}

/// Any value at all, which is of no interest; for the keys of `{"80/tcp": {}}`.
#[derive(Debug, Default)]
pub(super) struct Anything;

impl<'de> Deserialize<'de> for Anything {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(input).map(|_| Self)
    }
}
