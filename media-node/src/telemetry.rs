//! The log: structured lines on standard error, with targets silenced that would print secrets.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Form of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Targets that print publish keys (rtmp-rs logs commands whole).
const SILENCED: &[&str] = &["rtmp_rs=off"];

/// Starts logging at `filter`, in which the silenced targets can't be turned on.
pub fn start(filter: &str, format: LogFormat) -> Result<(), ParseError> {
    let filter = filter_of(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}

fn filter_of(text: &str) -> Result<EnvFilter, ParseError> {
    let mut filter = EnvFilter::try_new(text)?;
    for directive in SILENCED {
        filter = filter.add_directive(directive.parse()?);
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_prints_keys_stays_silent_whatever_the_filter_says() {
        let filter = filter_of("trace,rtmp_rs=trace").unwrap().to_string();
        assert!(
            filter.contains("rtmp_rs=off") && !filter.contains("rtmp_rs=trace"),
            "{filter}"
        );
    }
}
