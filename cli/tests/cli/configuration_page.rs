//! Holds `docs/configuration.md` to the options that the engine knows.

use std::{env, fs, path::Path};

use thalweg_graph::options::KNOWN;

const START: &str = "| Option | Default | What it does |\n| --- | --- | --- |\n";

/// `THALWEG_UPDATE_DOCS=1 cargo test --workspace configuration` writes the page instead.
#[test]
fn the_configuration_page_lists_every_option() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, _) = page.split_once(START).expect("the page has the table's head");
    let current = head.to_owned()
        + START
        + &KNOWN.iter().map(|known| row(known.name, known.default, known.doc)).collect::<String>();
    if env::var_os("THALWEG_UPDATE_DOCS").is_some() {
        fs::write(&path, &current).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    assert!(
        page == current,
        "docs/configuration.md is out of date: set THALWEG_UPDATE_DOCS=1 and run this test"
    );
}

fn row(name: &str, default: &str, doc: &str) -> String {
    let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
    format!("| `{name}` | {default} | {} |\n", doc.trim())
}
