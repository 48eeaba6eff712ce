//! Whole lives: the same seed twice is the same life, and none of the first seeds breaks anything.

use std::process::{Command, Output};

/// Seeds that are lived on every change.
const SEEDS: &str = "0..200";

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thalweg-sim")).args(arguments).output().expect("it was built")
}

fn life(seed: u64) -> String {
    let output = sim(&["--alone", &seed.to_string()]);
    String::from_utf8(output.stdout).expect("a trace is text")
}

#[test]
fn the_same_seed_is_the_same_life_byte_for_byte() {
    for seed in [1, 2, 3] {
        let once = life(seed);
        assert_eq!(once, life(seed), "seed {seed}");
        assert!(once.lines().count() > 50, "it is a life:\n{once}");
    }
    let without_seed = |life: String| life.lines().filter(|line| !line.contains("seed")).collect::<String>();
    assert_ne!(without_seed(life(1)), without_seed(life(2)), "another seed is another life");
}

#[test]
fn no_seed_breaks_an_invariant() {
    let output = sim(&[SEEDS, "--trace"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let verdict = said.lines().last().unwrap_or_default();
    assert!(output.status.success() && verdict.starts_with("200 lives"), "{said}");
    // What holds is worth something where much has happened.
    let count = |happened: &dyn Fn(&str) -> bool| said.lines().filter(|line| happened(line)).count();
    for fault in ["Crashed", "Apart", "OneWay", "Held", "Slow", "Disk"] {
        assert!(count(&|line| line.contains(&format!("FAULT {fault}"))) > 10, "{fault}");
    }
    for meddling in ["Rescale", "Stop", "Cancel"] {
        assert!(count(&|line| line.contains("is granted") && line.contains(meddling)) > 5, "{meddling}");
    }
}
