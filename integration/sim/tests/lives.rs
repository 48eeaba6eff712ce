//! Whole lives: the same seed twice is the same life, and none of the first seeds breaks anything.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Seeds that are lived on every change.
const SEEDS: u64 = 200;
/// Lives at once.
const THREADS: usize = 2;

#[test]
fn the_same_seed_is_the_same_life_byte_for_byte() {
    for seed in [1, 2, 3] {
        let (once, again) = (thalweg_sim::run(seed), thalweg_sim::run(seed));
        assert_eq!(once, again, "seed {seed}");
        assert!(once.trace.lines().count() > 50, "it is a life:\n{}", once.trace);
    }
    assert_ne!(thalweg_sim::run(1).trace, thalweg_sim::run(2).trace, "another seed is another life");
}

#[test]
fn no_seed_breaks_an_invariant() {
    let next = AtomicU64::new(0);
    let live = || {
        let mut broken = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return broken;
            }
            let life = thalweg_sim::run(seed);
            if life.broken.is_some() {
                broken.push(life.to_string());
            }
        }
    };
    let broken: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(live)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("lives are on threads of their own"))
            .collect()
    });
    assert!(broken.is_empty(), "{} of {SEEDS}:\n{}", broken.len(), broken.join("\n"));
}
