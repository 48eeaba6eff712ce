//! Prints what scheduling costs for each task, on workers that do nothing: `cargo run --release --example control_plane`.

use thalweg_graph::exchange::ExchangeKind;
use thalweg_scheduler::bench;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "printing is all that it is for")]
async fn main() -> Result<(), bench::Error> {
    println!("{:>8}  {:<10}  {:>12}  {:>12}", "tasks", "exchange", "total", "per task");
    for kind in [ExchangeKind::Blocking, ExchangeKind::Pipelined] {
        for tasks in [100, 1_000, 2_000, 10_000] {
            let measured = bench::measure(tasks, kind).await?;
            let (total, per_task) = (measured.elapsed, measured.per_task());
            println!("{:>8}  {kind:<10?}  {total:>12.2?}  {per_task:>12.2?}", measured.tasks);
        }
    }
    Ok(())
}
