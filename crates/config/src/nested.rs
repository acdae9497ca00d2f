//! Keys inside options, as Go's `encoding/json` takes them, which dockerd reads its file with.
//!
//! A field of a structure is found by its name in any case, and of several spellings in one object
//! the last one holds; a key that is no field's is passed over. Keys of maps are what they are. All
//! that depends on the order in the text, so it is brought into one shape while the text is read.

use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::options::{self, Shape};

/// What is read, as far as its keys matter.
#[derive(Debug)]
enum Form {
    /// The whole file.
    File,
    /// Anything, as it stands there.
    Any,
    /// A text; in a map or a list, `null` is the empty one.
    Text,
    /// A switch; in a map, `null` is off.
    Switch,
    /// A map, with keys of the user's.
    Entries(&'static Form),
    /// A list.
    List(&'static Form),
    /// A structure with these fields.
    Fields(&'static [(&'static str, Form)]),
    /// `proxies`: dockerd looks for its fields among the options, so that their case matters and
    /// other options do not.
    Proxies,
}

const TEXTS: Form = Form::Entries(&Form::Text);

const ULIMIT: Form = Form::Fields(&[
    ("Name", Form::Any),
    ("Hard", Form::Any),
    ("Soft", Form::Any),
]);

const RUNTIME: Form = Form::Fields(&[
    ("path", Form::Any),
    ("runtimeArgs", Form::List(&Form::Text)),
    ("runtimeType", Form::Any),
    ("options", Form::Any),
]);

const POOL: Form = Form::Fields(&[("base", Form::Any), ("size", Form::Any)]);

/// The fields of `proxies`.
pub(crate) const PROXIES: [&str; 3] = ["http-proxy", "https-proxy", "no-proxy"];

/// What the option of this key has for a value.
fn form(key: &str) -> Form {
    match options::find(key).map(|opt| opt.shape) {
        Some(Shape::List) => Form::List(&Form::Text),
        Some(Shape::Pairs) => TEXTS,
        Some(Shape::Switches) => Form::Entries(&Form::Switch),
        Some(Shape::Ulimits) => Form::Entries(&ULIMIT),
        Some(Shape::Runtimes) => Form::Entries(&RUNTIME),
        Some(Shape::Pools) => Form::List(&POOL),
        Some(Shape::NetworkOptions) => Form::Entries(&TEXTS),
        Some(Shape::Structure) if key == "proxies" => Form::Proxies,
        _ => Form::Any,
    }
}

/// Reads a file's text; the second part is which keys were passed over, as `runtimes.x.colour`, each
/// once, sorted.
///
/// # Errors
/// It is not JSON.
pub(crate) fn read(text: &str) -> serde_json::Result<(Value, Vec<String>)> {
    let ignored = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let reader = Reader {
        form: &Form::File,
        place: String::new(),
        ignored: &ignored,
    };
    let value = reader.deserialize(&mut deserializer)?;
    deserializer.end()?;
    let mut ignored = ignored.into_inner();
    ignored.sort();
    ignored.dedup();
    Ok((value, ignored))
}

/// Reads one value of a form.
struct Reader<'a> {
    form: &'a Form,
    /// Where it stands.
    place: String,
    ignored: &'a RefCell<Vec<String>>,
}

