//! Runs scripts for a person or a pipe: statement by statement, rows to stdout, all else to stderr, Ctrl-C cancels the job.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    sync::Arc,
    time::Instant,
};

use anyhow::Result;
use arrow::{
    array::{AsArray as _, RecordBatch},
    compute::cast,
    datatypes::{DataType, Schema, SchemaRef},
};
use futures::{StreamExt as _, stream};
use thalweg_graph::{JobId, Options, options};
use thalweg_plan::{Session, Statement, StatementKind, session_config::session_zone};

use crate::{
    backend::{Jobs, ProgressStream},
    client::{Client, Execution, ended},
    interrupt::Shutdown,
    output::{Format, RowPrinter, ScreenSize, Style},
    progress::Bars,
    report,
    rows::Rows,
    terminal::{self, Unechoed},
};

/// Runs statements and prints what they come to.
pub struct Runner {
    client: Client,
    follower: Follower,
    format: Format,
    /// Whether a person types the statements.
    interactive: bool,
    /// Jobs that nobody has waited for, because `table.dml-sync` is off.
    unwatched: Vec<JobId>,
}

/// Whether more statements are to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// They may.
    Continue,
    /// The user said `QUIT`.
    Quit,
}

/// Told to end by a signal, Ctrl-C for one.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// A script that ended early; why was already said on stderr.
#[derive(Debug, thiserror::Error)]
#[error("a statement failed")]
pub struct StatementFailed;

impl Runner {
    /// A runner that prints rows in a format. Must be made inside a tokio runtime.
    pub fn new(client: Client, format: Format, interactive: bool) -> io::Result<Self> {
        let follower = Follower::new(client.jobs())?;
        Ok(Self { client, follower, format, interactive, unwatched: Vec::new() })
    }

    /// The client that runs the statements.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Runs a script up to its end or its first failure, which is reported on stderr.
    pub async fn run_script(&mut self, script: &str) -> Result<Next> {
        let statements = match Session::parse(script) {
            Ok(statements) => statements,
            Err(error) => {
                eprintln!("{}", report::statement_error(&error.into(), script));
                return Err(StatementFailed.into());
            }
        };
        // A person's statement is not ended by the Ctrl-C that ended the one before.
        if self.interactive {
            self.follower.shutdown.forget_interrupts();
        }
        let _unechoed = self.interactive.then(Unechoed::stdin).flatten();
        for statement in &statements {
            match self.run_statement(statement).await {
                Ok(Next::Continue) => {}
                Ok(Next::Quit) => return Ok(Next::Quit),
                // Who does not read any more, or says to stop, needs no reason.
                Err(error) if crate::output::is_closed_pipe(&error) || error.is::<Interrupted>() => {
                    return Err(error);
                }
                Err(error) => {
                    eprintln!("{}", report::statement_error(&error, script));
                    return Err(StatementFailed.into());
                }
            }
        }
        Ok(Next::Continue)
    }

    /// Waits for the jobs that were started and not waited for.
    pub async fn finish(&mut self) -> Result<()> {
        for job in std::mem::take(&mut self.unwatched) {
            self.follower.follow(job).await?;
        }
        Ok(())
    }

    async fn run_statement(&mut self, statement: &Statement) -> Result<Next> {
        let started = Instant::now();
        let execution = tokio::select! {
            execution = self.client.execute(statement) => execution?,
            _ = self.follower.shutdown.requested() => return Err(Interrupted.into()),
        };
        match execution {
            Execution::Done(None) => eprintln!("[INFO] Execute statement succeeded."),
            Execution::Done(Some(message)) => eprintln!("{message}"),
            Execution::Listing { schema, batches } => self.print_listing(schema, &batches, started)?,
            Execution::Job { job, is_query: true } => {
                let started = self.interactive.then_some(started);
                self.follower.print_query(job, self.format, self.client.session().options(), started).await?;
            }
            Execution::Job { job, is_query: false } => self.run_insert(job, statement.kind()).await?,
            Execution::Quit => return Ok(Next::Quit),
            Execution::Clear => self.clear_screen()?,
            Execution::Help(text) => eprintln!("{text}"),
        }
        Ok(Next::Continue)
    }

    async fn run_insert(&mut self, job: JobId, kind: StatementKind) -> Result<()> {
        eprintln!("[INFO] SQL update statement has been successfully submitted:\nJob ID: {job}");
        let wait =
            self.client.session().options().get(&options::DML_SYNC)? || kind == StatementKind::CreateTableAs;
        if wait {
            self.follower.follow(job).await?;
            eprintln!("[INFO] Complete execution of the SQL update statement.");
        } else {
            self.unwatched.push(job);
        }
        Ok(())
    }

