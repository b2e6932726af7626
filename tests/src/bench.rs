//! The load and latency tools: both work with any server.
//!
//! ```text
//! clip ─▶ publish (real time, stamped) ─RTMP─▶ server ─rtmp|flv|ws|mp4─▶ load (N viewers) ─▶ tally ─▶ report
//! ```

pub mod histogram;
pub mod load;

pub mod publish;

use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How many descriptors a tool asks for; the system's hard limit bounds it.
const DESCRIPTORS: u64 = 200_000;

/// Raises the limit of open files as far as the system lets, and returns it: one viewer is one descriptor.
pub fn raise_file_limit() -> u64 {
    rlimit::increase_nofile_limit(DESCRIPTORS).unwrap_or(0)
}

/// Reads a duration: `500ms`, `30s`, `2m`, or a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits
        .parse()
        .with_context(|| format!("{text}: expected a duration such as 500ms, 30s or 2m"))?;
    let seconds = match &text[digits.len()..] {
        "" | "s" => number,
        "ms" => number / 1000.0,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        unit => bail!("{text}: unknown unit {unit}, expected ms, s, m or h"),
    };
    Duration::try_from_secs_f64(seconds).with_context(|| format!("{text}: out of range"))
}

/// Reads a bit rate: `800k`, `2.5M`, or a bare number of bits per second.
pub fn bit_rate(text: &str) -> Result<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits
        .parse()
        .with_context(|| format!("{text}: expected a bit rate such as 800k or 2.5M"))?;
    let factor = match &text[digits.len()..] {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        unit => bail!("{text}: unknown unit {unit}, expected k, M or G"),
    };
    if !(0.0..=1e12).contains(&number) {
        bail!("{text}: out of range");
    }
    Ok((number * factor) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_bit_rates_are_read_with_their_units() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("fast").is_err() && duration("3x").is_err() && duration("-1s").is_err());
        assert_eq!(bit_rate("800k").unwrap(), 800_000);
        assert_eq!(bit_rate("2.5M").unwrap(), 2_500_000);
        assert!(bit_rate("2.5m").is_err() && bit_rate("-1").is_err());
    }
}
