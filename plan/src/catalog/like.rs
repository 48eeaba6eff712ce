//! `CREATE TABLE ... LIKE`: merging a source table into a declaration, feature by feature.

use thalweg_graph::{SqlError, sql_error::SqlErrorCode};

use super::{ColumnKind, Table, TableColumn};

/// What of a table can be taken over or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeFeature {
    /// Everything below.
    All,
    /// The primary key.
    Constraints,
    /// The distribution.
    Distribution,
    /// Computed columns.
    Generated,
    /// Metadata columns.
    Metadata,
    /// `WITH` options.
    Options,
    /// The partition keys.
    Partitions,
    /// The watermark.
    Watermarks,
}

/// What happens to a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LikeStrategy {
    /// Taken over; the same thing in both is an error.
    Including,
    /// Left out.
    Excluding,
    /// Taken over; the declaration wins.
    Overwriting,
}

/// One merging option: `INCLUDING CONSTRAINTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LikeOption {
    /// What happens.
    pub strategy: LikeStrategy,
    /// To what.
    pub feature: LikeFeature,
}

/// What holds for a feature: its own option, else that of `ALL`, else Flink's default `INCLUDING ALL OVERWRITING OPTIONS`.
fn strategy(options: &[LikeOption], feature: LikeFeature) -> LikeStrategy {
    let said =
        |feature| options.iter().rev().find(|option| option.feature == feature).map(|option| option.strategy);
    let default = match feature {
        LikeFeature::Options => LikeStrategy::Overwriting,
        _ => LikeStrategy::Including,
    };
    said(feature).or_else(|| said(LikeFeature::All)).unwrap_or(default)
}

/// Merges `source` into `declared`: the source's columns come first.
pub fn merge_like(declared: Table, source: &Table, options: &[LikeOption]) -> Result<Table, SqlError> {
    let how = |feature| strategy(options, feature);
    Ok(Table {
        columns: merge_columns(declared.columns, &source.columns, options)?,
        watermark: merge_one(
            how(LikeFeature::Watermarks),
            declared.watermark,
            &source.watermark,
            "watermark",
        )?,
        primary_key: merge_one(
            how(LikeFeature::Constraints),
            declared.primary_key,
            &source.primary_key,
            "primary key",
        )?,
        distribution: merge_one(
            how(LikeFeature::Distribution),
            declared.distribution,
            &source.distribution,
            "distribution",
        )?,
        partition_keys: merge_one(
            how(LikeFeature::Partitions),
            Some(declared.partition_keys).filter(|keys| !keys.is_empty()),
            &Some(source.partition_keys.clone()).filter(|keys| !keys.is_empty()),
            "partitioning",
        )?
        .unwrap_or_default(),
        options: merge_options(how(LikeFeature::Options), declared.options, &source.options)?,
        comment: declared.comment.or_else(|| source.comment.clone()),
    })
}

fn merge_one<T: Clone>(
    how: LikeStrategy,
    declared: Option<T>,
    source: &Option<T>,
    what: &str,
) -> Result<Option<T>, SqlError> {
    match (how, declared, source) {
        (LikeStrategy::Including, Some(_), Some(_)) => Err(in_both(&format!("a {what}"))),
        (LikeStrategy::Excluding, declared, _) => Ok(declared),
        (_, declared, source) => Ok(declared.or_else(|| source.clone())),
    }
}

type TableOptions = std::collections::BTreeMap<String, String>;

fn merge_options(
    how: LikeStrategy,
    declared: TableOptions,
    source: &TableOptions,
) -> Result<TableOptions, SqlError> {
    if how == LikeStrategy::Excluding {
        return Ok(declared);
    }
    if let Some(key) = declared.keys().find(|key| how == LikeStrategy::Including && source.contains_key(*key))
    {
        return Err(in_both(&format!("the option `{key}`")));
    }
    let mut merged = source.clone();
    merged.extend(declared);
    Ok(merged)
}

