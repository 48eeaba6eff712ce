//! A parsed statement: what it asks for, before anything is looked up.

use std::collections::BTreeMap;

use sqlparser::ast;
use thalweg_graph::{JobId, sql_error::Position};

use super::hint::Hints;
use crate::catalog::{ColumnPlace, LikeOption, Name, PrimaryKey, Table, TableColumn, Watermark};

/// How a job is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// It is cancelled.
    Cancel,
    /// It ends behind a savepoint.
    Savepoint {
        /// Whether event time comes to its end first.
        drain: bool,
    },
}

/// A statement.
#[derive(Debug)]
pub enum Command {
    /// `SELECT`, `VALUES`, `WITH`.
    Query(Query),
    /// `INSERT INTO | OVERWRITE`.
    Insert(Insert),
    /// `EXECUTE STATEMENT SET`.
    StatementSet(Vec<Insert>),
    /// `STOP JOB`.
    StopJob(JobId, StopMode),
    /// `EXPLAIN WATERMARK`.
    ExplainWatermark(JobId),
    /// `CREATE TABLE`.
    CreateTable(Box<CreateTable>),
    /// `CREATE VIEW`.
    CreateView(Box<CreateView>),
    /// `CREATE DATABASE`.
    CreateDatabase(CreateDatabase),
    /// `CREATE CATALOG`.
    CreateCatalog(CreateCatalog),
    /// `DROP`.
    Drop(Drop),
    /// `ALTER TABLE`.
    AlterTable(AlterTable),
    /// `ALTER VIEW`.
    AlterView(AlterView),
    /// `ALTER DATABASE ... SET`.
    AlterDatabase(Name, BTreeMap<String, String>),
    /// `ALTER CATALOG`.
    AlterCatalog(Name, AlterCatalogAction),
    /// `USE CATALOG`.
    UseCatalog(Name),
    /// `USE`.
    UseDatabase(Name),
    /// `SET 'key' = 'value'`; without either, lists the options.
    Set(Option<Setting>),
    /// `RESET 'key'`; without, all.
    Reset(Option<(String, Position)>),
    /// `SHOW`.
    Show(Show),
    /// `DESCRIBE`.
    Describe(Name),
    /// `DESCRIBE CATALOG`, `DESCRIBE DATABASE`.
    DescribeContainer {
        /// `CATALOG` or `DATABASE`.
        kind: ContainerKind,
        /// Which.
        name: Name,
        /// Whether options are shown too.
        extended: bool,
    },
    /// `DESCRIBE FUNCTION`.
    DescribeFunction {
        /// Which.
        name: Name,
        /// Whether its use is shown too.
        extended: bool,
    },
    /// `EXPLAIN`.
    Explain(Explain),
    /// `HELP`.
    Help,
    /// `CLEAR`.
    Clear,
    /// `QUIT`, `EXIT`.
    Quit,
}

/// A query with its hints.
#[derive(Debug)]
pub struct Query {
    /// The query.
    pub ast: Box<ast::Query>,
    /// Its hints.
    pub hints: Hints,
}

/// `INSERT`.
#[derive(Debug)]
pub struct Insert {
    /// The table.
    pub target: Name,
    /// Whether what is there is replaced.
    pub overwrite: bool,
    /// Options for this use of the table.
    pub hint: BTreeMap<String, String>,
    /// `PARTITION (k = v)`: values as text, `None` is NULL; with the place of the name.
    pub partition: Vec<PartitionValue>,
    /// The columns that the query gives, in its order; none means all that are not in `partition`.
    pub columns: Option<Vec<Name>>,
    /// The rows.
    pub query: Query,
}

/// One `k = v` of a `PARTITION` clause; without a value the column comes from the query.
#[derive(Debug)]
pub struct PartitionValue {
    /// The partition column.
    pub column: Name,
    /// Its value.
    pub value: Option<ast::Expr>,
}

/// `CREATE TABLE`.
#[derive(Debug)]
pub struct CreateTable {
    /// The table's name.
    pub name: Name,
    /// What is declared.
    pub table: Table,
    /// Where each declared column stands, in the order of the columns.
    pub places: Vec<Position>,
    /// Whether it lives as long as the session.
    pub temporary: bool,
    /// Whether it may be there already.
    pub if_not_exists: bool,
    /// Whether one that is there is replaced.
    pub replace: bool,
    /// The table that it is like.
    pub like: Option<(Name, Vec<LikeOption>)>,
    /// For CTAS: names of columns, which order those of the query.
    pub column_names: Vec<Name>,
    /// For CTAS: what it is filled with.
    pub query: Option<Query>,
}

/// `CREATE VIEW`.
#[derive(Debug)]
pub struct CreateView {
    /// The view's name.
    pub name: Name,
    /// Names for its columns; empty takes the query's.
    pub columns: Vec<Name>,
    /// Whether it lives as long as the session.
    pub temporary: bool,
    /// Whether it may be there already.
    pub if_not_exists: bool,
    /// What it is for.
    pub comment: Option<String>,
    /// The query's text.
    pub text: String,
    /// The query.
    pub query: Query,
}

