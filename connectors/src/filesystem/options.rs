//! The options of `filesystem` tables.

use thalweg_graph::{options::MemorySize, table::TableDescriptor};

use crate::{
    error::{Error, Result},
    format::{self, FileFormat},
    lookup::FULL_CACHE_OPTIONS,
    options::{self, Known, TableOptions, Takes, known},
};

const CONNECTOR: &str = "filesystem";

const OPTIONS: &[Known] = &[
    known("connector", Takes::Text),
    known("path", Takes::Text),
    known("format", Takes::Text),
    known("partition.default-name", Takes::Text),
    known("sink.rolling-policy.file-size", Takes::Size),
    known("sink.rolling-policy.rollover-interval", Takes::Duration),
    known("sink.rolling-policy.check-interval", Takes::Duration),
    known("sink.partition-commit.policy.kind", Takes::Text),
    known("sink.partition-commit.success-file.name", Takes::Text),
    known("sink.partition-commit.trigger", Takes::OneOf(&["process-time", "partition-time"])),
    known("sink.partition-commit.delay", Takes::Duration),
    known("sink.shuffle-by-partition.enable", Takes::Bool),
    known("sink.parallelism", Takes::Number),
    known("auto-compaction", Takes::Bool),
    known("compaction.file-size", Takes::Size),
    known("source.monitor-interval", Takes::Refused("files are read once, as a bounded source")),
    known("source.path.regex-pattern", Takes::Refused("write a pattern such as `/data/*.csv` into `path`")),
    known("partition.time-extractor.kind", Takes::Text),
    known("partition.time-extractor.class", Takes::Refused("classes cannot be loaded")),
    known("partition.time-extractor.timestamp-pattern", Takes::Text),
    known("partition.time-extractor.timestamp-formatter", Takes::Text),
];

/// What a `filesystem` table says about itself.
#[derive(Debug, Clone)]
pub struct FilesystemOptions {
    /// Where its files are, as written.
    pub path: String,
    /// Their format.
    pub format: FileFormat,
    /// How NULL is written in the name of a partition's folder.
    pub default_partition_name: String,
    /// The size at which an output file is ended.
    pub target_file_bytes: u64,
    /// The file that marks a committed folder, where one is wanted.
    pub success_file: Option<String>,
}

impl FilesystemOptions {
    /// Checks and reads the options of a table.
    pub fn of(table: &TableDescriptor) -> Result<Self> {
        let given = TableOptions(&table.options);
        let path = given.required(CONNECTOR, "path")?.to_owned();
        let format = FileFormat::parse(given.required(CONNECTOR, "format")?)?;
        let formats = format::options::of(format);
        let known: Vec<Known> = OPTIONS.iter().chain(FULL_CACHE_OPTIONS).chain(formats).copied().collect();
        options::check(CONNECTOR, given.0, &known)?;
        let MemorySize(target_file_bytes) =
            given.value("sink.rolling-policy.file-size").unwrap_or(MemorySize(128 << 20));
        Ok(Self {
            path,
            format,
            default_partition_name: given
                .text("partition.default-name")
                .filter(|name| !name.is_empty())
                .unwrap_or("__DEFAULT_PARTITION__")
                .to_owned(),
            target_file_bytes: target_file_bytes.max(1),
            success_file: success_file(given)?,
        })
    }
}

fn success_file(given: TableOptions<'_>) -> Result<Option<String>> {
    let mut wanted = false;
    for kind in given.text("sink.partition-commit.policy.kind").unwrap_or_default().split(',') {
        match kind.trim() {
            "" => {}
            "success-file" => wanted = true,
            kind @ ("metastore" | "custom") => {
                return Err(Error::Unsupported(format!(
                    "`sink.partition-commit.policy.kind` = `{kind}` is not supported; use `success-file`"
                )));
            }
            other => {
                return Err(Error::InvalidOption(format!(
                    "option `sink.partition-commit.policy.kind` cannot be `{other}`: expected `success-file`"
                )));
            }
        }
    }
    let name = given.text("sink.partition-commit.success-file.name").unwrap_or("_SUCCESS");
    if !name.starts_with(['_', '.']) || name.contains('/') {
        return Err(Error::InvalidOption(format!(
            "option `sink.partition-commit.success-file.name` cannot be `{name}`: expected a file name that begins \
             with `_` or `.`, so that it is not read as data"
        )));
    }
    Ok(wanted.then(|| name.to_owned()))
}
