//! TPC-H embedded, beside the DataFusion crate with its defaults and DuckDB: the same files, the same number of threads, each
//! engine in a process of its own, rounds interleaved so that a noisy machine disturbs all alike.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use super::{
    engine::{Engine, QueryCost, Workload, is_available, run_in_child},
    report::{Report, median},
};

/// Runs all engines for some rounds.
pub fn run(engines: &[Engine], workload: &Workload, rounds: u32) -> Result<Report> {
    let engines: Vec<Engine> = engines.iter().copied().filter(|engine| is_available(*engine)).collect();
    let mut costs: BTreeMap<Engine, Vec<Vec<QueryCost>>> = BTreeMap::new();
    for round in 0..rounds {
        for &engine in &engines {
            eprintln!("round {}, {engine}", round + 1);
            costs.entry(engine).or_default().push(run_in_child(engine, workload)?);
        }
    }
    Ok(report(&engines, &costs, workload, rounds))
}

fn report(
    engines: &[Engine],
    costs: &BTreeMap<Engine, Vec<Vec<QueryCost>>>,
    workload: &Workload,
    rounds: u32,
) -> Report {
    let method = format!(
        "Scale factor {}, {} threads, medians of {rounds} interleaved rounds, each engine in its own process; CPU by getrusage.",
        workload.scale.as_str(),
        workload.threads,
    );
    let mut report = Report::new("TPC-H embedded", &method, &["query"]);
    for engine in engines {
        report.columns.extend([format!("{engine} CPU s"), format!("{engine} wall s")]);
    }
    let of = |engine: Engine, position: usize, value: fn(&QueryCost) -> f64| {
        let rounds = costs[&engine].iter().filter_map(|round| round.get(position).map(value));
        median(&rounds.collect::<Vec<_>>()) / 1000.0
    };
    let mut totals = vec![0.0; engines.len() * 2];
    for (position, number) in workload.queries.iter().enumerate() {
        let mut row = vec![format!("q{number}")];
        for (column, &engine) in engines.iter().enumerate() {
            for (offset, value) in
                [(|cost: &QueryCost| cost.cpu_ms) as fn(&QueryCost) -> f64, |cost| cost.wall_ms]
                    .into_iter()
                    .enumerate()
            {
                let seconds = of(engine, position, value);
                totals[2 * column + offset] += seconds;
                row.push(format!("{seconds:.3}"));
            }
        }
        report.row(row);
    }
    let cells = totals.iter().map(|total| format!("{total:.2}"));
    report.row(std::iter::once("total".to_owned()).chain(cells));
    let peaks: Vec<u64> = engines
        .iter()
        .map(|engine| costs[engine].iter().flatten().map(|cost| cost.peak_bytes).max().unwrap_or_default())
        .collect();
    let cells = peaks.iter().flat_map(|peak| [format!("{} MB", peak >> 20), String::new()]);
    report.row(std::iter::once("peak memory".to_owned()).chain(cells));
    report.figures = json!({
        "scale": workload.scale.as_str(),
        "threads": workload.threads,
        "engines": engines.iter().enumerate().map(|(column, engine)| json!({
            "engine": engine,
            "cpu_s": totals[2 * column],
            "wall_s": totals[2 * column + 1],
            "peak_bytes": peaks[column],
            "rounds": costs[engine],
        })).collect::<Vec<_>>(),
    });
    report
}