/// `CREATE DATABASE`.
#[derive(Debug)]
pub struct CreateDatabase {
    /// The database's name.
    pub name: Name,
    /// Whether it may be there already.
    pub if_not_exists: bool,
    /// What it is for.
    pub comment: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// `CREATE CATALOG`.
#[derive(Debug)]
pub struct CreateCatalog {
    /// The catalog's name.
    pub name: Name,
    /// Whether it may be there already.
    pub if_not_exists: bool,
    /// What it is for.
    pub comment: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// Things that hold others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerKind {
    /// A catalog.
    Catalog,
    /// A database.
    Database,
}

/// What `DROP` removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropKind {
    /// A table.
    Table,
    /// A view.
    View,
    /// A database.
    Database,
    /// A catalog.
    Catalog,
}

/// `DROP`.
#[derive(Debug)]
pub struct Drop {
    /// What.
    pub kind: DropKind,
    /// Its name.
    pub name: Name,
    /// Whether a temporary one is meant.
    pub temporary: bool,
    /// Whether it may be missing.
    pub if_exists: bool,
    /// Whether a database may still have tables.
    pub cascade: bool,
}

/// `ALTER TABLE`.
#[derive(Debug)]
pub struct AlterTable {
    /// The table.
    pub name: Name,
    /// Whether it may be missing.
    pub if_exists: bool,
    /// What changes.
    pub action: AlterTableAction,
}

/// What `ALTER TABLE` changes.
#[derive(Debug)]
pub enum AlterTableAction {
    /// `RENAME TO`.
    Rename(Name),
    /// `RENAME a TO b`.
    RenameColumn(Name, String),
    /// `SET ('k' = 'v')`.
    Set(BTreeMap<String, String>),
    /// `RESET ('k')`.
    Reset(Vec<String>),
    /// `ADD (...)`.
    Add(Vec<TablePart>),
    /// `MODIFY (...)`.
    Modify(Vec<TablePart>),
    /// `DROP a`, `DROP (a, b)`.
    DropColumns(Vec<Name>),
    /// `DROP PRIMARY KEY`, `DROP CONSTRAINT`.
    DropPrimaryKey,
    /// `DROP WATERMARK`.
    DropWatermark,
}

/// One thing of a table's declaration.
#[derive(Debug)]
pub enum TablePart {
    /// A column, and where it goes; with a primary key if it is declared on the column.
    Column {
        /// Its declaration.
        column: TableColumn,
        /// Where it stands in the text.
        position: Position,
        /// Where it goes in the table.
        place: ColumnPlace,
        /// Whether it is the primary key.
        primary_key: bool,
    },
    /// The primary key.
    PrimaryKey(PrimaryKey, Position),
    /// The watermark.
    Watermark(Watermark, Position),
}

/// `ALTER VIEW`.
#[derive(Debug)]
pub struct AlterView {
    /// The view.
    pub name: Name,
    /// What changes.
    pub action: AlterViewAction,
}

/// What `ALTER VIEW` changes.
#[derive(Debug)]
pub enum AlterViewAction {
    /// `RENAME TO`.
    Rename(Name),
    /// `AS query`.
    Query {
        /// The query's text.
        text: String,
        /// The query.
        query: Query,
    },
}

/// What `ALTER CATALOG` changes.
#[derive(Debug)]
pub enum AlterCatalogAction {
    /// `SET ('k' = 'v')`.
    Set(BTreeMap<String, String>),
    /// `RESET ('k')`.
    Reset(Vec<String>),
    /// `COMMENT 'text'`.
    Comment(String),
}

/// `SET 'key' = 'value'`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The option.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where the key stands.
    pub position: Position,
}

/// What `SHOW` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShowKind {
    /// Catalogs.
    Catalogs,
    /// Databases.
    Databases,
    /// Tables and views.
    Tables,
    /// Views.
    Views,
    /// Columns of a table.
    Columns,
    /// Functions; `user` leaves out the built-in ones.
    Functions {
        /// `SHOW USER FUNCTIONS`.
        user: bool,
    },
    /// Modules; `full` lists those that are not in use too.
    Modules {
        /// `SHOW FULL MODULES`.
        full: bool,
    },
    /// Jobs.
    Jobs,
    /// Jars.
    Jars,
    /// The current catalog.
    CurrentCatalog,
    /// The current database.
    CurrentDatabase,
    /// `SHOW CREATE TABLE`.
    CreateTable,
    /// `SHOW CREATE VIEW`.
    CreateView,
    /// `SHOW CREATE CATALOG`.
    CreateCatalog,
}

/// `SHOW`.
#[derive(Debug)]
pub struct Show {
    /// What.
    pub kind: ShowKind,
    /// `FROM | IN`, or the object of `SHOW CREATE`.
    pub scope: Option<Name>,
    /// `LIKE`.
    pub filter: Option<ShowFilter>,
}

/// `[NOT] LIKE | ILIKE 'pattern'`.
#[derive(Debug)]
pub struct ShowFilter {
    /// Keeps what does not match.
    pub negated: bool,
    /// Whether case does not matter.
    pub case_insensitive: bool,
    /// `%` is any text, `_` any character.
    pub pattern: String,
}

/// `EXPLAIN`.
#[derive(Debug)]
pub struct Explain {
    /// `ESTIMATED_COST`, `CHANGELOG_MODE`, `PLAN_ADVICE`, `JSON_EXECUTION_PLAN`.
    pub details: Vec<&'static str>,
    /// `UPGRADE 'checkpoint' FOR`: what becomes of a checkpoint's state, instead of the plan.
    pub upgrade: Option<String>,
    /// What is explained.
    pub command: Box<Command>,
}