    fn print_listing(&self, schema: SchemaRef, batches: &[RecordBatch], started: Instant) -> Result<()> {
        let mut stdout = BufWriter::new(io::stdout().lock());
        if self.format == Format::Table && is_text(&schema) {
            print_text(batches, &mut stdout)?;
            return Ok(());
        }
        // What the session itself says is there to be read in full; Flink leaves its gaps empty.
        let style = Style { column_width_max: usize::MAX, null: "", ..self.style()? };
        let mut printer = RowPrinter::new(self.format, schema, style, stdout);
        for batch in batches {
            printer.write(batch)?;
        }
        printer.finish(self.interactive.then(|| started.elapsed()))?;
        Ok(())
    }

    fn style(&self) -> Result<Style> {
        style(self.client.session().options(), self.interactive)
    }

    fn clear_screen(&self) -> io::Result<()> {
        if !io::stdout().is_terminal() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(b"\x1b[2J\x1b[H").and_then(|()| stdout.flush())
    }
}

/// Whether a listing is one text of several lines, as `EXPLAIN` and `SHOW CREATE TABLE` give it, which a table's frame would only
/// make unreadable.
fn is_text(schema: &Schema) -> bool {
    matches!(schema.fields().as_ref(), [field] if field.name() == "result")
}

fn print_text(batches: &[RecordBatch], out: &mut impl Write) -> io::Result<()> {
    for text in batches.iter().flat_map(rows_of_first_column) {
        writeln!(out, "{}", text.trim_end())?;
    }
    out.flush()
}

/// The texts of a listing's first column.
pub fn rows_of_first_column(batch: &RecordBatch) -> Vec<String> {
    let column = batch.columns().first().and_then(|column| cast(column, &DataType::Utf8).ok());
    column
        .map_or(Vec::new(), |column| column.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
}

/// Follows jobs that were started, and prints their rows.
pub struct Follower {
    jobs: Arc<dyn Jobs>,
    shutdown: Shutdown,
}

impl Follower {
    /// Listens to signals from now on. Must be made inside a tokio runtime.
    pub fn new(jobs: Arc<dyn Jobs>) -> io::Result<Self> {
        Ok(Self { jobs, shutdown: Shutdown::listen()? })
    }

    /// Follows a query to its end and prints its rows, as they come where it has no end; with the time since `started`, if that is
    /// given.
    pub async fn print_query(
        &mut self,
        job: JobId,
        format: Format,
        options: &Options,
        started: Option<Instant>,
    ) -> Result<()> {
        let progress = self.jobs.watch(job).await?;
        if let Some(progress) = self.show(job, progress, Until::LiveResult).await? {
            return self.print_live(job, progress, format, options, started).await;
        }
        let rows = self.jobs.result(job).await?;
        tokio::select! {
            printed = print_rows(rows, format, options, started) => printed,
            _ = self.shutdown.requested() => {
                if started.is_some() {
                    eprintln!("[INFO] The output was interrupted.");
                }
                Err(Interrupted.into())
            }
        }
    }

    /// Prints rows as they come, until there are no more or a signal cancels the query.
    async fn print_live(
        &mut self,
        job: JobId,
        progress: ProgressStream,
        format: Format,
        options: &Options,
        started: Option<Instant>,
    ) -> Result<()> {
        let printing = print_as_they_come(self.jobs.live_result(job), format, options, started);
        let outcome = tokio::select! {
            printed = printing => printed,
            _ = self.shutdown.requested() => {
                self.jobs.cancel(job).await?;
                return self.show(job, progress, Until::Canceled).await.map(drop);
            }
        };
        match outcome {
            Err(error) if crate::output::is_closed_pipe(&error) => Err(error),
            // What the job says of its end explains why its rows broke off.
            outcome => self.show(job, progress, Until::End).await.and(outcome),
        }
    }

    /// Shows a job's progress until it has ended. The first signal cancels it, the second gives up waiting for that.
    pub async fn follow(&mut self, job: JobId) -> Result<()> {
        let progress = self.jobs.watch(job).await?;
        self.show(job, progress, Until::End).await.map(drop)
    }

    /// Shows a job's progress; returns what is left of it where that is wanted before the job's end.
    async fn show(
        &mut self,
        job: JobId,
        mut progress: ProgressStream,
        until: Until,
    ) -> Result<Option<ProgressStream>> {
        let mut bars = io::stderr().is_terminal().then(Bars::new);
        let mut cancelling = until == Until::Canceled;
        let mut last = None;
        loop {
            tokio::select! {
                next = progress.next() => {
                    let Some(next) = next else { break };
                    let next = next?;
                    if until == Until::LiveResult && next.has_live_result && !cancelling {
                        bars.iter_mut().for_each(Bars::clear);
                        let first = stream::iter([Ok(next)]);
                        return Ok(Some(first.chain(progress).boxed()));
                    }
                    bars.iter_mut().for_each(|bars| bars.show(&next));
                    last = Some(next);
                }
                _ = self.shutdown.requested() => {
                    if cancelling {
                        return Err(Interrupted.into());
                    }
                    cancelling = true;
                    self.jobs.cancel(job).await?;
                }
            }
        }
        bars.iter_mut().for_each(Bars::clear);
        match last {
            Some(last) if cancelling && last.status.is_terminal() => {
                eprintln!("[INFO] Job {job} was asked to cancel and ended as {}.", last.status);
                Err(Interrupted.into())
            }
            Some(last) => ended(job, last.status, last.failure.clone()).map(|()| None),
            None => anyhow::bail!("nothing is known of job `{job}`"),
        }
    }
}

/// What a job is watched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Its end.
    End,
    /// Its end, which was asked for.
    Canceled,
    /// Its end, or that its rows can be read as they come.
    LiveResult,
}

