//! Flink's statements: those that are read, those that are known and refused, and what mistakes are called.

use thalweg_graph::sql_error::SqlErrorCode;

use super::*;
use crate::sql::command::{ShowKind, TablePart};

fn parse_text(text: &str) -> Result<Command, SqlError> {
    parse(Source::new(text))
}

fn refusal(text: &str) -> SqlError {
    match parse_text(text) {
        Ok(command) => panic!("{text} was read as {command:?}"),
        Err(error) => error,
    }
}

const READ: &[&str] = &[
    "CREATE TABLE t (a INT)",
    "CREATE TABLE IF NOT EXISTS c.d.t (a INT NOT NULL COMMENT 'x', b STRING) COMMENT 'y' WITH ('connector' = 'print')",
    "CREATE TEMPORARY TABLE t (a BIGINT PRIMARY KEY NOT ENFORCED, b AS a + 1 COMMENT 'next', c AS UPPER('x'))",
    "CREATE TABLE t (a INT, CONSTRAINT pk PRIMARY KEY (a) NOT ENFORCED)",
    "CREATE TABLE t (a INT CONSTRAINT pk PRIMARY KEY NOT ENFORCED)",
    "SELECT * FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR))",
    "SELECT * FROM o JOIN r FOR SYSTEM_TIME AS OF o.ts AS r ON o.c = r.c",
    "SELECT TUMBLE_START(ts, INTERVAL '1' HOUR), COUNT(*) FROM t GROUP BY TUMBLE(ts, INTERVAL '1' HOUR)",
    "SELECT SESSION_START(ts, INTERVAL '1' HOUR) FROM t GROUP BY a, SESSION(ts, INTERVAL '1' HOUR)",
    "SELECT * FROM TUMBLE(DATA => TABLE t, TIMECOL => DESCRIPTOR(ts), SIZE => INTERVAL '1' HOUR)",
    "SELECT * FROM HOP(TABLE t PARTITION BY a, b, DESCRIPTOR(ts), INTERVAL '1' HOUR, INTERVAL '2' HOUR)",
    "CREATE TABLE t (ts TIMESTAMP(3) METADATA FROM 'timestamp' VIRTUAL, o BIGINT METADATA, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND)",
    "CREATE TABLE t (a INT) DISTRIBUTED BY HASH(a) INTO 4 BUCKETS PARTITIONED BY (a) WITH ('k' = 'v',)",
    "CREATE TABLE t (a INT) DISTRIBUTED INTO 4 BUCKETS",
    "CREATE TABLE t (a INT) DISTRIBUTED BY (a)",
    "CREATE TABLE t (r ROW<x INT, y ARRAY<MAP<STRING, ROW<z BIGINT>>>>, PRIMARY KEY (r) NOT ENFORCED)",
    "CREATE TABLE t WITH ('connector' = 'filesystem', 'path' = '/x')",
    "CREATE TABLE t LIKE s",
    "CREATE TABLE t (a INT) WITH ('k'='v') LIKE s (INCLUDING ALL EXCLUDING WATERMARKS OVERWRITING OPTIONS)",
    "CREATE TABLE t WITH ('k' = 'v') AS SELECT 1 AS a",
    "CREATE TABLE t (b, a) AS SELECT 1 AS a, 2 AS b",
    "CREATE OR REPLACE TABLE t AS SELECT 1 AS a",
    "REPLACE TABLE t AS SELECT 1 AS a",
    "CREATE VIEW v AS SELECT 1",
    "CREATE TEMPORARY VIEW IF NOT EXISTS v (a, b) COMMENT 'x' AS SELECT 1, 2",
    "CREATE DATABASE IF NOT EXISTS c.d COMMENT 'x' WITH ('k' = 'v')",
    "CREATE CATALOG c WITH ('type' = 'generic_in_memory')",
    "DROP TABLE IF EXISTS a.b.c",
    "DROP TEMPORARY VIEW v",
    "DROP DATABASE d CASCADE",
    "DROP DATABASE IF EXISTS d RESTRICT",
    "DROP CATALOG c",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t RENAME a TO b",
    "ALTER TABLE IF EXISTS t SET ('k' = 'v')",
    "ALTER TABLE t RESET ('k', 'l')",
    "ALTER TABLE t ADD a INT COMMENT 'x' FIRST",
    "ALTER TABLE t ADD (a INT, b AS a + 1 AFTER a, PRIMARY KEY (a) NOT ENFORCED)",
    "ALTER TABLE t MODIFY a BIGINT NOT NULL",
    "ALTER TABLE t MODIFY WATERMARK FOR ts AS ts",
    "ALTER TABLE t DROP a",
    "ALTER TABLE t DROP (a, b)",
    "ALTER TABLE t DROP PRIMARY KEY",
    "ALTER TABLE t DROP WATERMARK",
    "ALTER VIEW v RENAME TO w",
    "ALTER VIEW v AS SELECT 1",
    "ALTER DATABASE d SET ('k' = 'v')",
    "ALTER CATALOG c SET ('k' = 'v')",
    "ALTER CATALOG c COMMENT 'x'",
    "USE CATALOG c",
    "USE c.d",
    "INSERT INTO t SELECT * FROM s",
    "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
    "INSERT OVERWRITE t PARTITION (dt = '2024-01-01', hour) (a, b) SELECT 1, 2",
    "INSERT INTO t /*+ OPTIONS('sink.parallelism' = '2') */ (a) SELECT 1",
    "INSERT INTO t (SELECT 1)",
    "INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
    "EXECUTE INSERT INTO t SELECT 1",
    "EXECUTE STATEMENT SET BEGIN INSERT INTO a SELECT 1; INSERT INTO b SELECT 2; END",
    "BEGIN STATEMENT SET; INSERT INTO a SELECT 1; END",
    "SET",
    "SET 'a.b-c' = 'd'",
    "SET a.b-c = d",
    "SET table.local-time-zone = Europe/Berlin",
    "RESET",
    "RESET 'a.b'",
    "RESET a.b",
    "SHOW CATALOGS",
    "SHOW DATABASES FROM c LIKE 'a%'",
    "SHOW TABLES IN c.d NOT ILIKE '%x_'",
    "SHOW VIEWS",
    "SHOW COLUMNS FROM t LIKE '%'",
    "SHOW USER FUNCTIONS",
    "SHOW FUNCTIONS",
    "SHOW FULL MODULES",
    "SHOW JOBS",
    "STOP JOB '0123456789abcdef0123456789abcdef'",
    "STOP JOB '0123456789abcdef0123456789abcdef' WITH SAVEPOINT",
    "STOP JOB '0123456789abcdef0123456789abcdef' WITH SAVEPOINT WITH DRAIN",
    "SHOW JARS",
    "SHOW CREATE TABLE t",
    "SHOW CREATE VIEW v",
    "SHOW CREATE CATALOG c",
    "SHOW CURRENT CATALOG",
    "SHOW CURRENT DATABASE",
    "DESCRIBE t",
    "DESC EXTENDED c.d.t",
    "DESCRIBE CATALOG EXTENDED c",
    "DESCRIBE DATABASE d",
    "DESCRIBE FUNCTION EXTENDED upper",
    "EXPLAIN WATERMARK '0123456789abcdef0123456789abcdef'",
    "EXPLAIN SELECT 1",
    "EXPLAIN PLAN FOR INSERT INTO t SELECT 1",
    "EXPLAIN ESTIMATED_COST, CHANGELOG_MODE, PLAN_ADVICE, JSON_EXECUTION_PLAN SELECT 1",
    "EXPLAIN STATEMENT SET BEGIN INSERT INTO t SELECT 1; END",
    "EXPLAIN EXECUTE STATEMENT SET BEGIN INSERT INTO t SELECT 1; END",
    "HELP",
    "CLEAR",
    "QUIT",
    "EXIT;",
    "SELECT CAST(a AS ROW<x INT, y STRING>), TRY_CAST(b AS TIMESTAMP_LTZ(3)), MAP['k', 1], ARRAY[1, 2], ROW(1, 'a') FROM t",
    "SELECT `from`, t.`a b` FROM `my table` AS t WHERE a <> 1 AND b IS NOT DISTINCT FROM c",
    "SELECT DATE '2024-01-01', TIMESTAMP '2024-01-01 00:00:00', INTERVAL '1' DAY, INTERVAL '1-2' YEAR TO MONTH",
    "SELECT /*+ BROADCAST(b), SHUFFLE_HASH(c) */ * FROM a JOIN b ON a.x = b.x",
    "SELECT * FROM t /*+ OPTIONS('path' = '/y') */ AS u, s /*+ OPTIONS('k' = 'v', 'l' = 'w') */",
    "SELECT EXTRACT(YEAR FROM d), SUBSTRING(a FROM 1 FOR 2), TRIM(LEADING 'x' FROM a), POSITION('a' IN b), CEIL(c), OVERLAY(a PLACING 'b' FROM 1) FROM t",
    "SELECT a, COUNT(*) FILTER (WHERE b > 1) FROM t GROUP BY GROUPING SETS ((a), ()) HAVING COUNT(*) > 1",
    "SELECT a, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b DESC) AS n FROM t QUALIFY n = 1",
    "SELECT * FROM t CROSS JOIN UNNEST(t.items) AS u (item)",
    "SELECT * FROM a UNION ALL SELECT * FROM b EXCEPT SELECT * FROM c ORDER BY 1 LIMIT 10 OFFSET 5",
    "SELECT * FROM t FETCH FIRST 3 ROWS ONLY",
    "VALUES (1, 'a'), (2, 'b')",
    "WITH RECURSIVE r AS (SELECT 1) SELECT * FROM r",
    "SELECT SUM(a) OVER w FROM t WINDOW w AS (PARTITION BY b ORDER BY c RANGE BETWEEN INTERVAL '1' HOUR PRECEDING AND CURRENT ROW)",
    "SELECT e'tab\\there', U&'\\00e4', 'it''s', _x, $y FROM t -- comment",
];

