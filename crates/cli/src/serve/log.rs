//! The server's log on stderr.

use std::io::IsTerminal;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;

/// The format of the log.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Lines of text.
    #[default]
    Text,
    /// A JSON object on each line.
    Json,
    /// Lines of text, warnings and errors only.
    Quiet,
}

/// Starts logging.
pub fn begin(format: Format) {
    let level = if format == Format::Quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_target(false);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    match format {
        Format::Json => lines.json().flatten_event(true).init(),
        Format::Text | Format::Quiet => lines.compact().init(),
    }
}
