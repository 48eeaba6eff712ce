//! Queries: names, types, computed columns, hints, `EXPLAIN`.

use super::*;

const BIDS: &str = "
    CREATE TABLE bid (auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, `dateTime` TIMESTAMP(3), extra STRING,
        item ROW<id INT, tags ARRAY<STRING>>, tags ARRAY<STRING>) WITH ('connector' = 'filesystem', 'path' = '/bid');
    CREATE TABLE auction (id BIGINT, itemName STRING, seller BIGINT, category BIGINT, expires TIMESTAMP(3))
        WITH ('connector.type' = 'filesystem', 'connector.path' = '/auction', 'format.type' = 'csv');
    CREATE TABLE person (id BIGINT, name STRING, city STRING, state STRING, half AS id / 2) WITH ('connector' = 'print')";

async fn columns(session: &mut Session, query: &str) -> Vec<String> {
    let described = |column: Column| format!("{} {}", column.name, column.data_type);
    let graph = job(session, query).await;
    graph.result_columns.unwrap().into_iter().map(described).collect()
}

#[tokio::test]
async fn queries_have_flinks_types() {
    let mut session = after(BIDS).await;
    for (query, expected) in [
        (
            "SELECT auction, `dateTime` AS t, item FROM bid",
            "auction BIGINT, t TIMESTAMP(3), item ROW<`id` INT, `tags` ARRAY<STRING>>",
        ),
        (
            "SELECT CAST('1' AS DECIMAL) AS d, CAST(`dateTime` AS TIMESTAMP_LTZ(3)) AS z FROM bid LIMIT 1",
            "d DECIMAL(10, 0), z TIMESTAMP_LTZ(3)",
        ),
        ("SELECT COUNT(*) AS c, ROW_NUMBER() OVER (ORDER BY COUNT(*)) AS r FROM bid", "c BIGINT, r BIGINT"),
        ("SELECT p.half FROM person AS p", "half BIGINT"),
        ("SELECT 'a' AS s, TRUE AS b, 1.50 AS d", "s STRING, b BOOLEAN, d DECIMAL(3, 2)"),
        ("SELECT b.item.id FROM bid AS b", "id INT"),
        ("SELECT * FROM (VALUES (1, 'x')) AS v (a, b) FETCH FIRST ROW ONLY", "a INT, b STRING"),
    ] {
        assert_eq!(columns(&mut session, query).await.join(", "), expected, "{query}");
    }
}

#[tokio::test]
async fn queries_in_the_shapes_of_nexmark_are_planned() {
    let mut session = after(BIDS).await;
    for query in [
        "SELECT auction, bidder, 0.908 * price AS price, `dateTime`, extra FROM bid",
        "SELECT auction, price FROM bid WHERE auction % 123 = 0",
        "SELECT P.name, P.city, P.state, A.id FROM auction AS A INNER JOIN person AS P ON A.seller = P.id WHERE A.category = 10 AND (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA')",
        "SELECT Q.category, AVG(Q.final) FROM (SELECT MAX(B.price) AS final, A.category FROM auction A, bid B WHERE A.id = B.auction AND B.`dateTime` BETWEEN A.expires AND A.expires GROUP BY A.id, A.category) Q GROUP BY Q.category",
        "SELECT auction, bidder, price FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY `dateTime` DESC) AS rank_number FROM bid) WHERE rank_number <= 1",
        "SELECT channel, COUNT(*) AS total, COUNT(*) FILTER (WHERE price < 10000) AS r1, COUNT(DISTINCT bidder) AS b FROM bid GROUP BY channel",
        "SELECT auction, CASE WHEN price > 100 THEN 'high' ELSE 'low' END AS level, LOWER(channel) FROM bid WHERE channel IN ('apple', 'google')",
        "WITH top AS (SELECT auction, COUNT(*) AS num FROM bid GROUP BY auction) SELECT t.auction, t.num FROM top AS t WHERE t.num >= (SELECT MAX(num) FROM top)",
        "SELECT a.id, a.itemName, COUNT(b.auction) FROM bid b JOIN auction a ON a.id = b.auction GROUP BY a.id, a.itemName HAVING COUNT(b.auction) >= (SELECT COUNT(*) / COUNT(DISTINCT auction) FROM bid)",
        "SELECT bidder, SUM(price) OVER (PARTITION BY bidder ORDER BY `dateTime` ROWS BETWEEN 9 PRECEDING AND CURRENT ROW) FROM bid",
        "SELECT * FROM bid WHERE EXISTS (SELECT 1 FROM auction WHERE id = auction) UNION ALL SELECT * FROM bid ORDER BY price DESC LIMIT 10",
        "SELECT city, state, COUNT(*) FROM person GROUP BY GROUPING SETS ((city), (state), ())",
    ] {
        run(&mut session, query).await.unwrap_or_else(|error| panic!("{query}\n  {error}"));
    }
}

