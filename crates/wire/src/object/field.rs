//! The types of fields: what Go's are, as Rust's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Field, InMap, Read, Write};

macro_rules! plain_fields {
    ($($ty:ty),*) => {$(
        impl Field for $ty {
            fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok(Option::<$ty>::deserialize(from)?.unwrap_or_default())
            }

            fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.serialize(to)
            }

            fn is_empty(&self) -> bool {
                *self == <$ty>::default()
            }
        }
    )*};
}

plain_fields!(
    String,
    bool,
    u16,
    u32,
    u64,
    i32,
    i64,
    [u32; 2],
    [String; 2],
    serde_json::Value
);

impl<T: Field> Field for Option<T> {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Option::<Read<T>>::deserialize(from)?.map(|read| read.0))
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.encode(to),
            None => to.serialize_none(),
        }
    }

    fn is_empty(&self) -> bool {
        self.is_none()
    }
}

impl<T: Field> Field for Box<T> {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::decode(from).map(Box::new)
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (**self).encode(to)
    }

    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
}

impl<T: Field> Field for Vec<T> {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Field> Visitor<'de> for List<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_none<E>(self) -> Result<Vec<T>, E> {
                Ok(Vec::new())
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Vec<T>, D::Error> {
                from.deserialize_seq(self)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(Read(item)) = seq.next_element()? {
                    list.push(item);
                }
                Ok(list)
            }
        }
        from.deserialize_option(List(PhantomData))
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.iter().map(Write))
    }

    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn encode_in_map<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.is_empty() {
            to.serialize_none()
        } else {
            self.encode(to)
        }
    }
}

/// Reads an object with any names; `add` gets each with its value.
fn decode_entries<'de, C, T, D>(from: D, add: fn(&mut C, String, T)) -> Result<C, D::Error>
where
    C: Default,
    T: Field,
    D: Deserializer<'de>,
{
    struct Entries<C, T>(fn(&mut C, String, T));
    impl<'de, C: Default, T: Field> Visitor<'de> for Entries<C, T> {
        type Value = C;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_unit<E>(self) -> Result<C, E> {
            Ok(C::default())
        }

        fn visit_none<E>(self) -> Result<C, E> {
            Ok(C::default())
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<C, D::Error> {
            from.deserialize_map(self)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<C, A::Error> {
            let mut entries = C::default();
            while let Some((key, Read(value))) = map.next_entry::<String, Read<T>>()? {
                (self.0)(&mut entries, key, value);
            }
            Ok(entries)
        }
    }
    from.deserialize_option(Entries(add))
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        decode_entries(from, |map: &mut Self, key, value: T| {
            map.insert(key, value);
        })
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|(key, value)| (key, InMap(value))))
    }

    fn is_empty(&self) -> bool {
        BTreeMap::is_empty(self)
    }
}

/// The value of a Go set: `{}`.
#[derive(Default)]
struct Member;

impl Field for Member {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<BTreeMap<String, IgnoredAny>>::deserialize(from).map(|_| Member)
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_map(Some(0))?.end()
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// Go's `map[string]struct{}`: an object whose values are all `{}`.
impl Field for BTreeSet<String> {
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        decode_entries(from, |set: &mut Self, key, Member| {
            set.insert(key);
        })
    }

    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|key| (key, Write(&Member))))
    }

    fn is_empty(&self) -> bool {
        BTreeSet::is_empty(self)
    }
}

/// A command: a list, or a string that is a list of one.
pub(crate) struct Words(pub(crate) Option<Vec<String>>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Words, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of strings")
            }

            fn visit_unit<E>(self) -> Result<Words, E> {
                Ok(Words(None))
            }

            fn visit_str<E>(self, text: &str) -> Result<Words, E> {
                Ok(Words(Some(vec![text.to_owned()])))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(Read(word)) = seq.next_element()? {
                    words.push(word);
                }
                Ok(Words(Some(words)))
            }
        }
        from.deserialize_any(Either)
    }
}
