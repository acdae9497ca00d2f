//! A challenge that is well formed is understood, whatever its values are.

#![no_main]

use arbitrary::Arbitrary;
use berth_registry::fuzzing;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Said {
    key: u8,
    value: String,
    /// Without quotes, where the value can do without.
    token: bool,
}

fuzz_target!(|said: Vec<Said>| {
    let keys = ["realm", "service", "scope", "error"];
    let mut header = String::from("Bearer ");
    let mut expected = Vec::new();
    for Said { key, value, token } in said {
        let key = keys[usize::from(key) % keys.len()];
        let plain = value.chars().all(|c| c.is_ascii_alphanumeric()) && !value.is_empty();
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        match token && plain {
            true => header += &format!("{key}={value},"),
            false => header += &format!("{key}=\"{quoted}\", "),
        }
        expected.push((key.to_owned(), value));
    }
    let (scheme, parameters) = fuzzing::challenge(&header);
    assert_eq!((scheme.as_str(), parameters), ("bearer", expected), "{header}");
});