#[tokio::test]
async fn a_with_clause_hides_a_table() {
    let mut session = after(BIDS).await;
    assert_eq!(
        columns(&mut session, "WITH bid AS (SELECT auction AS x FROM bid) SELECT * FROM bid").await,
        ["x BIGINT"]
    );
    assert_eq!(
        columns(&mut session, "WITH nowhere AS (SELECT 'a' AS y) SELECT * FROM nowhere").await,
        ["y STRING"]
    );
}

#[tokio::test]
async fn a_hint_holds_for_its_own_mention_of_a_table() {
    let mut session = after(BIDS).await;
    let query = "SELECT bid.price, o.price FROM bid /*+ OPTIONS('path' = '/other') */ JOIN bid AS o ON bid.auction = o.auction";
    assert_eq!(columns(&mut session, query).await.len(), 2);
    let error = refused(&mut session, "SELECT * FROM bid /*+ OPTIONS('pat' = '/other') */").await;
    assert_eq!(error.message, "option `pat` is not known: did you mean `path`?");
}

#[tokio::test]
async fn explain_shows_every_step() {
    let mut session = after(BIDS).await;
    let script = "EXPLAIN JSON_EXECUTION_PLAN INSERT INTO person SELECT bidder, channel, 'x', extra FROM bid WHERE price > 1";
    let explained = text(&mut session, script).await;
    for part in [
        "== Abstract Syntax Tree ==\nSink: default_catalog.default_database.person\n  Projection:",
        "== Optimized Logical Plan ==",
        "== Job Graph ==\nVertex 0 (parallelism 1)",
        "== Physical Execution Plan ==\n{",
    ] {
        assert!(explained.contains(part), "{part} is missing in\n{explained}");
    }
}

#[tokio::test]
async fn what_a_stream_cannot_do_yet_is_refused_by_name() {
    for (query, what) in [
        (
            "SELECT x FROM (VALUES (1)) AS a (x) WHERE x = 2 OR x IN (SELECT y FROM (VALUES (1)) AS b (y))",
            "`IN` or `EXISTS` as a part of an expression",
        ),
        (
            "SELECT ARRAY_AGG(n) FROM (SELECT x, COUNT(*) AS n FROM (VALUES (1)) AS a (x) GROUP BY x)",
            "`ARRAY_AGG` over rows that change (of an aggregation, an outer join or a top N)",
        ),
    ] {
        let mut session = session();
        let error =
            refused(&mut session, &format!("SET 'execution.runtime-mode' = 'STREAMING'; {query}")).await;
        assert_eq!(error.code, SqlErrorCode::Unsupported, "{query}: {error}");
        assert!(error.message.contains(&format!("{what} in streaming mode is not supported yet")), "{error}");
    }
}

/// The rows of a query, run where it is planned.
async fn rows(session: &Session, query: &str) -> String {
    let Command::Query(query) = sql::parse(sql::Source::new(query)).unwrap() else { panic!("not a query") };
    let state = session.state();
    let plan = session.binder(&state, RuntimeMode::Batch).query(&query).await.unwrap();
    let plan = state.create_physical_plan(&plan).await.unwrap();
    let batches = datafusion::physical_plan::collect(plan, state.task_ctx()).await.unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

#[tokio::test]
async fn unnest_repeats_a_row_for_every_item() {
    let session = after(BIDS).await;
    let items = "(VALUES (1, ARRAY['a', 'b']), (2, ARRAY['c'])) AS t (id, items)";
    let query =
        format!("SELECT t.id, u.item FROM {items} CROSS JOIN UNNEST(t.items) AS u (item) ORDER BY 1, 2");
    insta::assert_snapshot!("unnest", rows(&session, &query).await);
    let query = "SELECT auction, tag FROM bid CROSS JOIN UNNEST(bid.tags) AS u (tag) WHERE tag LIKE 'a%'";
    assert!(!rows(&session, query).await.contains("| a"));
}

#[tokio::test]
async fn null_sorts_as_the_smallest_value() {
    let session = session();
    let query = "SELECT x FROM (VALUES (1), (CAST(NULL AS INT)), (2)) AS t (x) ORDER BY x";
    insta::assert_snapshot!("null_first", rows(&session, query).await);
}

#[tokio::test]
async fn columns_without_a_name_get_flinks() {
    let session = session();
    let query = "SELECT x + 1, COUNT(*), x, x, 'a' AS s FROM (VALUES (1)) AS t (x) GROUP BY x";
    insta::assert_snapshot!("names", rows(&session, query).await);
}
