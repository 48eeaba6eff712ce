//! The SQL parser: statements of our own tests, changed; words in any order; nesting without end.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*, sample::select};
use thalweg_plan::Session;

use super::{changed, changes};

/// Time for a statement in a build without optimisation: more is a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Statements that are right, or meant to be refused.
static STATEMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["sql", "nexmark", "../examples"] {
        find(&root.join(folder), &mut files);
    }
    let mut statements: Vec<String> = files.iter().flat_map(|file| read(file)).collect();
    statements.sort();
    statements.dedup();
    assert!(statements.len() > 300, "{}", statements.len());
    statements
});

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|extension| extension.to_str()) {
            None if path.is_dir() => find(&path, files),
            Some("slt" | "sql") => files.push(path),
            _ => {}
        }
    }
}

/// A script's statements; of a test the lines between what is expected and how the answer looks.
fn read(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    if file.extension().is_some_and(|extension| extension == "sql") {
        return text.split(';').map(str::to_owned).collect();
    }
    let blocks = text.split("\n\n").filter_map(|block| {
        let (head, statement) = block.split_once('\n')?;
        let is_sql = head.starts_with("statement") || head.starts_with("query");
        is_sql.then(|| statement.split("\n----").next().unwrap_or_default().to_owned())
    });
    blocks.collect()
}

/// Words, signs and pieces of them that mean something somewhere.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "HAVING",
    "ORDER BY",
    "LIMIT",
    "JOIN",
    "LEFT",
    "LATERAL",
    "TABLE",
    "UNNEST",
    "UNION ALL",
    "WITH",
    "AS",
    "ON",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "CAST",
    "INTERVAL",
    "OVER",
    "PARTITION BY",
    "FILTER",
    "DISTINCT",
    "VALUES",
    "ROW",
    "ARRAY",
    "MAP",
    "CREATE",
    "TEMPORARY",
    "VIEW",
    "WATERMARK FOR",
    "PRIMARY KEY",
    "NOT ENFORCED",
    "PARTITIONED BY",
    "LIKE",
    "INSERT INTO",
    "OVERWRITE",
    "EXECUTE STATEMENT SET",
    "BEGIN",
    "SET",
    "RESET",
    "SHOW",
    "DESCRIBE",
    "EXPLAIN",
    "DROP",
    "ALTER",
    "USE",
    "TUMBLE",
    "HOP",
    "CUMULATE",
    "SESSION",
    "DESCRIPTOR",
    "MATCH_RECOGNIZE",
    "PATTERN",
    "DEFINE",
    "MEASURES",
    "FOR SYSTEM_TIME AS OF",
    "TRY_CAST",
    "EXTRACT",
    "IN",
    "EXISTS",
    "BETWEEN",
    "AND",
    "OR",
    "NOT",
    "IS",
    "NULL",
    "TRUE",
    "DATE",
    "TIMESTAMP",
    "a",
    "b.c",
    "`d``e`",
    "'f''g'",
    "e'\\n'",
    "1",
    "1.5e9",
    "99999999999999999999999999",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "<",
    ">",
    ">>",
    "=",
    "=>",
    "<>",
    "||",
    "->",
    "*",
    "+",
    "-",
    "/",
    "%",
    ",",
    ".",
    ";",
    ":",
    "::",
    "?",
    "@",
    "$",
    "#",
    "'",
    "`",
    "\"",
    "--",
    "/*",
    "*/",
    "/*+",
    "/*+ OPTIONS('a'='b') */",
    "\n",
    "\t",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "ä",
    "💥",
    "\u{202e}",
];

