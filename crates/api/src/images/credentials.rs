//! The `X-Registry-Auth` header.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use berth_registry::Credentials;
use http::HeaderMap;

/// Clients write it with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The credentials that came with a request. Bad ones are as good as none: so it always was.
pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Credentials> {
    let header = headers.get("X-Registry-Auth")?.as_bytes();
    // Some clients use the standard alphabet.
    let header: Vec<u8> = header
        .iter()
        .map(|b| match b {
            b'+' => b'-',
            b'/' => b'_',
            other => *other,
        })
        .collect();
    let credentials: Credentials = serde_json::from_slice(&LENIENT.decode(header).ok()?).ok()?;
    (!credentials.is_empty()).then(|| credentials.unpacked())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn headers_are_read_leniently() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("X-Registry-Auth", HeaderValue::from_static(text));
            from_headers(&headers)
        };
        assert_eq!(read("e30="), None);
        assert_eq!(read("bnVsbA=="), None);
        assert_eq!(read("!!"), None);
        assert_eq!(from_headers(&HeaderMap::new()), None);
        // {"username":"a","password":"b","email":""}
        let padded = "eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIiLCJlbWFpbCI6IiJ9";
        assert_eq!(read(padded).unwrap().username, "a");
        // {"username":"a?"}, with and without padding, in both alphabets.
        for text in [
            "eyJ1c2VybmFtZSI6ImE_In0=",
            "eyJ1c2VybmFtZSI6ImE_In0",
            "eyJ1c2VybmFtZSI6ImE/In0=",
        ] {
            assert_eq!(read(text).unwrap().username, "a?", "{text}");
        }
    }
}
