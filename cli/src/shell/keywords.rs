//! The keywords that the shell colours and completes.

/// Flink SQL's keywords that batch and stream jobs use, in order.
pub const KEYWORDS: &[&str] = &[
    "ADD", "ALL", "ALTER", "AND", "ANY", "ARRAY", "AS", "ASC", "BEGIN", "BETWEEN", "BIGINT", "BINARY", "BOOLEAN", "BY",
    "BYTES", "CASCADE", "CASE", "CAST", "CATALOG", "CATALOGS", "CHAR", "CLEAR", "COLUMNS", "COMMENT", "CONSTRAINT",
    "CREATE", "CROSS", "CUBE", "CURRENT", "DATABASE", "DATABASES", "DATE", "DECIMAL", "DEFAULT", "DELETE", "DESC",
    "DESCRIBE", "DESCRIPTOR", "DISTINCT", "DISTRIBUTED", "DOUBLE", "DROP", "ELSE", "END", "ENFORCED", "ESCAPE",
    "EXCEPT", "EXCLUDING", "EXECUTE", "EXISTS", "EXPLAIN", "EXTENDED", "FALSE", "FETCH", "FIRST", "FLOAT", "FOLLOWING",
    "FOR", "FROM", "FULL", "FUNCTION", "FUNCTIONS", "GENERATED", "GROUP", "GROUPING", "HAVING", "HELP", "HOP", "IF",
    "ILIKE", "IN", "INCLUDING", "INNER", "INSERT", "INT", "INTERSECT", "INTERVAL", "INTO", "IS", "JOB", "JOBS", "JOIN",
    "JSON", "KEY", "LAST", "LATERAL", "LEFT", "LIKE", "LIMIT", "MAP", "METADATA", "MODIFY", "MODULES", "NATURAL", "NOT",
    "NULL", "NULLS", "OFFSET", "ON", "ONLY", "OPTIONS", "OR", "ORDER", "OUTER", "OVER", "OVERWRITE", "OVERWRITING",
    "PARTITION", "PARTITIONED", "PARTITIONS", "PRECEDING", "PRIMARY", "QUALIFY", "QUIT", "RANGE", "RENAME", "REPLACE",
    "RESET", "RIGHT", "ROLLUP", "ROW", "ROWS", "SELECT", "SEMI", "SESSION", "SET", "SETS", "SHOW", "SIMILAR", "SMALLINT",
    "SOME", "STATEMENT", "STRING", "TABLE", "TABLES", "TEMPORARY", "THEN", "TIME", "TIMESTAMP", "TIMESTAMP_LTZ",
    "TINYINT", "TO", "TRUE", "TUMBLE", "UNBOUNDED", "UNION", "UNIQUE", "UNNEST", "USE", "USING", "VALUES", "VARBINARY",
    "VARCHAR", "VIEW", "VIEWS", "VIRTUAL", "WATERMARK", "WHEN", "WHERE", "WINDOW", "WITH",
];

/// Whether a word is a keyword, in any case.
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word.to_ascii_uppercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted_and_found_in_any_case() {
        assert!(KEYWORDS.is_sorted());
        assert!(is_keyword("select") && is_keyword("WITH") && !is_keyword("lineitem"));
    }
}
