//! Holds the code to the map in `docs/architecture.md`: crates depend downwards only, and in each crate a module uses only those that
//! its `lib.rs` lists above it. Rust checks neither.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Each crate and those of ours that it may use.
const CRATES: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("plan", &["graph"]),
    ("rpc", &["graph"]),
    ("connectors", &["graph", "plan"]),
    ("worker", &["graph", "rpc", "plan", "connectors"]),
    ("deploy", &["graph"]),
    ("scheduler", &["graph", "rpc", "deploy"]),
    ("cli", &["graph", "rpc", "plan", "connectors", "worker", "deploy", "scheduler"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn crates_depend_downwards_only() {
    for (name, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        let used =
            dependencies.lines().filter_map(|line| line.strip_prefix("thalweg-")?.split(['.', ' ']).next());
        for used in used {
            assert!(allowed.contains(&used), "`{name}` may not depend on `{used}`");
        }
    }
    let scheduler = fs::read_to_string(root().join("scheduler/Cargo.toml")).unwrap();
    assert!(!scheduler.contains("datafusion"), "the control plane does not wait for DataFusion");
}

#[test]
fn modules_use_only_those_above_them() {
    let found: Vec<String> =
        CRATES.iter().flat_map(|(name, _)| violations(&root().join(name).join("src"))).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_module_that_looks_down_is_found() {
    assert_eq!(
        used_modules("use crate::{\n    a::B,\n    c::{d, e::F},\n};\ncrate::g::h();"),
        ["a", "c", "g"]
    );
    let order = ["above".to_owned(), "here".to_owned(), "below".to_owned()];
    assert_eq!(looks_down("here", "use crate::{above::A, below::B};", &order), ["below"]);
    assert!(looks_down("here", "#[cfg(test)]\nmod tests { use crate::below::B; }", &order).is_empty());
}

fn violations(src: &Path) -> Vec<String> {
    let order = declared(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(!order.is_empty(), "{}", src.display());
    let mut found = Vec::new();
    for module in &order {
        for file in files(src, module) {
            let text = fs::read_to_string(&file).unwrap();
            for below in looks_down(module, &text, &order) {
                found.push(format!("{} uses `{below}`, which lib.rs lists below `{module}`", file.display()));
            }
        }
    }
    found
}

/// Module names in the order in which `lib.rs` declares them.
fn declared(lib: &str) -> Vec<String> {
    let names = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    names.map(str::to_owned).collect()
}

/// The files of a module; its tests may use anything.
fn files(src: &Path, module: &str) -> Vec<PathBuf> {
    let mut files = vec![src.join(format!("{module}.rs"))];
    let mut folders = vec![src.join(module)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.retain(|file| {
        file.is_file() && file.extension().is_some_and(|end| end == "rs") && !file.ends_with("tests.rs")
    });
    files
}

fn looks_down(module: &str, text: &str, order: &[String]) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.to_owned() + "\n")
        .collect();
    let position = order.iter().position(|name| name == module).unwrap();
    let mut down = used_modules(&code);
    down.retain(|used| order[position + 1..].contains(used));
    down
}

/// What follows `crate::`, alone or at the top level of braces.
fn used_modules(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(list) = rest.strip_prefix('{') else {
            used.push(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => used.push(first_word(&std::mem::take(&mut item))),
                c if depth == 0 => item.push(c),
                _ => {}
            }
        }
        used.push(first_word(&item));
    }
    used.retain(|name| !name.is_empty());
    used.sort();
    used.dedup();
    used
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
