//! Points in time as Go writes them.

/// Go's zero time: what dockerd says of something that has not happened.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A point in time in UTC as Go's `time.RFC3339Nano` has it: as many digits of the fraction as it
/// needs, none for a whole second.
#[must_use]
pub fn rfc3339_nano(time: jiff::Timestamp) -> String {
    time.to_string()
}

/// Reads a point in time; `None` for Go's zero time, nothing, and what is no time.
#[must_use]
pub fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    if text == ZERO_TIME {
        None
    } else {
        text.parse().ok()
    }
}
