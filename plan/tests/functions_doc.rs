//! `docs/functions.md` lists exactly the functions that are registered.
//!
//! With `UPDATE_DOCS=1` in the environment the list is written anew.

// A test's helper that cannot go on fails the test.
#![allow(clippy::unwrap_used)]

use std::{fmt::Write, fs, path::Path};

use thalweg_plan::functions::{Family, names};

const START: &str = "<!-- functions: written by the test `functions_doc`, do not edit -->\n";
const END: &str = "<!-- end of functions -->\n";

#[test]
fn the_list_of_functions_is_complete() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/functions.md");
    let document = fs::read_to_string(&path).expect("docs/functions.md");
    let start = document.find(START).expect("the start of the list") + START.len();
    let end = document.find(END).expect("the end of the list");
    let list = list();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{}{list}{}", &document[..start], &document[end..])).expect("written");
        return;
    }
    assert!(document[start..end] == list, "docs/functions.md is out of date: run with UPDATE_DOCS=1");
}

fn list() -> String {
    let mut list = String::new();
    let mut family: Option<Family> = None;
    for function in names() {
        if family != Some(function.family) {
            let _ = write!(
                list,
                "\n### {}\n\n| Function | Call | Result |\n|---|---|---|\n",
                function.family.title()
            );
            family = Some(function.family);
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let _ =
            writeln!(list, "| `{}` | {} | {} |", function.name, cell(function.signature), cell(function.doc));
    }
    list.push('\n');
    list
}
