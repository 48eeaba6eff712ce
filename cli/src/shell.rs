//! The interactive shell: a line editor around a [`Runner`], with history, completion and colours.

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use reedline::{
    ColumnarMenu, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder as _, Reedline,
    ReedlineEvent, ReedlineMenu, Signal, default_emacs_keybindings,
};
use thalweg_plan::catalog::Entry;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    client::Client,
    runner::{Interrupted, Next, Runner, StatementFailed, rows_of_first_column},
};

mod keywords;
mod lexer;
mod validator;
mod highlighter;
mod completer;
mod prompt;

use completer::{Completer, Names, SharedNames};

/// Statements that the history keeps.
const HISTORY_ENTRIES: usize = 10_000;
/// reedline's name for the menu that Tab opens.
const MENU: &str = "completion";

/// Reads statements and runs them until the user leaves.
pub fn run(runtime: &Runtime, runner: &mut Runner, history: Option<PathBuf>) -> Result<()> {
    let names = SharedNames::default();
    let mut editor = editor(names.clone(), history)?.with_break_signal(terminated(runtime)?);
    eprintln!(
        "Thalweg {}. A statement ends with `;`. HELP; lists what there is, Ctrl-C cancels, QUIT; or Ctrl-D leaves.",
        env!("CARGO_PKG_VERSION")
    );
    loop {
        *names.lock().unwrap_or_else(PoisonError::into_inner) =
            runtime.block_on(known_names(runner.client_mut()));
        match editor.read_line(&prompt::Prompt).context("cannot read from the terminal")? {
            Signal::Success(text) => {
                // Now, since whoever closes the window leaves no time later.
                let _ = editor.sync_history();
                let text = with_semicolon(&text);
                match runtime.block_on(runner.run_script(&text)) {
                    Ok(Next::Continue) => {}
                    Ok(Next::Quit) => break,
                    // Said on stderr already; the session goes on.
                    Err(error) if error.is::<StatementFailed>() || error.is::<Interrupted>() => {}
                    Err(error) => return Err(error),
                }
            }
            Signal::CtrlD => break,
            Signal::ExternalBreak(_) => return Err(Interrupted.into()),
            // Ctrl-C while typing drops the line.
            _ => {}
        }
    }
    runtime.block_on(runner.finish())
}

/// A flag that SIGTERM raises, since the editor itself hears no signals.
fn terminated(runtime: &Runtime) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    let mut signal = {
        let _runtime = runtime.enter();
        signal(SignalKind::terminate())?
    };
    runtime.spawn(async move {
        while signal.recv().await.is_some() {
            raised.store(true, Ordering::Relaxed);
        }
    });
    Ok(flag)
}

/// `quit` and the like are statements too.
fn with_semicolon(text: &str) -> String {
    let trimmed = text.trim_end();
    if trimmed.is_empty() || trimmed.ends_with(';') { text.to_owned() } else { format!("{trimmed}\n;") }
}

/// What the session knows. Completion is a help and no more: where a listing fails it has no names.
async fn known_names(client: &mut Client) -> Names {
    let functions = client.sql("SHOW FUNCTIONS;").await.unwrap_or_default();
    let functions = functions.iter().flat_map(rows_of_first_column).collect();
    let catalogs = client.session().catalogs();
    let database = catalogs.current_database.as_deref().unwrap_or_default();
    let entries = catalogs.list(&catalogs.current_catalog, database).unwrap_or_default();
    let mut columns: Vec<String> = entries.values().flat_map(|entry| column_names(entry)).collect();
    columns.sort();
    columns.dedup();
    Names { tables: entries.into_keys().collect(), columns, functions }
}

fn column_names(entry: &Entry) -> Vec<String> {
    match entry {
        Entry::Table(table) => table.columns.iter().map(|column| column.name.clone()).collect(),
        Entry::View(view) => view.columns.iter().map(|column| column.name.clone()).collect(),
    }
}

fn editor(names: SharedNames, history: Option<PathBuf>) -> Result<Reedline> {
    let mut bindings = default_emacs_keybindings();
    let menu = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
    bindings.add_binding(KeyModifiers::NONE, KeyCode::Tab, menu);
    bindings.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let newline = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
    bindings.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline);
    // The prompt stays as it is while the menu is open.
    let columns =
        ColumnarMenu::default().with_name(MENU).with_marker("> ").with_columns(4).with_column_padding(2);
    let editor = Reedline::create()
        .with_edit_mode(Box::new(Emacs::new(bindings)))
        .with_validator(Box::new(validator::Validator))
        .with_highlighter(Box::new(highlighter::Highlighter))
        .with_completer(Box::new(Completer::new(names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(columns)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .use_bracketed_paste(true);
    let Some(path) = history.or_else(default_history) else { return Ok(editor) };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    }
    let history = FileBackedHistory::with_file(HISTORY_ENTRIES, path.clone());
    let history = history.with_context(|| format!("cannot open the history `{}`", path.display()))?;
    Ok(editor.with_history(Box::new(history)))
}

/// `sql-history` in the folder that the XDG rules give to such files.
fn default_history() -> Option<PathBuf> {
    let given = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = given.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
    Some(state.join("thalweg/sql-history"))
}
