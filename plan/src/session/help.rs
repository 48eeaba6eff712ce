//! The text of `HELP`.

/// Statements and what they do, a line each.
const STATEMENTS: &[(&str, &str)] = &[
    ("SELECT ... / WITH ... / VALUES ...", "Runs a query and shows its rows."),
    ("INSERT INTO | OVERWRITE t ...", "Writes a query's rows to a table."),
    ("EXECUTE STATEMENT SET BEGIN ...; END", "Runs several INSERTs as one job."),
    ("CREATE TABLE t (...) WITH (...)", "Declares a table; without columns they are taken from its files."),
    ("CREATE TABLE t WITH (...) AS SELECT ...", "Declares a table and fills it."),
    ("CREATE [TEMPORARY] VIEW v AS SELECT ...", "Names a query."),
    ("CREATE | DROP | ALTER | USE ...", "Changes catalogs, databases, tables and views."),
    ("DESCRIBE t", "Shows the columns of a table or view."),
    ("EXPLAIN [JSON_EXECUTION_PLAN] ...", "Shows how a statement would run."),
    ("SHOW CATALOGS | DATABASES | TABLES | ...", "Lists what there is."),
    ("SHOW CREATE TABLE t", "Shows the statement that makes a table."),
    ("EXPLAIN WATERMARK 'id'", "Shows how far event time has come in a job, and what holds it back."),
    ("SHOW JOBS / STOP JOB 'id' [WITH SAVEPOINT]", "Lists jobs; cancels one, or ends it behind a savepoint."),
    ("SET ['key' = 'value'] / RESET ['key']", "Changes or lists the session's options."),
    ("CLEAR", "Empties the screen."),
    ("QUIT / EXIT", "Ends the session."),
];

/// Returns the help.
pub fn text() -> String {
    let width = STATEMENTS.iter().map(|(statement, _)| statement.len()).max().unwrap_or_default();
    let lines = STATEMENTS.iter().map(|(statement, does)| format!("{statement:width$}  {does}"));
    lines.collect::<Vec<_>>().join("\n")
}