impl Reader<'_> {
    /// The place of what has this key.
    fn below(&self, key: &str) -> String {
        match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        }
    }

    fn value<'de, A: MapAccess<'de>>(
        &self,
        form: &Form,
        key: &str,
        map: &mut A,
    ) -> Result<Value, A::Error> {
        map.next_value_seed(Reader {
            form,
            place: self.below(key),
            ignored: self.ignored,
        })
    }

    fn pass_over<'de, A: MapAccess<'de>>(&self, key: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>()?;
        self.ignored.borrow_mut().push(self.below(key));
        Ok(())
    }

    /// The next field's value, put where it belongs.
    fn field<'de, A: MapAccess<'de>>(
        &self,
        fields: &[(&str, Form)],
        key: &str,
        map: &mut A,
        read: &mut Map<String, Value>,
    ) -> Result<(), A::Error> {
        let wanted = folded(key);
        let Some((name, form)) = fields.iter().find(|(name, _)| folded(name) == wanted) else {
            return self.pass_over(key, map);
        };
        match (self.value(form, key, map)?, read.get_mut(*name)) {
            // It says nothing.
            (Value::Null, _) => {}
            (Value::Object(more), Some(Value::Object(before))) => before.extend(more),
            (value, _) => drop(read.insert((*name).to_owned(), value)),
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self.form {
            Form::Any | Form::Text | Form::Switch => Value::deserialize(deserializer),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            match self.form {
                Form::Fields(fields) => {
                    self.field(fields, &key, &mut map, &mut read)?;
                    continue;
                }
                // One that is no option's either is refused later, in dockerd's words.
                Form::Proxies if !is_proxy(&key) && options::find(&key).is_some() => {
                    self.pass_over(&key, &mut map)?;
                    continue;
                }
                _ => {}
            }
            let value = match self.form {
                Form::File => self.value(&form(&key), &key, &mut map)?,
                Form::Entries(of) => or_nothing(of, self.value(of, &key, &mut map)?),
                Form::Proxies => or_nothing(&Form::Text, map.next_value()?),
                _ => map.next_value()?,
            };
            read.insert(key, value);
        }
        Ok(Value::Object(read))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let form = match self.form {
            Form::List(of) => of,
            _ => &Form::Any,
        };
        let mut read = Vec::new();
        loop {
            let next = list.next_element_seed(Reader {
                form,
                place: format!("{}[{}]", self.place, read.len()),
                ignored: self.ignored,
            });
            match next? {
                Some(value) => read.push(or_nothing(form, value)),
                None => return Ok(Value::Array(read)),
            }
        }
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }
}

fn is_proxy(key: &str) -> bool {
    PROXIES.contains(&key)
}

/// What Go leaves in a map or a list where `null` stands: nothing, of the type that belongs there.
fn or_nothing(form: &Form, value: Value) -> Value {
    match (form, value) {
        (Form::Text, Value::Null) => Value::from(""),
        (Form::Switch, Value::Null) => Value::from(false),
        (Form::Entries(_), Value::Null) => Value::Object(Map::new()),
        (_, value) => value,
    }
}

