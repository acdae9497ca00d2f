use std::collections::BTreeSet;

use serde_json::json;

use super::*;
use crate::Config;

#[test]
fn keys_and_flags_are_unique_and_every_field_has_its_option() {
    let keys: BTreeSet<_> = OPTIONS.iter().map(|opt| opt.key).collect();
    assert_eq!(keys.len(), OPTIONS.len());
    let flags: Vec<_> = OPTIONS.iter().filter_map(|opt| opt.flag).collect();
    assert_eq!(
        flags
            .iter()
            .map(|flag| flag.long)
            .collect::<BTreeSet<_>>()
            .len(),
        flags.len()
    );
    let short: Vec<_> = flags.iter().filter_map(|flag| flag.short).collect();
    assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), short.len());
    assert_eq!(short.len(), 7, "dockerd has seven short flags of options");
    let Value::Object(config) = serde_json::to_value(Config::default()).unwrap() else {
        panic!("a configuration is an object");
    };
    for key in config.keys() {
        assert!(find(key).is_some(), "{key} has no option");
    }
    for opt in OPTIONS
        .iter()
        .filter(|opt| opt.support == Support::Honoured)
    {
        assert!(
            config.contains_key(opt.key),
            "{} is honoured by nobody",
            opt.key
        );
    }
}

fn flag(long: &str, texts: &[&str]) -> Result<Value> {
    let is = |opt: &&Opt| opt.flag.is_some_and(|flag| flag.long == long);
    let opt = OPTIONS.iter().find(is).expect("a flag");
    let mut flags = Map::new();
    for text in texts {
        opt.parse_flag(text, &mut flags)?;
    }
    Ok(flags[opt.key].clone())
}

#[test]
fn flags_become_what_the_file_would_say() {
    for (long, texts, value) in [
        ("debug", &["true", "0"][..], json!(false)),
        ("mtu", &["1400"], json!(1400)),
        ("shutdown-timeout", &["-1"], json!(-1)),
        ("default-shm-size", &["1m"], json!(1 << 20)),
        ("bip", &["a", "b"], json!("b")),
        (
            "host",
            &["unix:///a", "fd://"],
            json!(["unix:///a", "fd://"]),
        ),
        ("log-opt", &["a=b=c", "d"], json!({"a": "b=c", "d": ""})),
        ("feature", &["a", "b=false"], json!({"a": true, "b": false})),
        (
            "default-ulimit",
            &["nofile=1:2"],
            json!({"nofile": {"Name": "nofile", "Hard": 2, "Soft": 1}}),
        ),
        ("add-runtime", &[" a = /b "], json!({"a": {"path": "/b"}})),
        (
            "default-address-pool",
            &["base=10.10.0.0/16,size=24", "SIZE=64,Base=FD00::/48"],
            json!([{"base": "10.10.0.0/16", "size": 24}, {"base": "fd00::/48", "size": 64}]),
        ),
        (
            "default-network-opt",
            &["bridge=a=b=c", "bridge=d=", "overlay=a=x", "bridge=a=1"],
            json!({"bridge": {"a": "1", "d": ""}, "overlay": {"a": "x"}}),
        ),
    ] {
        assert_eq!(flag(long, texts).unwrap(), value, "{long}");
    }
}

#[test]
fn bad_flags_are_refused_in_dockerds_words() {
    for (long, texts, wrong) in [
        ("debug", &["maybe"][..], "parsing \"maybe\": invalid syntax"),
        ("mtu", &["x"], "parsing \"x\": invalid syntax"),
        ("default-shm-size", &["x"], "invalid size: 'x'"),
        (
            "add-runtime",
            &["runc=/x"],
            "runtime name 'runc' is reserved",
        ),
        ("add-runtime", &["x"], "invalid runtime argument: x"),
        ("add-runtime", &["x="], "invalid runtime argument: x="),
        (
            "add-runtime",
            &["a=/x", "a=/y"],
            "runtime 'a' was already defined",
        ),
        ("default-ulimit", &["x"], "invalid ulimit argument: x"),
        (
            "default-address-pool",
            &["10.10.0.0/16"],
            "invalid field '10.10.0.0/16' must be a key=value pair",
        ),
        (
            "default-address-pool",
            &["base=10.10.0.0,size=24"],
            "invalid base prefix \"10.10.0.0\": netip.ParsePrefix(\"10.10.0.0\"): no '/'",
        ),
        (
            "default-address-pool",
            &["size=x"],
            "invalid size value: \"size=x\" (must be integer): strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        (
            "default-address-pool",
            &["Net=10.0.0.0/8"],
            "unexpected key 'net' in 'Net=10.0.0.0/8'",
        ),
        (
            "default-network-opt",
            &["bridge=mtu"],
            "invalid value \"bridge=mtu\" for map option, should be root-key=key=value",
        ),
    ] {
        assert_eq!(flag(long, texts).unwrap_err().to_string(), wrong);
    }
}

/// A row of the options' page.
fn row(opt: &Opt) -> String {
    let flag = opt.flag.map_or_else(String::new, |flag| match flag.short {
        Some(short) => format!("`-{short}`, `--{}`", flag.long),
        None => format!("`--{}`", flag.long),
    });
    let (support, why) = match opt.support {
        Support::Honoured if opt.reloadable => ("honoured, live", String::new()),
        Support::Honoured => ("honoured", String::new()),
        Support::Accepted(why) => ("no effect", why.to_owned()),
        Support::Refused(why, None) => ("refused", why.to_owned()),
        Support::Refused(why, Some(same)) => ("refused", format!("{why}; `{same}` is taken")),
    };
    let words = match why.as_str() {
        "" => opt.help.to_owned(),
        why => format!("{}: {why}", opt.help),
    };
    format!(
        "| `{}` | {flag} | {support} | {} |\n",
        opt.key,
        words.replace('|', "\\|")
    )
}

/// The page ends in a table of all options. `BLESS=1 cargo test -p berth-config` writes it anew.
#[test]
fn the_page_of_options_is_this_table() {
    const HEAD: &str = "| `daemon.json` | flag | Berth | |\n|---|---|---|---|\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/options.md");
    let table: String = OPTIONS.iter().map(row).collect();
    let page = std::fs::read_to_string(path).unwrap();
    let (prose, written) = page.split_once(HEAD).expect("the page has the table");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, format!("{prose}{HEAD}{table}")).unwrap();
    } else {
        assert!(
            written == table,
            "docs/options.md is stale: BLESS=1 cargo test -p berth-config"
        );
    }
}
