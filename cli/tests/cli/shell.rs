//! The interactive shell, as a person at a terminal uses it.

use crate::terminal::Terminal;

const PROMPT: &str = "Thalweg SQL>";
/// What a statement that has no rows says.
const DONE: &str = "[INFO] Execute statement succeeded.";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const UP: &str = "\x1b[A";
const ENDLESS: &str =
    "CREATE TABLE d (id BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1000000000000');\r";

fn shell(home: &std::path::Path) -> Terminal {
    let terminal = Terminal::start(&["sql", "-D", "parallelism.default=1"], home);
    terminal.wait_line(PROMPT);
    terminal
}

/// Waits until so many statements without rows are done and the prompt is there again: keys that come before it are lost.
fn wait_done(terminal: &Terminal, count: usize) {
    terminal.wait("prompt", |text| text.matches(DONE).count() == count && text.trim_end().ends_with(PROMPT));
}

#[test]
fn statements_take_lines_names_are_completed_and_history_outlives_the_shell() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = shell(home.path());
    terminal.keys("SELECT 1 AS a,\r");
    terminal.wait_line("           >");
    terminal.keys("'x' AS b;\r");
    let screen = terminal.wait("result", |text| text.contains("1 row in set"));
    assert!(screen.contains("| a | b |\n+---+---+\n| 1 | x |\n"), "{screen}");

    terminal.keys("CREATE TEMPORARY VIEW purchases AS SELECT 7 AS purchase_id;\r");
    wait_done(&terminal, 1);
    for (typed, completed) in [
        ("sele\t", "select"),
        ("purchase_\t", "select purchase_id"),
        ("from \t", "select purchase_id from purchases"),
    ] {
        terminal.keys(typed);
        terminal.wait(completed, |text| {
            text.lines().any(|line| line.ends_with(&format!("{PROMPT} {completed}")))
        });
    }
    terminal.keys(";\r");
    terminal.wait("row", |text| text.contains("|           7 |"));

    terminal.keys("SELECT purchase FROM purchases;\r");
    let screen = terminal.wait("caret", |text| text.contains("|        ^\n"));
    assert!(screen.contains("did you mean `purchase_id`?"), "{screen}");
    terminal.keys("CLEAR;\r");
    terminal.wait("empty screen", |text| text.trim() == PROMPT);
    terminal.keys(CTRL_D);
    assert_eq!(terminal.ended(), Some(0));

    let mut terminal = shell(home.path());
    terminal.keys(UP);
    terminal.wait_line(&format!("{PROMPT} CLEAR;"));
    terminal.keys(UP);
    terminal.wait_line(&format!("{PROMPT} SELECT purchase FROM purchases;"));
    terminal.keys(CTRL_C);
    terminal.wait("new line", |text| text.trim_end().ends_with(PROMPT));
    terminal.keys("quit\r");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn ctrl_c_cancels_the_job_and_not_the_shell() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = shell(home.path());
    terminal.keys(ENDLESS);
    wait_done(&terminal, 1);
    terminal.keys("SELECT COUNT(*) AS n FROM d WHERE id % 7 = 3;\r");
    terminal.wait("counts of rows", |text| {
        text.contains("RUNNING") && text.contains("rows in") && !text.contains(" 0 rows in")
    });
    // Typed too early: not shown in the middle of the progress.
    terminal.keys("SELECT 40 + 2");
    terminal.keys(CTRL_C);
    let screen = terminal.wait("end", |text| text.contains("was asked to cancel and ended as CANCELED."));
    assert!(!screen.contains("RUNNING"), "the progress is gone: {screen}");
    terminal.wait("prompt", |text| text.trim_end().ends_with(PROMPT));
    terminal.keys("SELECT 2 AS two;\r");
    terminal.wait("row", |text| text.contains("| two |\n+-----+\n|   2 |\n"));
    terminal.keys("QUIT;\r");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn rows_that_are_too_wide_are_shown_as_records() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = shell(home.path());
    terminal.keys("SELECT REPEAT('x', 60) AS wide, REPEAT('y', 60) AS wider, REPEAT('z', 60) AS widest, 1 AS a_column_with_a_long_name;\r");
    let screen = terminal.wait("record", |text| text.contains("1 row in set"));
    assert!(screen.contains(&format!("wider: {}\n", "y".repeat(60))), "{screen}");
    assert!(screen.contains("* 1. row *"), "{screen}");
    terminal.keys("SELECT CAST(NULL AS INT) AS nothing WHERE FALSE;\r");
    terminal.wait("nothing", |text| text.contains("Empty set"));
    terminal.signal(libc::SIGTERM);
    assert_eq!(terminal.ended(), Some(130));
}

#[test]
fn rows_of_an_endless_query_are_shown_until_ctrl_c_and_the_shell_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = shell(home.path());
    terminal.keys("CREATE TABLE e (id BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '100');\r");
    wait_done(&terminal, 1);
    terminal.keys("SELECT COUNT(*) AS n FROM e;\r");
    terminal.wait("changes", |text| {
        let changes = |op: &str| text.lines().filter(|line| line.starts_with(op)).count();
        changes("| -U |") > 5 && changes("| +U |") > 5
    });
    terminal.keys(CTRL_C);
    let screen = terminal.wait("end", |text| text.contains("was asked to cancel and ended as CANCELED."));
    assert!(screen.contains("Received a total of "), "{screen}");
    terminal.wait("prompt", |text| text.trim_end().ends_with(PROMPT));
    terminal.keys("SELECT 2 AS two;\r");
    terminal.wait("row", |text| text.contains("| two |\n+-----+\n|   2 |\n"));
    terminal.keys("QUIT;\r");
    assert_eq!(terminal.ended(), Some(0));
}

#[test]
fn what_an_endless_query_adds_up_to_is_drawn_over_itself() {
    let home = tempfile::tempdir().unwrap();
    let mut terminal = shell(home.path());
    terminal.keys("CREATE TABLE e (k BOOLEAN) WITH ('connector' = 'datagen', 'rows-per-second' = '200');\r");
    wait_done(&terminal, 1);
    terminal.keys("SET 'sql-client.execution.result-mode' = 'table';\r");
    wait_done(&terminal, 2);
    terminal.keys("SELECT k, COUNT(*) AS n FROM e GROUP BY k;\r");
    let drawn = |text: &str| text.matches("| FALSE |").count() == 1 && text.matches("|  TRUE |").count() == 1;
    let first = terminal.wait("table", drawn);
    let second = terminal.wait("another picture", |text| drawn(text) && text != first);
    assert!(second.contains("2 rows") && !second.contains(" op "), "{second}");
    terminal.keys(CTRL_C);
    terminal.wait("end", |text| text.contains("was asked to cancel and ended as CANCELED."));
    terminal.keys("QUIT;\r");
    assert_eq!(terminal.ended(), Some(0));
}
