use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn filters(text: &str) -> Filters {
    Filters::from_json(text).unwrap()
}

#[test]
fn both_forms_are_read() {
    let new = filters(r#"{"label":{"a":true,"b=c":true},"status":{"exited":true}}"#);
    let old = filters(r#"{"label":["b=c","a"],"status":["exited"]}"#);
    assert_eq!(new, old);
    assert_eq!(new.get("label"), ["a", "b=c"]);
    assert!(filters("").is_empty() && filters("{}").is_empty() && filters("null").is_empty());
    assert!(filters(r#"{"a":null}"#).contains("a"));
    assert_eq!(
        Filters::from_json("[]").unwrap_err().to_string(),
        "invalid filter"
    );
    assert_eq!(
        Filters::from_json(r#"{"a":"b"}"#).unwrap_err().to_string(),
        "invalid filter"
    );
}

#[test]
fn unknown_ones_are_refused_in_dockers_words() {
    let error = filters(r#"{"foo":["a"]}"#)
        .validate(&["id", "name"])
        .unwrap_err();
    assert_eq!(error.to_string(), "invalid filter 'foo'");
    assert!(filters(r#"{"id":["a"]}"#).validate(&["id", "name"]).is_ok());
}

#[test]
fn flags() {
    let flag = |text: &str| filters(text).flag("dangling").map_err(|e| e.to_string());
    assert_eq!(flag("{}"), Ok(None));
    assert_eq!(flag(r#"{"dangling":["1"]}"#), Ok(Some(true)));
    assert_eq!(flag(r#"{"dangling":["false"]}"#), Ok(Some(false)));
    assert_eq!(
        flag(r#"{"dangling":[]}"#),
        Err("invalid filter 'dangling'".to_owned())
    );
    assert_eq!(
        flag(r#"{"dangling":["x"]}"#),
        Err("invalid filter 'dangling=[x]'".to_owned())
    );
    assert_eq!(
        flag(r#"{"dangling":["true","false"]}"#),
        Err("invalid filter 'dangling=[false true]'".to_owned())
    );
}

#[test]
fn values_are_matched() {
    let given = filters(r#"{"name":["web","^db[0-9]$","["],"id":["abc"]}"#);
    let refused = filters(r#"{"id":{"no":false}}"#);
    assert!(given.exact("name", "web") && !given.exact("name", "we"));
    assert!(given.exact("other", "anything"));
    assert!(!refused.exact("id", "no"));
    assert!(given.pattern("name", "my-web-1") && given.pattern("name", "db3"));
    assert!(!given.pattern("name", "db33") && !given.pattern("name", "x"));
    assert!(given.prefix("id", "abcdef") && !given.prefix("id", "ab"));
    assert!(!given.unique_exact("name", "web"));
    assert!(filters(r#"{"a":["b"]}"#).unique_exact("a", "b"));
}

#[test]
fn labels_must_all_fit() {
    let given = filters(r#"{"label":["a","b=c"]}"#);
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    assert!(given.labels("label", &map(&[("a", "x"), ("b", "c")])));
    assert!(!given.labels("label", &map(&[("a", "x"), ("b", "d")])));
    assert!(!given.labels("label", &map(&[("b", "c")])));
    assert!(given.labels("label!", &map(&[])));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".*", pattern in ".*") {
        let _ = Filters::from_json(&text);
        let mut given = Filters::new();
        given.add("name", &pattern);
        let _ = given.pattern("name", &text);
        prop_assert!(given.exact("name", &pattern));
    }
}