/// Prints rows as they come. Cut off by whoever drops it, it still ends what it has printed.
async fn print_as_they_come(
    rows: impl Future<Output = Result<Rows>>,
    format: Format,
    options: &Options,
    started: Option<Instant>,
) -> Result<()> {
    let mut rows = rows.await?;
    let style = style(options, started.is_some())?;
    let out = BufWriter::new(io::stdout());
    let schema = rows.schema();
    let printer = match screen(format, options)? {
        Some(size) if started.is_some() => RowPrinter::on_screen(&schema, style, size, out)?,
        _ => RowPrinter::live(format, &schema, style, out)?,
    };
    let mut shown = Shown { printer: Some(printer), started };
    while let Some(batch) = rows.next().await? {
        if let Some(printer) = &mut shown.printer {
            printer.write(&batch)?;
        }
        // Rows that are always there must not keep a Ctrl-C waiting.
        tokio::task::yield_now().await;
    }
    shown.finish()
}

/// The screen on which results are drawn over themselves, where that is asked for and there is one.
fn screen(format: Format, options: &Options) -> Result<Option<ScreenSize>> {
    let mode: String = options.get(&options::RESULT_MODE)?;
    let wanted = format == Format::Table && mode.eq_ignore_ascii_case("table");
    let Some(lines) = terminal::height().filter(|_| wanted) else { return Ok(None) };
    Ok(Some(ScreenSize { lines, rows_max: options.get(&options::RESULT_MAX_ROWS)? }))
}

/// Rows that were printed, whose end is printed however they end.
struct Shown {
    printer: Option<RowPrinter<BufWriter<io::Stdout>>>,
    started: Option<Instant>,
}

impl Shown {
    fn finish(&mut self) -> Result<()> {
        let Some(printer) = self.printer.take() else { return Ok(()) };
        printer.finish(self.started.map(|started| started.elapsed()))?;
        Ok(())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        // Whoever does not read stdout any more needs no end.
        let _ = self.finish();
    }
}

async fn print_rows(
    mut rows: Rows,
    format: Format,
    options: &Options,
    started: Option<Instant>,
) -> Result<()> {
    let limit = match format {
        Format::Table => options.get(&options::RESULT_MAX_ROWS)?,
        // Who asks for a file wants all of it.
        Format::Csv | Format::Json => 0,
    };
    let mut left = if limit == 0 { u64::MAX } else { limit };
    let mut printer = RowPrinter::new(
        format,
        rows.schema(),
        style(options, started.is_some())?,
        BufWriter::new(io::stdout()),
    );
    let mut cut = false;
    while let Some(batch) = rows.next().await? {
        let shown = usize::try_from(left).map_or(batch.num_rows(), |left| left.min(batch.num_rows()));
        cut = shown < batch.num_rows();
        if shown > 0 {
            printer.write(&batch.slice(0, shown))?;
            left -= shown as u64;
        }
        if cut {
            break;
        }
        // Rows that are always there must not keep a Ctrl-C waiting.
        tokio::task::yield_now().await;
    }
    printer.finish(started.map(|started| started.elapsed()))?;
    if cut {
        let key = options::RESULT_MAX_ROWS.name;
        eprintln!("[INFO] The result has more rows; `SET '{key}' = '0';` shows all.");
    }
    Ok(())
}

/// How rows are drawn; for a person, so that they fit the terminal.
fn style(options: &Options, interactive: bool) -> Result<Style> {
    Ok(Style {
        time_zone: session_zone(options),
        column_width_max: options.get(&options::COLUMN_WIDTH_MAX)? as usize,
        width_max: interactive.then(terminal::width).flatten(),
        ..Style::default()
    })
}
