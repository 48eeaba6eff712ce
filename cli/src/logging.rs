//! Where log lines go: to stderr, as text or JSON, as loud as `RUST_LOG` or else the command says.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How a process logs.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// Least level that is logged: error, warn, info, debug, trace, or filters such as `thalweg_worker=debug`
    #[arg(long, global = true, env = "RUST_LOG", value_name = "LEVEL")]
    pub log_level: Option<String>,

    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// Starts logging; `default_level` holds where the user says nothing.
pub fn init(args: &LogArgs, default_level: &str) -> anyhow::Result<()> {
    let directives = args.log_level.as_deref().unwrap_or(default_level);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| anyhow::anyhow!("`{directives}` is not a log level or filter: {error}"))?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
