//! Where the rows of a stream go that come too late.

use super::*;
use crate::stream::StreamFragment;

const TABLES: &str = "CREATE TABLE bid (auction BIGINT, bidder STRING, ts TIMESTAMP(3), WATERMARK FOR ts AS ts) WITH ('connector' = 'x', 'path' = '/endless');
    CREATE TABLE counts (e TIMESTAMP(3), n BIGINT) WITH ('connector' = 'x', 'path' = '/counts');
    CREATE TABLE `late rows` (o STRING, t TIMESTAMP(3), w TIMESTAMP(3), c STRING) WITH ('connector' = 'x', 'path' = '/late');
    SET 'parallelism.default' = '2'; SET 'table.exec.late-rows.table' = 'default_database.`late rows`';";

const COUNT: &str = "INSERT INTO counts SELECT window_end, COUNT(*) \
    FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end";

#[tokio::test]
async fn every_vertex_that_leaves_rows_out_has_an_edge_for_them() {
    let set = format!(
        "EXECUTE STATEMENT SET BEGIN {COUNT}; INSERT INTO counts SELECT ts, SUM(auction) OVER (ORDER BY ts) FROM bid; END"
    );
    let graph = job(&mut after(TABLES).await, &set).await;
    let fragments: Vec<StreamFragment> =
        graph.vertices.iter().map(|vertex| StreamFragment::decode(&vertex.fragment.plan).unwrap()).collect();
    let late = graph.vertices.last().unwrap();
    assert!(late.name.ends_with("Sink: late rows"), "{}", late.name);
    let into: Vec<_> = graph.inputs(late.id).map(|edge| (edge.source, Some(edge.id))).collect();
    let from = graph.vertices.iter().zip(&fragments);
    let from = from.filter(|(_, fragment)| fragment.late.is_some());
    assert_eq!(from.map(|(vertex, fragment)| (vertex.id, fragment.late)).collect::<Vec<_>>(), into);
    let names: Vec<&str> =
        into.iter().map(|(source, _)| graph.vertices[source.index()].name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].contains("WindowAggregate") && names[1].contains("OverAggregate"), "{names:?}");
}

#[tokio::test]
async fn a_job_without_late_rows_does_not_write_the_table() {
    let mut session = after(TABLES).await;
    let graph = job(&mut session, "INSERT INTO counts SELECT ts, auction FROM bid").await;
    assert_eq!((graph.vertices.len(), graph.edges.len()), (1, 0));
    let batch = COUNT.replace("TABLE bid", "TABLE bounded");
    let table = "CREATE TABLE bounded (ts TIMESTAMP(3)) WITH ('connector' = 'x', 'path' = '/b')";
    let graph = job(&mut session, &format!("{table}; {batch}")).await;
    assert!(graph.vertices.iter().all(|vertex| !vertex.name.contains("late")), "a batch has none");
}

#[tokio::test]
async fn the_mistake_is_the_options() {
    let mut session = after(TABLES).await;
    let error = refused(&mut session, &format!("SET 'table.exec.late-rows.table' = 'lte'; {COUNT}")).await;
    assert_eq!(error.code, SqlErrorCode::UnknownTable);
    let named = "option `table.exec.late-rows.table` cannot be `lte`: table or view";
    assert!(error.message.starts_with(named), "{}", error.message);
}
