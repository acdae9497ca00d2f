use proptest::prelude::*;

use super::*;

const SUM: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn names_are_completed_and_shortened_as_docker_does() {
    for (text, full, familiar) in [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1", "docker.io/library/busybox:1", "busybox:1"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        (
            "index.docker.io/busybox",
            "docker.io/library/busybox",
            "busybox",
        ),
        ("me/app:v1", "docker.io/me/app:v1", "me/app:v1"),
        ("localhost/app", "localhost/app", "localhost/app"),
        (
            "localhost:5000/a/b:t",
            "localhost:5000/a/b:t",
            "localhost:5000/a/b:t",
        ),
        (
            "127.0.0.1:9/none:1",
            "127.0.0.1:9/none:1",
            "127.0.0.1:9/none:1",
        ),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("Foo/bar", "Foo/bar", "Foo/bar"),
        (
            "a__b/c-----d.e_f",
            "docker.io/a__b/c-----d.e_f",
            "a__b/c-----d.e_f",
        ),
    ] {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), full, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(Reference::parse(full).unwrap(), reference);
    }
}

#[test]
fn tags_and_digests() {
    let text = format!("busybox:1@sha256:{SUM}");
    let reference = Reference::parse(&text).unwrap();
    assert_eq!(reference.tag(), Some("1"));
    assert_eq!(reference.digest().unwrap().encoded(), SUM);
    assert_eq!(reference.familiar(), text);
    assert_eq!(reference.with_tag("2").unwrap().familiar(), "busybox:2");
    assert_eq!(reference.with_tag("-2"), Err(Error::Tag));
    assert_eq!(
        Reference::parse("x").unwrap().tagged().familiar(),
        "x:latest"
    );
    assert_eq!(reference.repository().name(), "docker.io/library/busybox");
}

#[test]
fn bad_names_get_dockers_words() {
    let format = "invalid reference format";
    let long = format!("a/{}", "b".repeat(256));
    let tag = format!("a:{}", "b".repeat(129));
    for (text, message) in [
        ("a//b", format),
        ("", format),
        ("/a", format),
        ("a/", format),
        ("a:", format),
        ("a@", format),
        ("a:b:c", format),
        ("-a", format),
        ("a.", format),
        ("a._b", format),
        ("a___b", format),
        ("a b", format),
        ("ä", format),
        ("a@sha256:12", format),
        (tag.as_str(), format),
        (
            "Foo",
            "invalid reference format: repository name (library/Foo) must be lowercase",
        ),
        (
            "a/Foo:B",
            "invalid reference format: repository name (a/Foo) must be lowercase",
        ),
        (
            long.as_str(),
            "repository name must not be more than 255 characters",
        ),
        (
            SUM,
            "invalid repository name (e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855), cannot specify 64-byte hexadecimal strings",
        ),
    ] {
        assert_eq!(
            Reference::parse(text).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}

#[test]
fn digests() {
    let digest = Digest::of(b"");
    assert_eq!(digest.as_str(), format!("sha256:{SUM}"));
    assert_eq!(digest.algorithm(), "sha256");
    assert_eq!(digest.short(), "e3b0c44298fc");
    assert_eq!(Digest::parse("sha256:12"), Err(Error::DigestLength));
    assert_eq!(Digest::parse("md5:12"), Err(Error::DigestAlgorithm));
    assert_eq!(Digest::parse("12"), Err(Error::DigestFormat));
    assert_eq!(
        Digest::parse(&format!("sha256:{}", SUM.to_uppercase())),
        Err(Error::DigestFormat)
    );
}

#[test]
fn chain_ids_follow_the_oci_specification() {
    let layers = [Digest::of(b"a"), Digest::of(b"b"), Digest::of(b"c")];
    let chain = chain_ids(&layers);
    assert_eq!(chain[0], layers[0]);
    assert_eq!(
        chain[1],
        Digest::of(format!("{} {}", layers[0], layers[1]).as_bytes())
    );
    assert_eq!(
        chain[2],
        Digest::of(format!("{} {}", chain[1], layers[2]).as_bytes())
    );
    assert_eq!(chain_id(&layers), Some(chain[2].clone()));
    assert_eq!(chain_id(&[]), None);
}

proptest! {
    #[test]
    fn anything_parses_or_fails_cleanly(text in "\\PC{0,80}") {
        if let Ok(reference) = Reference::parse(&text) {
            let again = Reference::parse(&reference.to_string()).unwrap();
            prop_assert_eq!(again, reference);
        }
        let _ = Digest::parse(&text);
    }

    #[test]
    fn valid_names_parse(
        host in "([a-z0-9]{1,5}\\.[a-z]{2,3}|localhost)(:[0-9]{1,5})?/",
        path in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,5}){0,2}",
        tag in "(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,20})?",
    ) {
        let text = format!("{host}{path}{tag}");
        let reference = Reference::parse(&text).unwrap();
        prop_assert_eq!(reference.path(), path.as_str());
        prop_assert_eq!(reference.to_string(), text.clone());
        prop_assert_eq!(reference.familiar(), text);
    }

    #[test]
    fn familiar_names_mean_the_same(path in "[a-z]{1,5}(/[a-z]{1,5}){0,2}", tag in "[a-z0-9]{1,5}") {
        // `localhost/…` is a registry, not a namespace.
        prop_assume!(!path.starts_with("localhost/"));
        let reference = Reference::parse(&format!("{path}:{tag}")).unwrap();
        prop_assert_eq!(Reference::parse(&reference.familiar()).unwrap(), reference);
    }
}
