//! Which of several content types a client would rather have.

use http::HeaderMap;
use http::header::ACCEPT;

/// The one of `offers` that the `Accept` headers like best; `default` when they like none or are
/// not there. Of equals, an exact name wins over a wildcard, then the earlier offer.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    offers: &[&'static str],
    default: &'static str,
) -> &'static str {
    let mut best = (0f32, 0u8, default);
    for &offer in offers {
        for (range, quality) in ranges(headers) {
            let closeness = closeness(range, offer);
            let better = quality > best.0 || (quality == best.0 && closeness > best.1);
            if closeness > 0 && quality > 0.0 && better {
                best = (quality, closeness, offer);
            }
        }
    }
    best.2
}

/// The media ranges of all `Accept` headers with their qualities.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let values = headers
        .get_all(ACCEPT)
        .into_iter()
        .filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(|part| {
        let mut fields = part.split(';').map(str::trim);
        let range = fields.next().unwrap_or_default();
        let quality = fields.find_map(|f| f.strip_prefix("q=")).unwrap_or("1");
        (range, quality.parse().unwrap_or(0.0))
    })
}

/// How closely a media range names `offer`: 0 not at all, 3 by its name.
fn closeness(range: &str, offer: &str) -> u8 {
    if range == "*/*" {
        return 1;
    }
    match range.strip_suffix("/*") {
        Some(family) if offer.split('/').next() == Some(family) => 2,
        _ if range == offer => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_best_offer_wins() {
        let pick = |accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            negotiate(&headers, &["a/one", "a/two"], "z/none")
        };
        assert_eq!(pick(&[]), "z/none");
        assert_eq!(pick(&["text/html"]), "z/none");
        assert_eq!(pick(&["*/*"]), "a/one");
        assert_eq!(pick(&["a/two"]), "a/two");
        assert_eq!(pick(&["a/two", "a/one"]), "a/one");
        assert_eq!(pick(&["*/*, a/two"]), "a/two");
        assert_eq!(pick(&["a/*, */*;q=0.1"]), "a/one");
        assert_eq!(pick(&["a/one;q=0.5, a/two; q=0.9"]), "a/two");
        assert_eq!(pick(&["a/one;q=0, a/two;q=x"]), "z/none");
    }
}