/// A name without its case, by Unicode's simple folding: two letters fold to ones of ASCII.
fn folded(name: &str) -> String {
    let fold = |letter: char| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        letter => letter.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What of `text` is read, and what is passed over.
    fn told(text: &str) -> (Value, Vec<String>) {
        read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn fields_are_found_in_any_case_and_the_last_one_holds() {
        for (text, expected) in [
            (
                r#"{"default-ulimits": {"nofile": {"name": "n", "HARD": 2, "soft": 1}}}"#,
                json!({"default-ulimits": {"nofile": {"Name": "n", "Hard": 2, "Soft": 1}}}),
            ),
            (
                r#"{"default-ulimits": {"a": {"Hard": 1, "hard": 2}, "b": {"hard": 2, "Hard": 1}}}"#,
                json!({"default-ulimits": {"a": {"Hard": 2}, "b": {"Hard": 1}}}),
            ),
            (
                r#"{"default-ulimits": {"a": {"ſoft": 1, "ΗARD": 5}}}"#,
                json!({"default-ulimits": {"a": {"Soft": 1}}}),
            ),
            (
                r#"{"runtimes": {"x": {"PATH": "/x", "runtimeargs": ["A", null], "RuntimeType": ""}}}"#,
                json!({"runtimes": {"x": {"path": "/x", "runtimeArgs": ["A", ""], "runtimeType": ""}}}),
            ),
            (
                r#"{"runtimes": {"x": {"options": {"a": 1, "b": 1}, "Options": {"b": 2, "B": 3}}}}"#,
                json!({"runtimes": {"x": {"options": {"a": 1, "b": 2, "B": 3}}}}),
            ),
            (
                r#"{"default-address-pools": [{"Base": "10.0.0.0/8", "SIZE": 24}]}"#,
                json!({"default-address-pools": [{"base": "10.0.0.0/8", "size": 24}]}),
            ),
        ] {
            assert_eq!(told(text).0, expected, "{text}");
        }
    }

    #[test]
    fn keys_of_the_users_are_what_they_are() {
        for text in [
            r#"{"Debug":true,"debug":false}"#,
            r#"{"default-network-opts":{"Bridge":{"A":"1","a":"2"},"bridge":{}}}"#,
            r#"{"features":{"X":true,"x":false},"log-opts":{"A":"1","a":"2"}}"#,
            r#"{"runtimes":{"X":{"path":"/X"},"x":{"path":"/x"}}}"#,
            r#"{"labels":["a=1"],"mtu":-5,"nri-opts":{"Enable":[1.5,null]},"proxies":{"HTTP-Proxy":""}}"#,
        ] {
            let (read, ignored) = told(text);
            assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
            assert!(ignored.is_empty(), "{text}: {ignored:?}");
        }
    }

    #[test]
    fn what_is_no_field_is_passed_over_and_told() {
        let text = r#"{
            "runtimes": {"x": {"path": "/x", "colour": {"deep": [1]}, "colour": 2}},
            "default-address-pools": [{"base": ""}, {"seize": 1}],
            "default-ulimits": {"a": {"Limit": null}},
            "proxies": {"no-proxy": "x", "debug": true, "odd": 1}
        }"#;
        let (read, ignored) = told(text);
        let expected = [
            "default-address-pools[1].seize",
            "default-ulimits.a.Limit",
            "proxies.debug",
            "runtimes.x.colour",
        ];
        assert_eq!(ignored, expected);
        assert_eq!(read["runtimes"], json!({"x": {"path": "/x"}}));
        assert_eq!(read["proxies"], json!({"no-proxy": "x", "odd": 1}));
    }

    #[test]
    fn null_is_what_go_makes_of_it() {
        let text = r#"{
            "log-opts": {"a": null}, "features": {"x": null}, "dns-opts": [null],
            "default-network-opts": {"bridge": null, "y": {"z": null}},
            "runtimes": {"x": {"path": "/x", "runtimeArgs": null, "PATH": null}, "y": null},
            "default-address-pools": [null], "debug": null, "proxies": {"no-proxy": null}
        }"#;
        let expected = json!({
            "log-opts": {"a": ""}, "features": {"x": false}, "dns-opts": [""],
            "default-network-opts": {"bridge": {}, "y": {"z": ""}},
            "runtimes": {"x": {"path": "/x"}, "y": null},
            "default-address-pools": [null], "debug": null, "proxies": {"no-proxy": ""}
        });
        assert_eq!(told(text).0, expected);
    }

    #[test]
    fn what_has_another_shape_stays_as_it_is() {
        for text in [
            r#"{"runtimes":[{"PATH":1}],"default-ulimits":5,"default-address-pools":{"Base":1}}"#,
            r#"{"runtimes":{"x":"text","y":[true,1.5,18446744073709551615]},"proxies":null}"#,
            "[1]",
            "null",
            "\"text\"",
        ] {
            let (read, ignored) = told(text);
            assert_eq!(read, serde_json::from_str::<Value>(text).unwrap());
            assert!(ignored.is_empty());
        }
        for text in ["{", "{} {}", r#"{"runtimes":{"x":{"odd":[}}}"#] {
            let whole = serde_json::from_str::<Value>(text).unwrap_err();
            assert_eq!(read(text).unwrap_err().to_string(), whole.to_string());
        }
    }
}
