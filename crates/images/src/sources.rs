//! Where blobs come from, as their labels tell: lets a push mount them instead of sending them.

use std::collections::BTreeSet;

use berth_ctrd::Labels;
use berth_reference::Reference;

/// The label's name without the registry's host.
const SOURCE: &str = "containerd.io/distribution.source.";
/// How many repositories one label names at most. containerd takes labels of 4096 bytes.
const MOST: usize = 16;

/// The label of blobs that the repository of `reference` has.
pub(crate) fn label(reference: &Reference) -> Labels {
    Labels::from([(key(reference), reference.path().to_owned())])
}

/// The label of a blob with `labels` that the repository of `reference` has as well; `None` when it
/// says so already.
pub(crate) fn extended(labels: &Labels, reference: &Reference) -> Option<Labels> {
    let key = key(reference);
    let mut paths: BTreeSet<&str> = repositories(labels, reference).collect();
    if paths.len() >= MOST || !paths.insert(reference.path()) {
        return None;
    }
    let all: Vec<&str> = paths.into_iter().collect();
    Some(Labels::from([(key, all.join(","))]))
}

/// The repositories on the registry of `reference` that have a blob with these labels.
pub(crate) fn repositories<'l>(
    labels: &'l Labels,
    reference: &Reference,
) -> impl Iterator<Item = &'l str> + use<'l> {
    let value = labels.get(&key(reference)).map(String::as_str);
    let paths = value.unwrap_or_default().split(',');
    paths.map(str::trim).filter(|path| !path.is_empty())
}

/// As containerd names it: without the port.
fn key(reference: &Reference) -> String {
    let domain = reference.domain();
    let host = match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => domain,
    };
    format!("{SOURCE}{}", host.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_add_up() {
        let name = |text: &str| Reference::parse(text).unwrap();
        let first = label(&name("reg.example:5000/a:1"));
        assert_eq!(
            first,
            Labels::from([(
                "containerd.io/distribution.source.reg.example".to_owned(),
                "a".to_owned()
            )])
        );
        let second = extended(&first, &name("reg.example:5000/b")).unwrap();
        assert_eq!(second.values().collect::<Vec<_>>(), ["a,b"]);
        assert_eq!(extended(&second, &name("reg.example:5000/b")), None);
        let there: Vec<_> = repositories(&second, &name("reg.example:5000/c")).collect();
        assert_eq!(there, ["a", "b"]);
        assert_eq!(repositories(&second, &name("busybox")).count(), 0);
        assert!(
            label(&name("busybox")).contains_key("containerd.io/distribution.source.docker.io")
        );
    }
}
