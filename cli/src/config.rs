//! Where options come from: `config.yaml` (nested or flat) or the older `flink-conf.yaml`, then $THALWEG_OPTIONS, then `-D key=value`. Gives the
//! options and what is worth a warning: names that are not known, and Flink's names that are taken for one of ours.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_yaml_ng::Value;
use thalweg_graph::options::{self, MemorySize, Options, Value as _};

/// The files that a configuration folder may hold, best first.
const FILE_NAMES: [&str; 2] = ["config.yaml", "flink-conf.yaml"];
/// The variables that may name the configuration folder, strongest first.
const FOLDER_VARIABLES: [&str; 2] = ["THALWEG_CONF_DIR", "FLINK_CONF_DIR"];
/// First words of Flink's option names. A name of theirs without meaning here is not a typing error.
const FLINK_FAMILIES: [&str; 44] = [
    "akka",
    "blob",
    "classloader",
    "client",
    "cluster",
    "compiler",
    "env",
    "execution",
    "external-resource",
    "external-resources",
    "flink",
    "fs",
    "heartbeat",
    "high-availability",
    "historyserver",
    "io",
    "jmx",
    "job-event",
    "jobmanager",
    "jobstore",
    "kubernetes",
    "metrics",
    "mesos",
    "parallelism",
    "pekko",
    "pipeline",
    "plugin",
    "process",
    "python",
    "query",
    "queryable-state",
    "resourcemanager",
    "rest",
    "restart-strategy",
    "security",
    "slot",
    "slotmanager",
    "sql-client",
    "sql-gateway",
    "state",
    "table",
    "taskmanager",
    "web",
    "yarn",
];

/// Where to read options.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file, or the folder that holds `config.yaml` [default: $THALWEG_CONF_DIR, $FLINK_CONF_DIR, or `conf`
    /// beside the folder of the binary]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,

    /// Sets an option; wins over the configuration file
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = key_and_value, help_heading = "Options of the engine")]
    pub define: Vec<(String, String)>,
}

/// Options as read, and what to tell the user about them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// The options, checked.
    pub options: Options,
    /// One line each.
    pub warnings: Vec<String>,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("`{text}` is not `key=value`")),
    }
}

/// Reads the configuration file, if there is one, and puts the command line's options over it.
pub fn load(args: &ConfigArgs) -> Result<Config> {
    let mut options = match find(args.config.as_deref())? {
        Some(path) => read(&path)?,
        None => BTreeMap::new(),
    };
    options.extend(of_environment(&env::var(options::ENVIRONMENT).unwrap_or_default())?);
    options.extend(args.define.iter().cloned());
    let mut warnings = map_flink_names(&mut options);
    warnings.extend(check(&options)?);
    Ok(Config { options: Options(options), warnings })
}

/// The options of [`options::ENVIRONMENT`].
fn of_environment(text: &str) -> Result<Vec<(String, String)>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    // Its text may be a secret, and is not repeated.
    let pairs = lines.map(|line| key_and_value(line).ok().context("a line of it is not `key=value`"));
    pairs.collect::<Result<_>>().with_context(|| format!("the variable {}", options::ENVIRONMENT))
}

/// The configuration file: the one that is named must exist, the others may.
fn find(named: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = named {
        return match in_folder(path) {
            Some(file) => Ok(Some(file)),
            None if path.is_dir() => bail!("there is no `config.yaml` in `{}`", path.display()),
            None => bail!("there is no configuration file `{}`", path.display()),
        };
    }
    for variable in FOLDER_VARIABLES {
        let Some(folder) = env::var_os(variable).filter(|folder| !folder.is_empty()) else { continue };
        let folder = PathBuf::from(folder);
        return match in_folder(&folder) {
            Some(file) => Ok(Some(file)),
            None => bail!("{variable} is `{}`, and there is no `config.yaml` in it", folder.display()),
        };
    }
    let beside = env::current_exe().ok().and_then(|binary| Some(binary.parent()?.parent()?.join("conf")));
    Ok(beside.and_then(|folder| in_folder(&folder)))
}

fn in_folder(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    FILE_NAMES.iter().map(|name| path.join(name)).find(|file| file.is_file())
}

fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    if path.file_name().is_some_and(|name| name == "flink-conf.yaml") {
        return Ok(parse_flink_conf(&text));
    }
    parse_yaml(&text).with_context(|| format!("`{}` is not a configuration file", path.display()))
}

/// Reads YAML; nested keys are joined by dots, lists by commas.
fn parse_yaml(text: &str) -> Result<BTreeMap<String, String>> {
    let mut options = BTreeMap::new();
    match serde_yaml_ng::from_str(text)? {
        Value::Null => {}
        Value::Mapping(mapping) => flatten("", &Value::Mapping(mapping), &mut options)?,
        _ => bail!("expected `key: value` lines"),
    }
    Ok(options)
}

fn flatten(prefix: &str, value: &Value, options: &mut BTreeMap<String, String>) -> Result<()> {
    if let Value::Mapping(mapping) = value {
        for (key, value) in mapping {
            let key = scalar(key).context("a key is not text")?;
            let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            flatten(&path, value, options)?;
        }
        return Ok(());
    }
    if let Value::Sequence(items) = value {
        let items = items.iter().map(scalar).collect::<Option<Vec<_>>>();
        let items = items.with_context(|| format!("`{prefix}` is a list of something else than values"))?;
        options.insert(prefix.to_owned(), items.join(","));
    } else if let Some(text) = scalar(value) {
        options.insert(prefix.to_owned(), text);
    }
    Ok(())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(value) => Some(value.to_string()),
        Value::String(value) => Some(value.clone()),
        _ => None,
    }
}

/// Reads the file of Flink before 1.19: `key: value` lines, not quite YAML. As Flink does, leaves out lines that are not such.
fn parse_flink_conf(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split('#').next().unwrap_or("").trim().split_once(": "))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty())
        .collect()
}

/// Gives our names to what Flink says by others. What is set under our name already stays.
fn map_flink_names(options: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut warnings = map_memory(options);
    let renamed = [
        (options::REST_ADDRESS.name, "jobmanager.rpc.address"),
        (options::REST_PORT.name, "rest.bind-port"),
        (options::RESTART_STRATEGY.name, "restart-strategy"),
    ];
    for (ours, theirs) in renamed {
        let Some(value) = options.remove(theirs) else { continue };
        if !options.contains_key(ours) {
            warnings.push(format!("`{theirs}` is taken as `{ours}`"));
            options.insert(ours.to_owned(), value);
        }
    }
    warnings
}

/// Flink divides a worker's memory by a dozen options; here is one number. Takes the total where it is given, else the parts.
fn map_memory(options: &mut BTreeMap<String, String>) -> Vec<String> {
    const TOTALS: [&str; 2] = ["taskmanager.memory.flink.size", "taskmanager.heap.size"];
    const PARTS: [&str; 2] = ["taskmanager.memory.task.heap.size", "taskmanager.memory.managed.size"];
    let ours = options::PROCESS_MEMORY.name;
    let theirs: Vec<String> = options
        .keys()
        .filter(|key| key.starts_with("taskmanager.memory.") || key.starts_with("taskmanager.heap."))
        .filter(|key| *key != ours)
        .cloned()
        .collect();
    let taken: BTreeMap<String, String> = theirs.iter().filter_map(|key| options.remove_entry(key)).collect();
    if taken.is_empty() {
        return Vec::new();
    }
    let names = theirs.join("`, `");
    if options.contains_key(ours) {
        return vec![format!("a worker's memory is one number, `{ours}`; without effect: `{names}`")];
    }
    let bytes = |key: &str| taken.get(key).and_then(|text| MemorySize::parse(text)).map(|size| size.0);
    let total = TOTALS.iter().find_map(|key| bytes(key));
    let parts = || PARTS.iter().filter_map(|key| bytes(key)).reduce(u64::saturating_add);
    match total.or_else(parts) {
        Some(bytes) => {
            options.insert(ours.to_owned(), bytes.to_string());
            vec![format!("a worker's memory is one number: `{names}` taken as `{ours}` = {} mb", bytes >> 20)]
        }
        None => vec![format!("a worker's memory is one number, `{ours}`; without effect: `{names}`")],
    }
}

