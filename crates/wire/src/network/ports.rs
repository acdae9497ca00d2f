//! Ports of containers and of the host.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::object::object;

/// Ports of a container (`80/tcp`) and where they are published. A port that is exposed and not
/// published has an empty list, which is `null` in JSON.
pub type PortMap = BTreeMap<String, Vec<PortBinding>>;

object! {
    /// Where on the host a port is published.
    pub struct PortBinding {
        /// The address; empty for all.
        host_ip: String = "HostIp";
        /// The port, or a range to choose from; empty for a random one.
        host_port: String = "HostPort";
    }
}

/// A port specification is none, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPort(String);

/// Ports from `start` to `end`, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first port.
    pub start: u16,
    /// The last port: not below the first.
    pub end: u16,
}

impl PortRange {
    /// All ports of the range.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        self.start..=self.end
    }

    /// How many ports they are.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub fn len(self) -> usize {
        usize::from(self.end.saturating_sub(self.start)) + 1
    }
}

impl FromStr for PortRange {
    type Err = InvalidPort;

    /// Reads `80` or `8000-8010`.
    fn from_str(text: &str) -> Result<PortRange, InvalidPort> {
        let (start, end) = text.split_once('-').unwrap_or((text, text));
        let range = PortRange {
            start: port(start)?,
            end: port(end)?,
        };
        if range.end < range.start {
            return Err(InvalidPort(format!("invalid port range: {text}")));
        }
        Ok(range)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "{}", self.start)
        } else {
            write!(f, "{}-{}", self.start, self.end)
        }
    }
}

fn port(text: &str) -> Result<u16, InvalidPort> {
    let reason = if text.is_empty() {
        "value is empty"
    } else if !text.bytes().all(|b| b.is_ascii_digit()) {
        "invalid syntax"
    } else if let Ok(port) = text.parse() {
        return Ok(port);
    } else {
        "value out of range"
    };
    Err(InvalidPort(format!("invalid port '{text}': {reason}")))
}

/// Ports of a container with their protocol: `80/tcp`, `53/udp`, `8000-8010/tcp`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSpec {
    /// The ports.
    pub range: PortRange,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
}

impl FromStr for PortSpec {
    type Err = InvalidPort;

    /// Reads `80`, `80/udp`, `8000-8010/tcp`; without a protocol it is `tcp`.
    fn from_str(text: &str) -> Result<PortSpec, InvalidPort> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" | "" => "tcp",
            "udp" => "udp",
            "sctp" => "sctp",
            _ => return Err(InvalidPort(format!("invalid proto: {protocol}"))),
        };
        Ok(PortSpec {
            range: range.parse()?,
            protocol,
        })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.range, self.protocol)
    }
}

impl PortBinding {
    /// The host's ports; `None` for a random one.
    ///
    /// # Errors
    /// The port is none, in Docker's words.
    pub fn ports(&self) -> Result<Option<PortRange>, InvalidPort> {
        match self.host_port.as_str() {
            "" | "0" => Ok(None),
            text => text.parse().map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn specifications_are_read() {
        let spec = |text: &str| text.parse::<PortSpec>().map(|s| s.to_string());
        assert_eq!(spec("80").unwrap(), "80/tcp");
        assert_eq!(spec("53/UDP").unwrap(), "53/udp");
        assert_eq!(spec("8000-8010/sctp").unwrap(), "8000-8010/sctp");
        let error = |text: &str| spec(text).unwrap_err().to_string();
        assert_eq!(error("80/x"), "invalid proto: x");
        assert_eq!(error("x"), "invalid port 'x': invalid syntax");
        assert_eq!(error("65536"), "invalid port '65536': value out of range");
        assert_eq!(error("/tcp"), "invalid port '': value is empty");
        assert_eq!(error("9-8"), "invalid port range: 9-8");
    }

    #[test]
    fn bindings_have_ports() {
        let ports = |text: &str| {
            PortBinding {
                host_port: text.to_owned(),
                ..PortBinding::default()
            }
            .ports()
        };
        assert_eq!(ports("").unwrap(), None);
        assert_eq!(ports("0").unwrap(), None);
        assert_eq!(ports("80").unwrap(), Some(PortRange { start: 80, end: 80 }));
        assert_eq!(
            ports("80-82").unwrap().unwrap().ports().collect::<Vec<_>>(),
            [80, 81, 82]
        );
        assert!(ports("a").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in "[0-9a-z/-]*") {
            if let Ok(spec) = text.parse::<PortSpec>() {
                prop_assert_eq!(spec.to_string().parse::<PortSpec>().unwrap(), spec);
            }
        }
    }
}
