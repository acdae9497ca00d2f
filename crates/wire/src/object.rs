//! How Go reads and writes JSON, and so how Docker's clients expect it.
//!
//! Reading: `null` anywhere is the zero value, unknown names are ignored, and a name that is not
//! there is looked for without regard to case. Writing: an empty list or map is `[]`, `{}`, `null`
//! or left out, for each field as dockerd does it. The [`object!`] macro declares a struct and both
//! directions at once:
//!
//! ```text
//! field: Type = "JsonName";        as it is: `[]`, `{}`, `""`, 0, false; `None` is null
//! field: Type = "JsonName" null;   null when empty
//! field: Type = "JsonName" omit;   left out when empty
//! field: Type = "JsonName" time;   a point in time: empty is Go's zero time
//! field: Type = "JsonName" words;  a command: a lone string is read as a list of one
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// A JSON object with known names.
pub(crate) trait Object: Default {
    /// Takes the value of `key`; `false` when the object has no such name (nothing is taken then).
    fn decode_field<'de, A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    /// Writes all fields into `map`.
    fn encode_fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// Reads an [`Object`].
pub(crate) fn decode<'de, T: Object, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    struct Fields<T>(PhantomData<T>);
    impl<'de, T: Object> Visitor<'de> for Fields<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
            let mut object = T::default();
            while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
                if !object.decode_field(&key, &mut map)? {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(object)
        }
    }
    from.deserialize_map(Fields(PhantomData))
}

/// Writes an [`Object`].
pub(crate) fn encode<T: Object, S: Serializer>(object: &T, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    object.encode_fields(&mut map)?;
    map.end()
}

/// A name, borrowed from the text when nothing in it is escaped.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Key<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

/// The type of a field.
pub(crate) trait Field: Default {
    /// Reads it; `null` is the zero value.
    fn decode<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;

    /// Writes it as it is.
    fn encode<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;

    /// Whether it is what Go's `omitempty` leaves out.
    fn is_empty(&self) -> bool;

    /// Writes it as the value of a map: a list that is empty is nil there.
    fn encode_in_map<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.encode(to)
    }
}

/// A field as serde wants to read it.
pub(crate) struct Read<T>(pub(crate) T);

impl<'de, T: Field> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Read<T>, D::Error> {
        T::decode(from).map(Read)
    }
}

/// A field as serde wants to write it.
pub(crate) struct Write<'a, T>(pub(crate) &'a T);

impl<T: Field> Serialize for Write<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.encode(to)
    }
}

struct InMap<'a, T>(&'a T);

impl<T: Field> Serialize for InMap<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.encode_in_map(to)
    }
}

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

/// Declares structs that are JSON objects. See the module's documentation.
macro_rules! object {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident: $ty:ty = $json:literal $($mode:ident)?; )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( $(#[$field_meta])* pub $field: $ty, )*
        }

        impl $crate::object::Object for $name {
            #[allow(unused_variables)]
            fn decode_field<'de, A: ::serde::de::MapAccess<'de>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                match key {
                    $( $json => {
                        self.$field = $crate::object::take!(map, $ty $(, $mode)?);
                        Ok(true)
                    } )*
                    _ => {
                        $( if key.eq_ignore_ascii_case($json) {
                            return self.decode_field($json, map);
                        } )*
                        Ok(false)
                    }
                }
            }

            #[allow(unused_variables)]
            fn encode_fields<M: ::serde::ser::SerializeMap>(
                &self,
                map: &mut M,
            ) -> Result<(), M::Error> {
                $( $crate::object::put!(map, $json, &self.$field $(, $mode)?); )*
                Ok(())
            }
        }

        $crate::object::as_serde!($name);

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(seed: &mut $crate::sample::Seed) -> Self {
                $name { $( $field: $crate::sample::Sample::sample(seed), )* }
            }
        }
    )*};
}

/// Reads one field in its mode.
macro_rules! take {
    ($map:ident, $ty:ty, words) => {
        $map.next_value::<$crate::object::Words>()?.0
    };
    ($map:ident, $ty:ty $(, $mode:ident)?) => {
        $map.next_value::<$crate::object::Read<$ty>>()?.0
    };
}

/// Writes one field in its mode.
macro_rules! put {
    ($map:ident, $json:literal, $value:expr) => {
        $map.serialize_entry($json, &$crate::object::Write($value))?
    };
    ($map:ident, $json:literal, $value:expr, null) => {
        if $crate::object::Field::is_empty($value) {
            $map.serialize_entry($json, &())?;
        } else {
            $crate::object::put!($map, $json, $value);
        }
    };
    ($map:ident, $json:literal, $value:expr, omit) => {
        if !$crate::object::Field::is_empty($value) {
            $crate::object::put!($map, $json, $value);
        }
    };
    ($map:ident, $json:literal, $value:expr, time) => {
        if $crate::object::Field::is_empty($value) {
            $map.serialize_entry($json, $crate::time::ZERO_TIME)?;
        } else {
            $crate::object::put!($map, $json, $value);
        }
    };
    ($map:ident, $json:literal, $value:expr, words) => {
        $crate::object::put!($map, $json, $value)
    };
}

/// Makes an [`Object`] one for serde, and the type of a field.
macro_rules! as_serde {
    ($name:ident) => {
        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::object::encode(self, to)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::object::decode(from)
            }
        }

        impl $crate::object::Field for $name {
            fn decode<'de, D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let value = <Option<Self> as ::serde::Deserialize>::deserialize(from)?;
                Ok(value.unwrap_or_default())
            }

            fn encode<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::object::encode(self, to)
            }

            fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    };
}

pub(crate) use {as_serde, object, put, take};

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