/// Parses a script, whatever it is; a refusal has a text, and its place is in the script.
fn parse(script: &str) {
    let started = Instant::now();
    if let Err(refused) = Session::parse(script) {
        assert!(!refused.message.is_empty());
        let lines = script.split('\n').count() as u64;
        let line = refused.position.map_or(1, |position| position.line);
        assert!((1..=lines).contains(&line), "line {line} of {lines}: {}", refused.message);
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn changed_statements_are_read_or_refused(
        which in vec(any::<prop::sample::Index>(), 1..4), changes in changes()
    ) {
        let script: Vec<&str> = which.iter().map(|which| which.get(&STATEMENTS).as_str()).collect();
        let bytes = changed(script.join(";\n").as_bytes(), &changes);
        parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn words_in_any_order_are_read_or_refused(words in vec(select(WORDS), 0..60), between in select(&[" ", ""][..])) {
        parse(&words.join(between));
    }

    #[test]
    fn statements_are_read_or_refused_when_words_are_exchanged(
        which in any::<prop::sample::Index>(), at in vec((any::<prop::sample::Index>(), select(WORDS)), 1..5)
    ) {
        let mut words: Vec<&str> = which.get(&STATEMENTS).split(' ').collect();
        for (at, word) in &at {
            let at = at.index(words.len());
            words[at] = word;
        }
        parse(&words.join(" "));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        parse(&text);
    }
}

#[test]
fn statements_that_nest_without_end_are_read_or_refused() {
    for (start, open, middle, close) in [
        ("SELECT ", "(", "1", ")"),
        ("SELECT * FROM ", "(", "t", ")"),
        ("SELECT * FROM ", "(SELECT * FROM ", "t", ")"),
        ("SELECT * FROM t WHERE ", "EXISTS (SELECT 1 FROM t WHERE ", "TRUE", ")"),
        ("SELECT ", "a IN (SELECT ", "1", ")"),
        ("SELECT ", "CASE WHEN ", "1", " THEN 1 END"),
        ("SELECT ", "CASE (", "1", ") WHEN 1 THEN 1 END"),
        ("SELECT ", "NOT ", "TRUE", ""),
        ("SELECT ", "NOT (", "TRUE", ")"),
        ("SELECT ", "- ", "1", ""),
        ("SELECT ", "a[", "1", "]"),
        ("SELECT ", "ARRAY[", "1", "]"),
        ("SELECT ", "MAP[", "1", ", 1]"),
        ("SELECT ", "ROW(", "1", ")"),
        ("SELECT ", "f(", "1", ")"),
        ("SELECT ", "f(a => ", "1", ")"),
        ("SELECT ", "CAST(", "1", " AS INT)"),
        ("SELECT ", "TRY_CAST(", "1", " AS INT)"),
        ("SELECT ", "SAFE_CAST(", "1", " AS INT)"),
        ("SELECT ", "CONVERT(", "1", ", INT)"),
        ("SELECT ", "EXTRACT(YEAR FROM ", "a", ")"),
        ("SELECT ", "CEIL(", "1", ")"),
        ("SELECT ", "FLOOR(", "1", " TO DAY)"),
        ("SELECT ", "POSITION(", "a", " IN b)"),
        ("SELECT ", "SUBSTRING(", "a", " FROM 1)"),
        ("SELECT ", "SUBSTR(", "a", ", 1)"),
        ("SELECT ", "OVERLAY(", "a", " PLACING b FROM 1)"),
        ("SELECT ", "TRIM(", "a", ")"),
        ("SELECT ", "INTERVAL (", "1", ") DAY"),
        ("SELECT ", "INTERVAL - ", "1", " DAY"),
        ("SELECT ", "DATE (", "1", ")"),
        ("SELECT ", "TIMESTAMP (", "1", ")"),
        ("SELECT ", "VARCHAR (", "1", ")"),
        ("SELECT ", "IF(", "1", ")"),
        ("SELECT ", "LEFT(", "1", ")"),
        ("SELECT ", "JSON_VALUE(", "a", ", '$')"),
        ("SELECT ", "COUNT(*) FILTER (WHERE ", "a", ")"),
        ("SELECT ", "x.", "y", ""),
        ("SELECT ", "(x).", "y", ""),
        ("SELECT ", "1 + ", "1", ""),
        ("SELECT ", "a AND ", "b", ""),
        ("SELECT ", "a BETWEEN ", "1", " AND 2"),
        ("SELECT CAST(1 AS ", "ARRAY<", "INT", ">"),
        ("CREATE TABLE t (a ", "ROW<a ", "INT", ">"),
        ("CREATE TABLE t (a ", "MAP<INT, ", "INT", ">"),
        ("SELECT * FROM t ", "JOIN (t ", "t", ")"),
        ("", "SELECT 1 UNION ", "SELECT 1", ""),
        ("", "(SELECT 1) UNION (", "SELECT 1", ")"),
        ("", "WITH a AS (", "SELECT 1", ") SELECT 1"),
        ("", "EXPLAIN ", "SELECT 1", ""),
        ("", "EXECUTE STATEMENT SET BEGIN ", "INSERT INTO t SELECT 1;", " END;"),
        ("SELECT * FROM t MATCH_RECOGNIZE (PATTERN (", "(A ", "B", ")*"),
        ("SELECT 1 ", "/*", " ", "*/"),
        ("SELECT ", "'", "a", "'"),
        ("SELECT ", "`", "a", "`"),
        ("", ";", ";", ";"),
    ] {
        for depth in [50, 1_500, 20_000] {
            parse(&format!("{start}{}{middle}{}", open.repeat(depth), close.repeat(depth)));
            parse(&format!("{start}{}", open.repeat(depth)));
        }
    }
}
