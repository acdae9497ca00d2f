//! Signals by name and number, as clients write them.

use crate::{Error, Result};

/// The names of the signals 1 to 31.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const ALIASES: [(&str, u32); 4] = [("CLD", 17), ("POLL", 29), ("IOT", 6), ("UNUSED", 31)];
/// The first and last real-time signal.
const REAL_TIME: (u32, u32) = (34, 64);

/// The number of a signal given as `SIGTERM`, `term`, `15`, or `RTMIN+3`.
///
/// # Errors
/// Docker's words.
pub(crate) fn parse(text: &str) -> Result<u32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<u32>() {
        let known = (1..=31).contains(&number) || (REAL_TIME.0..=REAL_TIME.1).contains(&number);
        return match (known, number) {
            (true, _) => Ok(number),
            (false, 0) => Err(invalid()),
            (false, _) => Err(Error::invalid(format!(
                "the linux daemon does not support signal {number}"
            ))),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return u32::try_from(index + 1).map_err(|_| invalid());
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(*number);
    }
    let offset = |text: &str| match text {
        "" => Some(0),
        _ => text.get(1..).and_then(|digits| digits.parse::<u32>().ok()),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        rest.strip_prefix('+')
            .map_or(rest.is_empty().then_some(0), |_| offset(rest))
            .map(|n| REAL_TIME.0 + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        rest.strip_prefix('-')
            .map_or(rest.is_empty().then_some(0), |_| offset(rest))
            .and_then(|n| REAL_TIME.1.checked_sub(n))
    } else {
        None
    };
    number
        .filter(|n| (REAL_TIME.0..=REAL_TIME.1).contains(n))
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn signals_by_name_and_number() {
        let known = [
            ("SIGTERM", 15),
            ("term", 15),
            ("15", 15),
            ("KILL", 9),
            ("sigusr1", 10),
            ("USR2", 12),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("RTMAX-14", 50),
            ("POLL", 29),
            ("34", 34),
        ];
        for (text, number) in known {
            assert_eq!(parse(text).ok(), Some(number), "{text}");
        }
        for text in [
            "", "0", "-1", "NOPE", "SIG", "RTMIN+31", "RTMAX-31", "RTMIN3",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert_eq!(error, format!("invalid signal: {text}"));
        }
        for text in ["65", "32"] {
            let error = parse(text).expect_err(text).to_string();
            assert_eq!(
                error,
                format!("the linux daemon does not support signal {text}")
            );
        }
    }
}
