//! Progress bars on stderr while a job runs: one line for each vertex. Drawn only where somebody looks and the job takes a while.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use thalweg_scheduler::{JobProgress, view::VertexProgress};
use tokio::time::Instant;

/// A job that is over sooner shows no bars.
const SHOW_AFTER: Duration = Duration::from_millis(400);
/// Longest name of a vertex that is shown.
const NAME_WIDTH: usize = 48;

/// The bars of one job.
pub struct Bars {
    started: Instant,
    lines: Option<Lines>,
}

struct Lines {
    all: MultiProgress,
    status: ProgressBar,
    vertices: Vec<ProgressBar>,
}

impl Bars {
    /// No bars yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), lines: None }
    }

    /// Shows a job's progress.
    pub fn show(&mut self, progress: &JobProgress) {
        if self.started.elapsed() < SHOW_AFTER || progress.status.is_terminal() {
            return;
        }
        let lines = self.lines.get_or_insert_with(Lines::new);
        lines.show(progress);
    }

    /// Takes the bars away.
    pub fn clear(&mut self) {
        if let Some(lines) = self.lines.take() {
            lines.status.finish_and_clear();
            lines.vertices.iter().for_each(ProgressBar::finish_and_clear);
            let _ = lines.all.clear();
        }
    }
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Lines {
    fn new() -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}")
            .expect("the template is well-formed");
        let status = all.add(ProgressBar::new_spinner().with_style(style));
        status.enable_steady_tick(Duration::from_millis(120));
        Self { all, status, vertices: Vec::new() }
    }

    fn show(&mut self, progress: &JobProgress) {
        let waiting = progress.waiting.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        self.status.set_message(format!("{}{waiting}", progress.status));
        // A job is planned after it was accepted; its vertices come then.
        let style = ProgressStyle::with_template("  {bar:20} {pos}/{len} {wide_msg}")
            .expect("the template is well-formed");
        while self.vertices.len() < progress.vertices.len() {
            self.vertices.push(self.all.add(ProgressBar::new(1).with_style(style.clone())));
        }
        for (bar, vertex) in self.vertices.iter().zip(&progress.vertices) {
            bar.set_length(u64::from(vertex.parallelism));
            bar.set_position(u64::from(vertex.finished));
            bar.set_message(line(vertex));
        }
    }
}

fn line(vertex: &VertexProgress) -> String {
    let mut name: String = vertex.name.chars().take(NAME_WIDTH).collect();
    if name.len() < vertex.name.len() {
        name.push('…');
    }
    let metrics = &vertex.metrics;
    let (rows_in, rows_out) = (HumanCount(metrics.records_in), HumanCount(metrics.records_out));
    // The name last: a narrow terminal cuts it.
    format!("{rows_in} rows in ({}), {rows_out} out  {name}", HumanBytes(metrics.bytes_in))
}
