//! Sizes as people write them, with the units and the errors of Docker's `go-units`.

use crate::{Error, Result};

/// `max-size`: `10k` is 10 000 bytes.
pub(crate) fn decimal(text: &str) -> Result<u64> {
    parse(text, 1000)
}

/// `max-buffer-size`: `1m` is 1 048 576 bytes.
pub(crate) fn binary(text: &str) -> Result<u64> {
    parse(text, 1024)
}

fn parse(text: &str, base: u64) -> Result<u64> {
    let bad_size = || Error::InvalidOption(format!("invalid size: '{text}'"));
    let last = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(bad_size)?;
    let number = text[..=last].strip_suffix(' ').unwrap_or(&text[..=last]);
    let suffix = &text[last + 1..];
    let number = match number.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => number,
        _ => return Err(bad_size()),
    };
    let bad_suffix = || Error::InvalidOption(format!("invalid suffix: '{suffix}'"));
    let lower = suffix.to_ascii_lowercase();
    let power = match lower.trim_end_matches('b').trim_end_matches('i') {
        "" if matches!(lower.as_str(), "" | "b") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad_suffix()),
    };
    if power > 0 && !matches!(&lower[1..], "" | "b" | "ib") {
        return Err(bad_suffix());
    }
    // Truncated towards zero and saturating, as Go converts a float to an int64.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    Ok((number * base.pow(power) as f64).min(i64::MAX as f64) as u64)
}
