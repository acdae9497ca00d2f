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

mod field;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

pub(crate) use field::Words;

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
            #[allow(unused_variables)]
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
