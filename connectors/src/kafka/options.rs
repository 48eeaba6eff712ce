//! The `WITH` options of Kafka tables: which exist, and what a table says.

use std::{collections::BTreeMap, time::Duration};

use fancy_regex::Regex;
use thalweg_graph::table::{TableDescriptor, nearest};

use super::properties::{self, Properties};
use crate::{
    error::{Error, Result},
    format::record::{self, RecordFormat},
    options::{self, Known, TableOptions, Takes, known},
};

/// How often new partitions are looked for where the table does not say it.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(5 * 60);

const STARTUP_MODES: &[&str] =
    &["earliest-offset", "latest-offset", "group-offsets", "timestamp", "specific-offsets"];
const BOUNDED_MODES: &[&str] =
    &["unbounded", "latest-offset", "group-offsets", "timestamp", "specific-offsets"];

const COMMON: &[Known] = &[
    known("connector", Takes::Text),
    known("topic", Takes::Text),
    known("key.format", Takes::Text),
    known("key.fields-prefix", Takes::Text),
    known("value.format", Takes::Text),
    known("value.fields-include", Takes::OneOf(&["ALL", "EXCEPT_KEY"])),
    known("scan.bounded.mode", Takes::OneOf(BOUNDED_MODES)),
    known("scan.bounded.specific-offsets", Takes::Text),
    known("scan.bounded.timestamp-millis", Takes::Number),
    known("scan.topic-partition-discovery.interval", Takes::Duration),
    known("scan.malformed-records", Takes::OneOf(&["fail", "skip", "dead-letter"])),
    known("scan.dead-letter.topic", Takes::Text),
    known("scan.parallelism", Takes::Number),
    known("sink.parallelism", Takes::Number),
    known("sink.delivery-guarantee", Takes::OneOf(&["none", "at-least-once", "exactly-once"])),
    known("sink.transactional-id-prefix", Takes::Text),
];

const KAFKA: &[Known] = &[
    known("format", Takes::Text),
    known("topic-pattern", Takes::Text),
    known("key.fields", Takes::Text),
    known("scan.startup.mode", Takes::OneOf(STARTUP_MODES)),
    known("scan.startup.specific-offsets", Takes::Text),
    known("scan.startup.timestamp-millis", Takes::Number),
    known("sink.partitioner", Takes::OneOf(&["default", "fixed", "round-robin"])),
    known("sink.semantic", Takes::Refused("it is called `sink.delivery-guarantee`")),
];

const UPSERT: &[Known] = &[
    known("sink.buffer-flush.max-rows", Takes::Refused("rows are written as they come; remove it")),
    known("sink.buffer-flush.interval", Takes::Refused("rows are written as they come; remove it")),
];

/// Which topics a table is.
#[derive(Debug, Clone)]
pub enum Topics {
    /// These.
    Listed(Vec<String>),
    /// All whose whole name matches.
    Matching(Regex),
}

/// A format of one side of a record, with its options.
#[derive(Debug, Clone)]
pub struct SideFormat {
    /// The format.
    pub format: RecordFormat,
    /// Its options, without the side's prefix.
    pub options: BTreeMap<String, String>,
}

/// Where in a partition reading begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OffsetMode {
    /// At the first record that there is.
    Earliest,
    /// After the last record that there is.
    Latest,
    /// Where the consumer group has committed to be.
    Group,
    /// At the first record of this time, in milliseconds since 1970.
    Timestamp(i64),
    /// At these offsets, by partition.
    Specific(BTreeMap<i32, i64>),
}

/// What becomes of a record that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Malformed {
    /// The job fails.
    Fail,
    /// It is left out and counted.
    Skip,
    /// It is written to this topic, with where it came from in its headers.
    DeadLetter(String),
}

/// What an acknowledged row is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarantee {
    /// It may be lost.
    None,
    /// It may be written twice.
    AtLeastOnce,
    /// It is visible once, to those who read committed records.
    ExactlyOnce,
}

/// How rows find their partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkPartitioner {
    /// By the key's hash; without a key, in batches to one after the other.
    Default,
    /// Each subtask has one.
    Fixed,
    /// One after the other.
    RoundRobin,
}

