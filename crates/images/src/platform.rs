//! Platforms: what an image is for and what this host runs.

use std::fmt;

use berth_wire as wire;
use serde::{Deserialize, Serialize};

use crate::manifest::Descriptor;
use crate::{Error, Result};

/// What Go runs on: what may stand alone for a platform.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
const ARCHITECTURES: &[&str] = &[
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "arm64",
    "arm64be",
    "armbe",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "mipsle",
    "ppc",
    "ppc64",
    "ppc64le",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// An operating system, an architecture and, where it matters, a variant of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The architecture, in Go's names: `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// The operating system: `linux`.
    #[serde(default)]
    pub os: String,
    /// The version of the operating system; Windows only.
    #[serde(
        default,
        rename = "os.version",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// The variant, e.g. `v7` of `arm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl Platform {
    /// What this host runs.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Platform {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            os_version: String::new(),
            variant: variant.to_owned(),
        }
    }

    /// Parses `os[/architecture[/variant]]`, or an architecture alone.
    ///
    /// # Errors
    /// In containerd's words when it is not one.
    pub fn parse(text: &str) -> Result<Platform> {
        let part = |p: &str| {
            !p.is_empty()
                && p.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        };
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        if let Some(bad) = text.split('/').find(|p| !part(p)) {
            return Err(Error::Invalid(format!(
                "{bad:?} is an invalid component of {text:?}: platform specifier component must match \"^[A-Za-z0-9_.-]+$\": invalid argument"
            )));
        }
        let host = Platform::host();
        let (os, architecture, variant) = match parts.as_slice() {
            [one] if SYSTEMS.contains(one) => {
                (*one, host.architecture.as_str(), host.variant.as_str())
            }
            [one] => {
                let alone = Platform {
                    architecture: (*one).to_owned(),
                    ..Platform::default()
                };
                if !ARCHITECTURES.contains(&alone.normal().architecture.as_str()) {
                    return Err(Error::Invalid(format!(
                        "{text:?}: unknown operating system or architecture: invalid argument"
                    )));
                }
                ("linux", *one, "")
            }
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => {
                return Err(Error::Invalid(format!(
                    "{text:?}: cannot parse platform specifier: invalid argument"
                )));
            }
        };
        Ok(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
            os_version: String::new(),
        }
        .normal())
    }

    /// Reads the OCI's JSON of a platform, as newer API versions send it.
    ///
    /// # Errors
    /// In dockerd's words when it is not one.
    pub fn from_json(text: &str) -> Result<Platform> {
        let read: Platform = serde_json::from_str(text)
            .map_err(|e| Error::Invalid(format!("failed to parse platform: {e}")))?;
        let more = !read.variant.is_empty() || !read.os_version.is_empty();
        let wrong = match (read.os.is_empty(), read.architecture.is_empty()) {
            (true, true) if more => {
                "optional platform fields provided, but OS and Architecture are missing"
            }
            (false, false) => return Ok(read.normal()),
            _ => "both OS and Architecture must be provided",
        };
        Err(Error::Invalid(wrong.to_owned()))
    }

    /// As Docker's API shows it.
    pub(crate) fn to_wire(&self) -> wire::OciPlatform {
        wire::OciPlatform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            variant: self.variant.clone(),
            ..Default::default()
        }
    }

    /// The same platform by its usual name.
    pub(crate) fn normal(&self) -> Platform {
        let mut p = self.clone();
        let (architecture, variant) = match (p.architecture.as_str(), p.variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", "v8"),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7" | "v7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        (p.architecture, p.variant) = (architecture.to_owned(), variant.to_owned());
        p
    }

    /// How well an image for `image` runs here: `None` not at all, else the less the better.
    pub(crate) fn distance(&self, image: &Platform) -> Option<u32> {
        let (here, image) = (self.normal(), image.normal());
        if here.os != image.os {
            return None;
        }
        let number =
            |v: &str, least: u32| v.trim_start_matches('v').parse::<u32>().unwrap_or(least);
        if here.architecture == image.architecture {
            let least = if here.architecture == "amd64" { 1 } else { 0 };
            return number(&here.variant, least).checked_sub(number(&image.variant, least));
        }
        // 32-bit code runs on most 64-bit processors; Docker takes it where there is nothing better.
        match (here.architecture.as_str(), image.architecture.as_str()) {
            ("amd64", "386") => Some(100),
            ("arm64", "arm") => Some(100 + 8u32.saturating_sub(number(&image.variant, 0))),
            _ => None,
        }
    }

    /// The manifests of an index that are for this platform, best first.
    pub(crate) fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Vec<&'a Descriptor> {
        let mut fitting: Vec<(u32, &Descriptor)> = manifests
            .iter()
            .filter(|d| !d.is_attestation())
            .filter_map(|d| {
                let distance = match &d.platform {
                    Some(platform) => self.distance(platform)?,
                    // It may be: its configuration tells.
                    None => 1000,
                };
                Some((distance, d))
            })
            .collect();
        fitting.sort_by_key(|(distance, _)| *distance);
        fitting.into_iter().map(|(_, d)| d).collect()
    }
}
