//! The default seccomp profile's text.

use std::path::Path;

use crate::{Config, Error, Result};

/// Profiles are some 50 KiB.
const MOST: u64 = 4 << 20;

/// What containers get that ask for nothing: `None` for the built-in profile, else `unconfined`
/// or a profile's JSON text.
pub(crate) fn load(config: &Config) -> Result<Option<String>> {
    match config.seccomp_profile.as_str() {
        "" | "builtin" | "default" => Ok(None),
        "unconfined" => Ok(Some("unconfined".to_owned())),
        path => {
            let failed = |error: &dyn std::fmt::Display| {
                Error::invalid(format!("opening seccomp profile ({path}) failed: {error}"))
            };
            let text = crate::file::read(Path::new(path), MOST).map_err(|error| failed(&error))?;
            // The filter itself is checked where it is built; that it is JSON is known here.
            serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text)
                .map_err(|error| failed(&error))?;
            Ok(Some(text))
        }
    }
}