/// A table's options.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The connector's name.
    pub connector: &'static str,
    /// `host:port,...`
    pub servers: String,
    /// Settings of the client.
    pub properties: Properties,
    /// The topics.
    pub topics: Topics,
    /// The key's format, if keys are read and written.
    pub key: Option<SideFormat>,
    /// The columns that stand in the key.
    pub key_fields: Vec<String>,
    /// What the names of key columns begin with, and the fields of the key do not.
    pub key_prefix: String,
    /// The value's format.
    pub value: SideFormat,
    /// Whether the key's columns stand in the value too.
    pub value_has_key: bool,
    /// Where reading begins.
    pub startup: OffsetMode,
    /// Where it ends; `None` where it does not.
    pub bounded: Option<OffsetMode>,
    /// How often new partitions are looked for; `None` for never.
    pub discovery_interval: Option<Duration>,
    /// What becomes of malformed records.
    pub malformed: Malformed,
    /// The sink's promise.
    pub guarantee: Guarantee,
    /// What transactional ids begin with; there is one where the promise is exactly once.
    pub transactional_id_prefix: String,
    /// How rows find their partition.
    pub partitioner: SinkPartitioner,
}

impl KafkaOptions {
    /// Whether rows replace earlier ones with the same key.
    pub fn is_upsert(&self) -> bool {
        self.connector == "upsert-kafka"
    }

