//! API versions.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A version of the API: `1.55`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// What is before the dot.
    pub major: u16,
    /// What is after it.
    pub minor: u16,
}

impl ApiVersion {
    /// The oldest version that is answered.
    pub const MIN: ApiVersion = ApiVersion::new(1, 24);
    /// The newest version that is answered.
    pub const MAX: ApiVersion = ApiVersion::new(1, 55);
    /// [`ApiVersion::MAX`]: the version whose shapes this crate's types have.
    pub const NEWEST: ApiVersion = ApiVersion::MAX;

    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> ApiVersion {
        ApiVersion { major, minor }
    }

    /// Whether it is older than `1.minor`.
    #[must_use]
    pub fn before(self, minor: u16) -> bool {
        self < ApiVersion::new(1, minor)
    }
}

impl Default for ApiVersion {
    fn default() -> ApiVersion {
        ApiVersion::NEWEST
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = ParseIntError;

    /// Reads `1.55`; a version without a dot has the minor number 0.
    fn from_str(text: &str) -> Result<ApiVersion, ParseIntError> {
        let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
        Ok(ApiVersion::new(major.parse()?, minor.parse()?))
    }
}

impl Serialize for ApiVersion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<ApiVersion, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = |text: &str| text.parse::<ApiVersion>();
        assert!(version("1.9").unwrap() < version("1.24").unwrap());
        assert_eq!(version("1").unwrap(), ApiVersion::new(1, 0));
        assert_eq!(ApiVersion::MAX.to_string(), "1.55");
        assert!(version("1.x").is_err() && version("").is_err());
        assert!(ApiVersion::new(1, 43).before(44) && !ApiVersion::new(1, 44).before(44));
    }
}