/// Refuses values that an option cannot take; warns of names that no option has.
fn check(options: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut without_effect = Vec::new();
    for (name, value) in options {
        if options::check(name, value)? {
            continue;
        }
        match options::nearest(name) {
            Some(near) => warnings.push(format!("unknown option `{name}`; did you mean `{near}`?")),
            None if is_flinks(name) => without_effect.push(format!("`{name}`")),
            None => warnings.push(format!("unknown option `{name}`")),
        }
    }
    if !without_effect.is_empty() {
        warnings.push(format!("options without effect here: {}", without_effect.join(", ")));
    }
    Ok(warnings)
}

fn is_flinks(name: &str) -> bool {
    name.split('.').next().is_some_and(|family| FLINK_FAMILIES.contains(&family))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nested_and_flat_yaml_say_the_same() {
        let nested = "rest:\n  port: 9000\n  address: host\nio:\n  tmp:\n    dirs: [/a, /b]\nempty:\n";
        let flat = "rest.port: 9000\nrest.address: host\nio.tmp.dirs: /a,/b\n";
        let expected = pairs(&[("io.tmp.dirs", "/a,/b"), ("rest.address", "host"), ("rest.port", "9000")]);
        assert_eq!(parse_yaml(nested).unwrap(), expected);
        assert_eq!(parse_yaml(flat).unwrap(), expected);
        assert!(parse_yaml("").unwrap().is_empty());
        assert!(parse_yaml("- a").is_err());
        assert!(parse_yaml("a: [").is_err());
    }

    #[test]
    fn the_old_file_is_read_line_by_line() {
        let text = "# comment\nrest.port: 9000 # why\nenv.java.opts: -Dx: y\n\tnot a pair\nempty: \n";
        assert_eq!(parse_flink_conf(text), pairs(&[("env.java.opts", "-Dx: y"), ("rest.port", "9000")]));
    }

    #[test]
    fn memory_options_become_one_number() {
        let mut options = pairs(&[
            ("taskmanager.memory.task.heap.size", "1g"),
            ("taskmanager.memory.managed.size", "512m"),
            ("taskmanager.memory.network.max", "64m"),
        ]);
        let warnings = map_flink_names(&mut options);
        assert_eq!(options, pairs(&[("taskmanager.memory.process.size", &(1536_u64 << 20).to_string())]));
        assert_eq!(warnings.len(), 1);

        let mut options =
            pairs(&[("taskmanager.memory.process.size", "4g"), ("taskmanager.memory.flink.size", "3g")]);
        map_flink_names(&mut options);
        assert_eq!(options, pairs(&[("taskmanager.memory.process.size", "4g")]));
    }

    #[test]
    fn unknown_names_warn_and_wrong_values_fail() {
        let warnings = check(&pairs(&[
            ("rest.prot", "1"),
            ("metrics.reporter.prom.port", "9249"),
            ("nonsense", "x"),
            ("rest.port", "1"),
        ]))
        .unwrap();
        assert_eq!(
            warnings,
            [
                "unknown option `nonsense`",
                "unknown option `rest.prot`; did you mean `rest.port`?",
                "options without effect here: `metrics.reporter.prom.port`",
            ]
        );
        assert!(check(&pairs(&[("rest.port", "http")])).is_err());
    }

    #[test]
    fn the_environment_has_lines_and_a_wrong_one_is_not_repeated() {
        let options = of_environment("a.secret=x=y\n\nb=1\n").unwrap();
        assert_eq!(options, [("a.secret".to_owned(), "x=y".to_owned()), ("b".to_owned(), "1".to_owned())]);
        let error = format!("{:#}", of_environment("hunter2").unwrap_err());
        assert!(error.contains("THALWEG_OPTIONS") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), "rest:\n  port: 1\nparallelism.default: 3\n").unwrap();
        let define = vec![("rest.port".to_owned(), "2".to_owned())];
        let args = ConfigArgs { config: Some(folder.path().to_owned()), define };
        let config = load(&args).unwrap();
        assert_eq!(config.options.0, pairs(&[("parallelism.default", "3"), ("rest.port", "2")]));
        assert!(load(&ConfigArgs { config: Some(folder.path().join("none")), define: vec![] }).is_err());
    }
}
