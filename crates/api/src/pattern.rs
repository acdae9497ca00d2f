//! Path patterns: literal text, `{name}` for one segment, `{name:.*}` for anything.

/// What a pattern's variables stood for in a path.
pub(crate) type Params<'p> = Vec<(&'static str, &'p str)>;

/// One piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(&'static str),
    /// One segment: at least one character, no slash.
    Segment(&'static str),
    /// Anything, also nothing, slashes included: image names have them.
    Rest(&'static str),
}

/// A compiled pattern with at most one [`Piece::Rest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Compiles a pattern of our own table; variables need a literal between them.
    pub(crate) fn new(text: &'static str) -> Pattern {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal));
            }
            let (variable, after) = after.split_once('}').unwrap_or((after, ""));
            pieces.push(match variable.strip_suffix(":.*") {
                Some(name) => Piece::Rest(name),
                None => Piece::Segment(variable),
            });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest));
        }
        Pattern { pieces }
    }

    /// The variables' values if `path` has this shape.
    pub(crate) fn matches<'p>(&self, path: &'p str) -> Option<Params<'p>> {
        let mut params = Vec::new();
        let mut left = path;
        for (at, piece) in self.pieces.iter().enumerate() {
            match *piece {
                Piece::Literal(text) => left = left.strip_prefix(text)?,
                Piece::Segment(name) => {
                    let end = left.find('/').unwrap_or(left.len());
                    if end == 0 {
                        return None;
                    }
                    params.push((name, &left[..end]));
                    left = &left[end..];
                }
                Piece::Rest(name) => {
                    let value = match &self.pieces[at + 1..] {
                        [] => left,
                        [Piece::Literal(text)] => left.strip_suffix(text)?,
                        _ => return None,
                    };
                    params.push((name, value));
                    left = "";
                    break;
                }
            }
        }
        left.is_empty().then_some(params)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matched(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
        let params = Pattern::new(pattern).matches(path)?;
        Some(params.into_iter().map(|(k, v)| (k, v.to_owned())).collect())
    }

    #[test]
    fn image_names_have_slashes() {
        let name = |v: &str| Some(vec![("name", v.to_owned())]);
        assert_eq!(
            matched("/images/{name:.*}/json", "/images/a/b/c:1/json"),
            name("a/b/c:1")
        );
        assert_eq!(
            matched("/images/{name:.*}/json", "/images/json/json"),
            name("json")
        );
        assert_eq!(matched("/images/{name:.*}/json", "/images/json"), None);
        assert_eq!(
            matched("/images/{name:.*}", "/images/a/b@sha256:00"),
            name("a/b@sha256:00")
        );
        assert_eq!(matched("/networks/{id}", "/networks/a/b"), None);
        assert_eq!(matched("/networks/{id}", "/networks/"), None);
        assert_eq!(matched("/info", "/info/"), None);
    }

    proptest! {
        #[test]
        fn any_path_is_answered(path in ".*") {
            for pattern in ["/a/{x:.*}/b", "/a/{x}/b/{y}", "{x:.*}", "/", ""] {
                let _ = Pattern::new(pattern).matches(&path);
            }
        }

        #[test]
        fn what_is_put_in_comes_out(name in "[^\u{0}]{0,40}") {
            let path = format!("/images/{name}/json");
            prop_assert_eq!(
                matched("/images/{name:.*}/json", &path),
                Some(vec![("name", name)])
            );
        }
    }
}