fn merge_columns(
    declared: Vec<TableColumn>,
    source: &[TableColumn],
    options: &[LikeOption],
) -> Result<Vec<TableColumn>, SqlError> {
    let mut declared = declared;
    let mut merged = Vec::with_capacity(source.len() + declared.len());
    for column in source {
        let feature = match column.kind {
            ColumnKind::Physical { .. } => None,
            ColumnKind::Computed { .. } => Some(LikeFeature::Generated),
            ColumnKind::Metadata { .. } => Some(LikeFeature::Metadata),
        };
        let how = feature.map_or(LikeStrategy::Including, |feature| strategy(options, feature));
        let own = declared.iter().position(|own| own.name == column.name);
        match (how, own) {
            (LikeStrategy::Excluding, _) => {}
            (_, None) => merged.push(column.clone()),
            (LikeStrategy::Overwriting, Some(own)) => merged.push(declared.remove(own)),
            (LikeStrategy::Including, Some(_)) => {
                return Err(in_both(&format!("the column `{}`", column.name)));
            }
        }
    }
    merged.extend(declared);
    Ok(merged)
}

fn in_both(what: &str) -> SqlError {
    let message = format!(
        "{what} is declared here and in the table after LIKE: leave one out, or say EXCLUDING or OVERWRITING"
    );
    SqlError::new(SqlErrorCode::AlreadyExists, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{PrimaryKey, Watermark},
        sql_type::SqlType,
    };

    fn column(name: &str, kind: ColumnKind) -> TableColumn {
        TableColumn { name: name.to_owned(), kind, comment: None }
    }

    fn source() -> Table {
        Table {
            columns: vec![
                column("id", ColumnKind::Physical { sql_type: SqlType::BigInt, nullable: true }),
                column("twice", ColumnKind::Computed { expression: "id * 2".to_owned() }),
            ],
            watermark: Some(Watermark { column: "ts".to_owned(), expression: "ts".to_owned() }),
            primary_key: Some(PrimaryKey { name: None, columns: vec!["id".to_owned()] }),
            options: [("connector", "filesystem"), ("path", "/a")].map(|(k, v)| (k.into(), v.into())).into(),
            ..Table::default()
        }
    }

    fn declared() -> Table {
        Table { options: [("path".to_owned(), "/b".to_owned())].into(), ..Table::default() }
    }

    const fn option(strategy: LikeStrategy, feature: LikeFeature) -> LikeOption {
        LikeOption { strategy, feature }
    }

    #[test]
    fn the_default_takes_everything_and_lets_own_options_win() {
        let merged = merge_like(declared(), &source(), &[]).unwrap();
        assert_eq!(merged.columns, source().columns);
        assert_eq!(merged.options["path"], "/b");
        assert_eq!(merged.options["connector"], "filesystem");
        assert_eq!(merged.watermark, source().watermark);
    }

    #[test]
    fn excluding_all_leaves_physical_columns() {
        let options = [
            option(LikeStrategy::Excluding, LikeFeature::All),
            option(LikeStrategy::Including, LikeFeature::Constraints),
        ];
        let merged = merge_like(declared(), &source(), &options).unwrap();
        assert_eq!(merged.columns.len(), 1);
        assert_eq!(merged.options, declared().options);
        assert_eq!(merged.watermark, None);
        assert_eq!(merged.primary_key, source().primary_key);
    }

    #[test]
    fn the_same_thing_in_both_is_refused_unless_overwritten() {
        let twice = || Table {
            columns: vec![column("twice", ColumnKind::Computed { expression: "id + id".to_owned() })],
            ..declared()
        };
        let error = merge_like(twice(), &source(), &[]).unwrap_err();
        assert!(error.message.contains("the column `twice`"), "{error}");
        let overwriting = [option(LikeStrategy::Overwriting, LikeFeature::Generated)];
        let merged = merge_like(twice(), &source(), &overwriting).unwrap();
        assert_eq!(merged.columns[1].kind, twice().columns[0].kind);
        let including = [option(LikeStrategy::Including, LikeFeature::Options)];
        assert!(merge_like(declared(), &source(), &including).is_err());
    }
}