    /// Checks and reads the options of a table.
    pub fn of(table: &TableDescriptor) -> Result<Self> {
        let connector = if table.connector() == "upsert-kafka" { "upsert-kafka" } else { "kafka" };
        let all = &table.options;
        let options = TableOptions(all);
        let is_upsert = connector == "upsert-kafka";
        let value_format = match options.text("value.format").or(options.text("format")) {
            Some(name) => RecordFormat::parse(name)?,
            None => {
                return Err(Error::InvalidOption(format!(
                    "connector `{connector}` needs the option `{}`",
                    if is_upsert { "value.format" } else { "format" }
                )));
            }
        };
        let key_format = options.text("key.format").map(RecordFormat::parse).transpose()?;
        check_names(connector, all, key_format, value_format)?;
        if is_upsert && table.primary_key.is_empty() {
            return Err(Error::Invalid(format!(
                "connector `upsert-kafka` needs `PRIMARY KEY (...) NOT ENFORCED` on table {}: its columns are the records' keys",
                table.path
            )));
        }
        if is_upsert && value_format.is_changelog() {
            return Err(Error::InvalidOption(format!(
                "`{}` is a format of changes, which connector `upsert-kafka` makes by itself; use `json`, or connector `kafka`",
                value_format.name()
            )));
        }
        let properties = Properties::of(all)?;
        let key_fields = key_fields(table, options, key_format, is_upsert)?;
        let malformed = malformed(options, key_format, value_format)?;
        let parsed = Self {
            connector,
            servers: options.required(connector, "properties.bootstrap.servers")?.to_owned(),
            topics: topics(connector, options)?,
            key: key_format.map(|format| SideFormat { format, options: side("key.", all) }),
            key_fields,
            key_prefix: options.text("key.fields-prefix").unwrap_or_default().to_owned(),
            value: SideFormat { format: value_format, options: side("value.", all) },
            value_has_key: !options
                .text("value.fields-include")
                .is_some_and(|include| include.eq_ignore_ascii_case("EXCEPT_KEY")),
            startup: match is_upsert {
                true => OffsetMode::Earliest,
                false => offset_mode(options, "startup", "group-offsets")?,
            },
            bounded: match options.text("scan.bounded.mode").unwrap_or("unbounded") {
                mode if mode.eq_ignore_ascii_case("unbounded") => None,
                _ => Some(offset_mode(options, "bounded", "unbounded")?),
            },
            discovery_interval: Some(
                options.value("scan.topic-partition-discovery.interval").unwrap_or(DISCOVERY_INTERVAL),
            )
            .filter(|interval| !interval.is_zero()),
            malformed,
            guarantee: match options.text("sink.delivery-guarantee").unwrap_or_default() {
                text if text.eq_ignore_ascii_case("none") => Guarantee::None,
                text if text.eq_ignore_ascii_case("exactly-once") => Guarantee::ExactlyOnce,
                _ => Guarantee::AtLeastOnce,
            },
            transactional_id_prefix: options
                .text("sink.transactional-id-prefix")
                .unwrap_or_default()
                .to_owned(),
            partitioner: match options.text("sink.partitioner").unwrap_or_default() {
                text if text.eq_ignore_ascii_case("fixed") => SinkPartitioner::Fixed,
                text if text.eq_ignore_ascii_case("round-robin") => SinkPartitioner::RoundRobin,
                _ => SinkPartitioner::Default,
            },
            properties,
        };
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<()> {
        let invalid = |text: &str| Err(Error::InvalidOption(text.to_owned()));
        if self.guarantee == Guarantee::ExactlyOnce && self.transactional_id_prefix.trim().is_empty() {
            return invalid(
                "`sink.delivery-guarantee` = `exactly-once` needs `sink.transactional-id-prefix`: a text that no other job \
                 on the cluster uses",
            );
        }
        Ok(())
    }

    /// Checks what matters to those who read the table alone.
    pub fn check_source(&self) -> Result<()> {
        let invalid = |text: &str| Err(Error::InvalidOption(text.to_owned()));
        if self.properties.text("group.id").is_some() {
            return Ok(());
        }
        if self.startup == OffsetMode::Group {
            return invalid(
                "`scan.startup.mode` = `group-offsets` (the default) needs `properties.group.id`; set it, or another mode \
                 such as `earliest-offset`",
            );
        }
        if self.bounded == Some(OffsetMode::Group) {
            return invalid("`scan.bounded.mode` = `group-offsets` needs `properties.group.id`");
        }
        Ok(())
    }

    /// The one topic that rows are written to.
    pub fn sink_topic(&self) -> Result<&str> {
        match &self.topics {
            Topics::Listed(topics) if topics.len() == 1 => Ok(&topics[0]),
            _ => Err(Error::Unsupported(
                "rows are written to one topic; give the table one name in `topic`".to_owned(),
            )),
        }
    }
}

fn check_names(
    connector: &str,
    all: &BTreeMap<String, String>,
    key: Option<RecordFormat>,
    value: RecordFormat,
) -> Result<()> {
    let special = if connector == "kafka" { KAFKA } else { UPSERT };
    let general: Vec<Known> = [COMMON, special, properties::KNOWN].concat();
    let mut rest = all.clone();
    // Options of formats may carry their side.
    for (prefix, format) in [("key.", key), ("value.", Some(value)), ("", Some(value))] {
        let Some(format) = format else { continue };
        let is_of_format = |name: &str| {
            name.strip_prefix(prefix).is_some_and(|name| name.starts_with(&format!("{}.", format.name())))
        };
        let own: BTreeMap<String, String> = rest
            .iter()
            .filter(|(name, _)| {
                is_of_format(name) && !general.iter().any(|option| option.name == name.as_str())
            })
            .map(|(name, value)| (name[prefix.len()..].to_owned(), value.clone()))
            .collect();
        options::check(connector, &own, record::options_of(format))?;
        rest.retain(|name, _| {
            !is_of_format(name) || general.iter().any(|option| option.name == name.as_str())
        });
    }
    options::check(connector, &rest, &general)
}

/// The options of one side's format: those with its prefix, and of values also those without one.
fn side(prefix: &str, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut options = if prefix == "value." { all.clone() } else { BTreeMap::new() };
    for (name, value) in all {
        if let Some(name) = name.strip_prefix(prefix) {
            options.insert(name.to_owned(), value.clone());
        }
    }
    options
}

fn topics(connector: &str, options: TableOptions<'_>) -> Result<Topics> {
    match (options.text("topic"), options.text("topic-pattern")) {
        (Some(_), Some(_)) => {
            Err(Error::InvalidOption("set one of `topic` and `topic-pattern`, not both".to_owned()))
        }
        (None, Some(pattern)) => match Regex::new(&format!("^(?:{pattern})$")) {
            Ok(regex) => Ok(Topics::Matching(regex)),
            Err(error) => Err(Error::InvalidOption(format!(
                "option `topic-pattern` cannot be `{pattern}`: not a regular expression: {error}"
            ))),
        },
        _ => {
            let list = options.required(connector, "topic")?.split(';').map(str::trim);
            let list: Vec<String> = list.filter(|topic| !topic.is_empty()).map(str::to_owned).collect();
            match list.iter().find(|topic| !is_topic_name(topic)) {
                Some(topic) => Err(Error::InvalidOption(format!(
                    "option `topic`: `{topic}` is not the name of a topic: letters, digits, `.`, `_` and `-`; several are \
                     separated by `;`"
                ))),
                None => Ok(Topics::Listed(list)),
            }
        }
    }
}

fn is_topic_name(name: &str) -> bool {
    name.len() <= 249 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn key_fields(
    table: &TableDescriptor,
    options: TableOptions<'_>,
    key: Option<RecordFormat>,
    is_upsert: bool,
) -> Result<Vec<String>> {
    if is_upsert {
        return match key {
            Some(_) => Ok(table.primary_key.clone()),
            None => {
                Err(Error::InvalidOption("connector `upsert-kafka` needs the option `key.format`".to_owned()))
            }
        };
    }
    let list = options.text("key.fields").unwrap_or_default().split(';').map(str::trim);
    let fields: Vec<String> = list.filter(|field| !field.is_empty()).map(str::to_owned).collect();
    match (key, fields.is_empty()) {
        (Some(_), true) => Err(Error::InvalidOption(
            "`key.format` needs `key.fields`: the columns that stand in the key, separated by `;`".to_owned(),
        )),
        (None, false) => {
            Err(Error::InvalidOption("`key.fields` needs `key.format`: how the key is written".to_owned()))
        }
        _ => {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            match fields.iter().find(|field| !names.contains(&field.as_str())) {
                None => Ok(fields),
                Some(field) => {
                    let near = nearest(field, names.iter().copied());
                    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    Err(Error::InvalidOption(format!(
                        "option `key.fields`: the table has no column `{field}`{hint}"
                    )))
                }
            }
        }
    }
}

fn malformed(options: TableOptions<'_>, key: Option<RecordFormat>, value: RecordFormat) -> Result<Malformed> {
    let topic = options.text("scan.dead-letter.topic");
    // What formats call it in Flink.
    let ignored = |prefix: &str, format: RecordFormat| {
        options.is_set(&format!("{prefix}{}.ignore-parse-errors", format.name()))
    };
    let ignores =
        ignored("", value) || ignored("value.", value) || key.is_some_and(|key| ignored("key.", key));
    let default = if ignores { "skip" } else { "fail" };
    let mode = options.text("scan.malformed-records").unwrap_or(default).to_ascii_lowercase();
    match (mode.as_str(), topic) {
        ("dead-letter", Some(topic)) if is_topic_name(topic) => Ok(Malformed::DeadLetter(topic.to_owned())),
        ("dead-letter", _) => Err(Error::InvalidOption(
            "`scan.malformed-records` = `dead-letter` needs `scan.dead-letter.topic`: the topic they are written to"
                .to_owned(),
        )),
        (_, Some(_)) => Err(Error::InvalidOption(
            "`scan.dead-letter.topic` needs `scan.malformed-records` = `dead-letter`".to_owned(),
        )),
        ("skip", None) => Ok(Malformed::Skip),
        _ => Ok(Malformed::Fail),
    }
}

fn offset_mode(options: TableOptions<'_>, side: &str, default: &str) -> Result<OffsetMode> {
    let mode = options.text(&format!("scan.{side}.mode")).unwrap_or(default).to_ascii_lowercase();
    let needed = |name: String| {
        options.text(&name).map(str::to_owned).ok_or_else(|| {
            Error::InvalidOption(format!("`scan.{side}.mode` = `{mode}` needs the option `{name}`"))
        })
    };
    Ok(match mode.as_str() {
        "earliest-offset" => OffsetMode::Earliest,
        "latest-offset" => OffsetMode::Latest,
        "timestamp" => {
            let text = needed(format!("scan.{side}.timestamp-millis"))?;
            OffsetMode::Timestamp(text.trim().parse().unwrap_or_default())
        }
        "specific-offsets" => {
            let name = format!("scan.{side}.specific-offsets");
            let text = needed(name.clone())?;
            OffsetMode::Specific(specific_offsets(&text).ok_or_else(|| {
                Error::InvalidOption(format!(
                    "option `{name}` cannot be `{text}`: expected `partition:0,offset:42;partition:1,offset:300`"
                ))
            })?)
        }
        _ => OffsetMode::Group,
    })
}

/// `partition:0,offset:42;partition:1,offset:300`
fn specific_offsets(text: &str) -> Option<BTreeMap<i32, i64>> {
    let mut offsets = BTreeMap::new();
    for pair in text.split(';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (partition, offset) = pair.split_once(',')?;
        let partition = partition.trim().strip_prefix("partition:")?.trim().parse().ok()?;
        let offset =
            offset.trim().strip_prefix("offset:")?.trim().parse().ok().filter(|offset| *offset >= 0)?;
        offsets.insert(partition, offset);
    }
    Some(offsets).filter(|offsets| !offsets.is_empty())
}

#[cfg(test)]
mod tests {
    use thalweg_graph::table::{Column, TablePath};

    use super::*;

    fn of(connector: &str, options: &[(&str, &str)]) -> std::result::Result<KafkaOptions, String> {
        let text = |text: &str| text.to_owned();
        let column = |name: &str| Column { name: text(name), data_type: text("BIGINT"), nullable: true };
        let mut all = BTreeMap::from([
            (text("connector"), text(connector)),
            (text("topic"), text("t")),
            (text("properties.bootstrap.servers"), text("localhost:9092")),
            (text("value.format"), text("json")),
        ]);
        if connector == "kafka" {
            all.insert(text("scan.startup.mode"), text("earliest-offset"));
        }
        for (name, value) in options {
            match value.is_empty() {
                true => all.remove(*name),
                false => all.insert(text(name), text(value)),
            };
        }
        KafkaOptions::of(&TableDescriptor {
            path: TablePath { catalog: text("c"), database: text("d"), table: text("t") },
            columns: vec![column("id"), column("n")],
            metadata: Vec::new(),
            partition_keys: Vec::new(),
            primary_key: if connector == "kafka" { Vec::new() } else { vec![text("id")] },
            options: all,
        })
        .and_then(|options| options.check_source().map(|()| options))
        .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(options: &[(&str, &str)], expected: &str) {
        let error = of("kafka", options).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn options_of_formats_may_carry_their_side() {
        let options = of(
            "kafka",
            &[
                ("key.format", "json"),
                ("key.fields", "id"),
                ("key.json.timestamp-format.standard", "ISO-8601"),
                ("json.fail-on-missing-field", "true"),
                ("value.json.encode.ignore-null-fields", "true"),
            ],
        )
        .unwrap();
        let key = options.key.unwrap();
        assert_eq!(key.options["json.timestamp-format.standard"], "ISO-8601");
        assert!(!key.options.contains_key("json.fail-on-missing-field"));
        assert_eq!(options.value.options["json.fail-on-missing-field"], "true");
        assert_eq!(options.value.options["json.encode.ignore-null-fields"], "true");
    }

    #[test]
    fn mistakes_name_the_way_out() {
        refused(&[("properties.bootstap.servers", "x")], "did you mean `properties.bootstrap.servers`");
        refused(&[("json.ignore-parse-error", "true")], "did you mean `json.ignore-parse-errors`");
        refused(&[("scan.startup.mode", "")], "needs `properties.group.id`");
        refused(&[("scan.startup.mode", "timestamp")], "`scan.startup.timestamp-millis`");
        refused(&[("value.format", "jsn")], "did you mean `json`");
        refused(&[("key.format", "raw")], "needs `key.fields`");
        refused(&[("key.format", "raw"), ("key.fields", "idd")], "did you mean `id`");
        refused(&[("sink.delivery-guarantee", "exactly-once")], "`sink.transactional-id-prefix`");
        refused(&[("scan.malformed-records", "dead-letter")], "`scan.dead-letter.topic`");
        refused(&[("topic", "a b")], "not the name of a topic");
        refused(&[("topic", ""), ("topic-pattern", "(")], "not a regular expression");
        refused(&[("properties.compression.type", "zstd")], "expected one of");
        let offsets = [("scan.startup.mode", "specific-offsets"), ("scan.startup.specific-offsets", "0:1")];
        refused(&offsets, "partition:0,offset:42");
    }

    #[test]
    fn an_upsert_table_is_keyed_and_starts_at_the_beginning() {
        assert!(of("upsert-kafka", &[]).unwrap_err().contains("`key.format`"));
        let options = of("upsert-kafka", &[("key.format", "json")]).unwrap();
        assert_eq!((options.key_fields, options.startup), (vec!["id".to_owned()], OffsetMode::Earliest));
    }

    #[test]
    fn specific_offsets_are_flinks() {
        let offsets = specific_offsets("partition:0,offset:42;partition:1,offset:300").unwrap();
        assert_eq!(offsets, BTreeMap::from([(0, 42), (1, 300)]));
        assert_eq!(specific_offsets("partition:0,offset:-1"), None);
        assert_eq!(specific_offsets(""), None);
    }
}