#[test]
fn flinks_statements_are_read() {
    let refused: Vec<String> = READ
        .iter()
        .filter_map(|text| parse_text(text).err().map(|error| format!("{text}\n  {error}")))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

const NOT_YET: &[&str] = &[
    "CREATE FUNCTION f AS 'com.example.F' LANGUAGE JAVA USING JAR '/x.jar'",
    "CREATE TEMPORARY SYSTEM FUNCTION f AS 'com.example.F'",
    "CREATE MODEL m INPUT (a INT) OUTPUT (b INT) WITH ('provider' = 'x')",
    "CREATE MATERIALIZED TABLE m FRESHNESS = INTERVAL '1' MINUTE AS SELECT 1",
    "ALTER MATERIALIZED TABLE m SUSPEND",
    "ALTER TABLE t ADD PARTITION (a = 1)",
    "ALTER TABLE t DROP DISTRIBUTION",
    "COMPILE PLAN 'f' FOR INSERT INTO t SELECT 1",
    "EXECUTE PLAN 'f'",
    "UPDATE t SET a = 1",
    "DELETE FROM t WHERE a = 1",
    "TRUNCATE TABLE t",
    "ADD JAR '/x.jar'",
    "REMOVE JAR '/x.jar'",
    "CALL sys.compact('t')",
    "ANALYZE TABLE t COMPUTE STATISTICS",
    "LOAD MODULE hive",
    "UNLOAD MODULE hive",
    "USE MODULES core",
    "SHOW PARTITIONS t",
    "SHOW MODELS",
    "DESCRIBE JOB 'abc'",
    "INSERT INTO t SELECT 1 ON CONFLICT DO NOTHING",
    "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES A.x AS x PATTERN (A B*) WITHIN INTERVAL '1' HOUR DEFINE A AS A.x > 1)",
    "SELECT * FROM t TABLESAMPLE BERNOULLI (10)",
    "SELECT * FROM o, LATERAL TABLE(f(o.a))",
    "SELECT * FROM ML_PREDICT(TABLE t, MODEL m, DESCRIPTOR(a))",
    "SELECT /*+ LOOKUP('table' = 'r') */ * FROM t",
    "SELECT /*+ STATE_TTL('t' = '1d') */ * FROM t",
    "CREATE TABLE t (a MULTISET<INT>)",
];

#[test]
fn what_is_known_and_not_run_yet_is_refused_by_name() {
    let wrong: Vec<String> = NOT_YET
        .iter()
        .map(|text| (text, refusal(text)))
        .filter(|(_, error)| error.code != SqlErrorCode::Unsupported || error.position.is_none())
        .map(|(text, error)| format!("{text}\n  {:?} {error}", error.code))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(refusal("CALL f()").message, "`CALL` is not supported yet");
    let sample = refusal("SELECT *\n FROM o TABLESAMPLE BERNOULLI (10)");
    assert_eq!(sample.message, "`TABLESAMPLE` is not supported yet");
    assert_eq!(sample.position.map(|at| at.line), Some(2));
}

#[test]
fn mistakes_have_a_place_and_say_what_was_expected() {
    for (text, expected) in [
        ("SELECT FROM", "line 1, column 8: expected an expression, found `FROM`"),
        ("SELECT a FROM", "line 1, column 14: expected identifier, found the end of the statement"),
        ("SELECT a,\n  FROM t", "line 2, column 3: expected an expression, found `FROM`"),
        ("SELCT 1", "line 1, column 1: expected a statement (did you mean `SELECT`?), found `SELCT`"),
        ("INSERT t SELECT 1", "line 1, column 8: expected `INTO` or `OVERWRITE`, found `t`"),
        ("CREATE TABLE t (a INT PRIMARY KEY)", "line 1, column 34: expected `NOT ENFORCED`"),
        ("CREATE TABLE t (a STRNG)", "line 1, column 19: unknown type `STRNG`: did you mean `STRING`?"),
        ("CREATE TABLE t (a INT, a INT)", "line 1, column 24: column `a` is declared twice"),
        ("CREATE TABLE t (a INT) WITH ('k'='v','k'='w')", "line 1, column 38: option `k` is given twice"),
        ("SELECT 'abc", "line 1, column 8: unterminated string literal"),
        ("SELECT 1 1", "line 1, column 10: expected the end of the statement, found `1`"),
        ("SELECT * FROM t /*+ OPTION('k'='v') */", "unknown hint `OPTION`: did you mean `OPTIONS`?"),
        ("SELECT * FROM t AS u /*+ OPTIONS('k'='v') */", "line 1, column 22: the hint `OPTIONS` must follow"),
        ("SELECT CAST(a AS DECIMAL(40, 2)) FROM t", "expected a decimal precision from 1 to 38"),
        ("EXECUTE STATEMENT SET BEGIN SELECT 1; END", "line 1, column 29: expected `INSERT` or `END`"),
        ("SHOW TABELS", "line 1, column 6: expected `CATALOGS`"),
        ("EXPLAIN USE x", "line 1, column 9: expected a query, `INSERT` or a statement set"),
    ] {
        let error = refusal(text).to_string();
        assert!(error.contains(expected), "{text}\n  {error}");
    }
}

#[test]
fn hints_belong_to_the_name_before_them() {
    let text = "SELECT /*+ BROADCAST(b) */ * FROM a /*+ OPTIONS('x'='1','x'='2') */ JOIN c.b ON TRUE";
    let Ok(Command::Query(query)) = parse_text(text) else { panic!("not a query") };
    let options: Vec<_> = query.hints.options.values().map(|hint| hint.options["x"].as_str()).collect();
    assert_eq!(options, ["2"]);
    assert_eq!(query.hints.joins[0].strategy, "BROADCAST");
    let Ok(Command::Insert(insert)) = parse_text("INSERT INTO t /*+ OPTIONS('x'='1') */ SELECT * FROM s")
    else {
        panic!("not an insert")
    };
    assert_eq!(insert.hint["x"], "1");
    assert!(insert.query.hints.options.is_empty());
}

#[test]
fn texts_of_expressions_and_queries_are_kept_as_written() {
    let text = "CREATE TABLE t (a INT, b AS a  +  1 COMMENT 'x')";
    let Ok(Command::CreateTable(create)) = parse_text(text) else { panic!("not a table") };
    let crate::catalog::ColumnKind::Computed { expression } = &create.table.columns[1].kind else {
        panic!("not computed")
    };
    assert_eq!(expression, "a  +  1");
    let text = "CREATE VIEW v AS SELECT *\nFROM t /*+ OPTIONS('k'='v') */";
    let Ok(Command::CreateView(view)) = parse_text(text) else { panic!("not a view") };
    assert_eq!(view.text, "SELECT *\nFROM t");
}

#[test]
fn words_that_open_clauses_are_still_names() {
    assert!(matches!(parse_text("ALTER TABLE t ADD comment STRING"), Ok(Command::AlterTable(_))));
    let Ok(Command::CreateTable(create)) = parse_text("CREATE TABLE t (first INT, after INT, watermark INT)")
    else {
        panic!("not a table")
    };
    assert_eq!(create.table.columns.len(), 3);
    let Ok(Command::Show(show)) = parse_text("show tables") else { panic!("not a listing") };
    assert_eq!(show.kind, ShowKind::Tables);
    let Ok(Command::AlterTable(alter)) = parse_text("ALTER TABLE t ADD constraint INT") else {
        panic!("not alter")
    };
    let crate::sql::command::AlterTableAction::Add(parts) = alter.action else { panic!("not add") };
    assert!(matches!(parts[..], [TablePart::Column { .. }]));
}

#[test]
fn statements_nest_five_hundred_deep() {
    let deep = 500;
    let brackets = format!("SELECT {}1{}", "(".repeat(deep), ")".repeat(deep));
    let subqueries = format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(deep), ")".repeat(deep));
    let unions = vec!["SELECT 1"; deep].join(" UNION ALL ");
    let sum = vec!["1"; 5000].join(" + ");
    for text in [brackets, subqueries, unions, format!("SELECT {sum}")] {
        let parsed = crate::deep_stack::call(|| parse_text(&text).map(drop));
        assert!(parsed.is_ok(), "{:.60}: {parsed:?}", text);
    }
    let bottomless = format!("SELECT {}1", "(".repeat(100_000));
    let error = crate::deep_stack::call(|| refusal(&bottomless));
    assert_eq!(error.message, "the statement is nested too deep");
}

#[test]
fn a_name_has_so_many_parts_and_no_more() {
    let name = |parts: usize| vec!["a"; parts].join(".");
    assert!(parse_text(&format!("SELECT {} FROM t", name(64))).is_ok());
    assert!(parse_text(&format!("SELECT {}, {} FROM t", name(64), name(64))).is_ok());
    let error = refusal(&format!("SELECT {} FROM t", name(66)));
    assert_eq!((error.code, error.position.map(|place| place.line)), (SqlErrorCode::Invalid, Some(1)));
    assert!(error.message.contains("64 parts"), "{error}");
}

/// What begins with a word of its own and is wrong far inside is not read again from each of its beginnings.
#[test]
fn a_mistake_deep_inside_is_found_at_once() {
    for open in ["ARRAY[", "SUBSTR(", "CEIL(", "INTERVAL (", "OVERLAY(", "EXTRACT(YEAR FROM "] {
        let error = refusal(&format!("SELECT {}", open.repeat(200)));
        assert_eq!(error.code, SqlErrorCode::Syntax, "{open}: {error}");
    }
    assert!(refusal("SELECT SAFE_CAST(a AS INT) FROM t").message.contains("TRY_CAST"));
}
