//! Where log lines go: to stderr, as text or JSON, as loud as `RUST_LOG` or else the command says.

use clap::ValueEnum;
use thalweg_scheduler::LogRing;
use tracing_subscriber::{EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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

/// Starts logging; `default_level` holds where the user says nothing. The newest lines are kept in the ring too, if there is one.
pub fn init(args: &LogArgs, default_level: &str, ring: Option<LogRing>) -> anyhow::Result<()> {
    let directives = args.log_level.as_deref().unwrap_or(default_level);
    let filter = EnvFilter::try_new(directives)
        .map_err(|error| anyhow::anyhow!("`{directives}` is not a log level or filter: {error}"))?;
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi);
    let lines = match args.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let kept =
        ring.map(|ring| tracing_subscriber::fmt::layer().with_writer(move || ring.clone()).with_ansi(false));
    tracing_subscriber::registry().with(filter).with(lines).with(kept).init();
    Ok(())
}
