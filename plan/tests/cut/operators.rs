//! Each operator whose rows change partitions: cut, it must neither lose nor double a row.

use crate::fixture::Tables;

const QUERIES: &[&str] = &[
    // Sorts and limits. Ties would make a limited answer ambiguous, so keys are unique.
    "SELECT o_orderkey FROM orders ORDER BY o_orderkey",
    "SELECT o_orderkey, o_totalprice FROM orders ORDER BY o_totalprice DESC, o_orderkey LIMIT 7",
    "SELECT o_orderkey FROM orders ORDER BY o_orderkey LIMIT 5 OFFSET 12",
    "SELECT count(*) FROM (SELECT * FROM lineitem LIMIT 1000)",
    "SELECT count(*) FROM (SELECT * FROM lineitem LIMIT 100000000)",
    // Windows, with and without a key.
    "SELECT o_custkey, o_orderkey, row_number() OVER (PARTITION BY o_custkey ORDER BY o_orderkey) FROM orders",
    "SELECT o_orderkey, sum(o_totalprice) OVER (ORDER BY o_orderkey) FROM orders",
    "SELECT count(*) FROM (SELECT rank() OVER (PARTITION BY c_nationkey ORDER BY c_acctbal DESC) AS r FROM customer) WHERE r <= 3",
    // Aggregates.
    "SELECT count(*), sum(l_quantity), min(l_shipdate), max(l_comment) FROM lineitem",
    "SELECT count(*) FROM lineitem WHERE l_orderkey < 0",
    "SELECT l_returnflag, l_linestatus, count(*) FROM lineitem GROUP BY GROUPING SETS ((l_returnflag), (l_linestatus), ())",
    "SELECT c_nationkey, c_mktsegment, count(*) FROM customer GROUP BY ROLLUP (c_nationkey, c_mktsegment)",
    "SELECT count(DISTINCT l_suppkey), count(DISTINCT l_partkey) FROM lineitem",
    "SELECT l_returnflag, count(DISTINCT l_suppkey) FROM lineitem GROUP BY l_returnflag",
    "SELECT DISTINCT l_shipmode FROM lineitem",
    "SELECT avg(l_discount), stddev(l_linenumber) > 0 FROM lineitem",
    // Set operations.
    "SELECT n_name FROM nation UNION ALL SELECT r_name FROM region",
    "SELECT count(*), sum(k) FROM (SELECT o_orderkey AS k FROM orders UNION ALL SELECT l_orderkey FROM lineitem UNION ALL SELECT max(c_custkey) FROM customer)",
    "SELECT o_custkey FROM orders UNION SELECT c_custkey FROM customer",
    "SELECT c_custkey FROM customer INTERSECT SELECT o_custkey FROM orders",
    "SELECT c_custkey FROM customer EXCEPT SELECT o_custkey FROM orders",
    "SELECT k, count(*) FROM (SELECT c_nationkey AS k FROM customer UNION ALL SELECT s_nationkey FROM supplier) GROUP BY k",
    "SELECT k FROM (SELECT o_orderkey AS k FROM orders UNION ALL SELECT c_custkey + 1000000 FROM customer) ORDER BY k LIMIT 20",
    // Joins of every type, large and small on either side.
    "SELECT count(*) FROM orders JOIN lineitem ON o_orderkey = l_orderkey",
    "SELECT count(*), count(o_orderkey), count(c_custkey) FROM customer LEFT JOIN orders ON c_custkey = o_custkey",
    "SELECT count(*), count(o_orderkey), count(c_custkey) FROM orders RIGHT JOIN customer ON c_custkey = o_custkey",
    "SELECT count(*), count(n_name), count(l_orderkey) FROM nation FULL JOIN lineitem ON n_nationkey = l_suppkey",
    "SELECT count(*), count(n_name), count(l_orderkey) FROM nation LEFT JOIN lineitem ON n_nationkey + 20 = l_suppkey",
    "SELECT n_name FROM nation WHERE EXISTS (SELECT 1 FROM lineitem WHERE l_suppkey = n_nationkey)",
    "SELECT n_name FROM nation WHERE NOT EXISTS (SELECT 1 FROM lineitem WHERE l_suppkey = n_nationkey)",
    "SELECT n_name FROM nation WHERE n_nationkey NOT IN (SELECT l_suppkey FROM lineitem)",
    "SELECT n_name FROM nation WHERE n_nationkey NOT IN (SELECT CASE WHEN l_suppkey > 3 THEN l_suppkey END FROM lineitem)",
    "SELECT n_name FROM nation WHERE n_nationkey IN (SELECT l_suppkey FROM lineitem) OR n_regionkey = 1",
    "SELECT count(*) FROM nation, customer",
    "SELECT count(*), count(l_orderkey) FROM nation LEFT JOIN lineitem ON n_nationkey > l_suppkey + 10",
    "SELECT count(*), count(n_name) FROM lineitem LEFT JOIN nation ON n_nationkey > l_suppkey + 10",
    "SELECT count(*) FROM supplier FULL JOIN customer ON s_acctbal > c_acctbal + 9000",
    "SELECT count(*) FROM customer WHERE c_acctbal > (SELECT avg(c_acctbal) FROM customer)",
    "SELECT count(*) FROM orders o WHERE o_totalprice > (SELECT avg(o_totalprice) FROM orders i WHERE i.o_custkey = o.o_custkey)",
    // Without tables.
    "SELECT 1",
    "VALUES (1, 'a'), (2, NULL)",
    "SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS t(k, v) JOIN nation ON n_nationkey = k",
    "SELECT * FROM nation WHERE false",
    "SELECT count(*), max(n_name) FROM nation WHERE 1 = 0",
];

#[tokio::test]
async fn operators_answer_alike_cut_and_whole() {
    let tables = Tables::generate();
    for sql in QUERIES {
        tables.check(sql).await;
    }
}
