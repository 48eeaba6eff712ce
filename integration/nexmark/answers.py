#!/usr/bin/env python3
"""The answers of Nexmark's queries by DuckDB, which knows nothing of our SQL or our operators: one JSON object of rows and CRC-32 each.

    answers.py FOLDER > answers.json

FOLDER has `person.parquet`, `auction.parquet` and `bid.parquet` with the events that the tests make (`tests/nexmark.rs`). Only when
those change are the answers to be made again.
"""

import json
import sys
import zlib

import duckdb

RANKS = """count(*), count(*) FILTER (price < 10000), count(*) FILTER (price BETWEEN 10000 AND 999999),
    count(*) FILTER (price >= 1000000)"""
DISTINCT = ", ".join(
    f"count(DISTINCT CASE WHEN {rank} THEN {column} END)"
    for column in ["bidder", "auction"]
    for rank in ["true", "price < 10000", "price BETWEEN 10000 AND 999999", "price >= 1000000"]
)
EURO = "CAST(0.908 AS DECIMAL(3, 3)) * CAST(price AS DECIMAL(20, 0))"
DAY = "strftime(t, '%Y-%m-%d')"
BIG = "lower(channel) IN ('apple', 'google', 'facebook', 'baidu')"
# Ten seconds from the epoch on, as milliseconds.
TEN = "ms // 10000 * 10000"
HOP = """SELECT auction, start, count(*) AS num
    FROM (SELECT auction, ms // 2000 * 2000 - 2000 * k AS start FROM bid, range(5) AS hops(k)) GROUP BY ALL"""
WON = """SELECT a.*, b.auction, b.bidder, b.price, b.t AS bid_t, b.extra AS bid_extra,
        row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.t) AS place
    FROM auction a JOIN bid b ON a.id = b.auction AND b.t >= a.t AND b.t <= a.expires"""

QUERIES = {
    0: "SELECT auction, bidder, price, t, extra FROM bid",
    1: f"SELECT auction, bidder, {EURO}, t, extra FROM bid",
    2: "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    3: """SELECT name, city, state, auction.id FROM person, auction
        WHERE seller = person.id AND category = 10 AND (state = 'OR' OR state = 'ID' OR state = 'CA')""",
    4: """SELECT category, sum(final) // count(*) FROM (
        SELECT id, category, max(price) AS final FROM auction a JOIN bid b ON id = b.auction AND b.t BETWEEN a.t AND expires
        GROUP BY ALL) GROUP BY category""",
    5: f"SELECT auction, num FROM ({HOP}) QUALIFY num = max(num) OVER (PARTITION BY start)",
    6: f"""SELECT seller, sum(price) OVER last // count(*) OVER last FROM ({WON}) WHERE place = 1
        WINDOW last AS (PARTITION BY seller ORDER BY bid_t ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)""",
    7: f"""WITH best AS (SELECT max(price) AS best, {TEN} AS start FROM bid GROUP BY start)
        SELECT auction, price, bidder, t, extra FROM bid, best
        WHERE price = best AND ms >= start AND ms <= start + 10000""",
    8: f"""SELECT DISTINCT p.id, name, epoch_ms(p.ms // 10000 * 10000) FROM person p, auction a
        WHERE p.id = seller AND p.ms // 10000 = a.ms // 10000""",
    9: f"SELECT * EXCLUDE (place, ms) FROM ({WON}) WHERE place = 1",
    10: f"SELECT auction, bidder, price, t, extra, {DAY}, strftime(t, '%H:%M') FROM bid",
    11: """SELECT bidder, count(*), min(t), max(t) + INTERVAL 10 SECOND FROM (
        SELECT *, sum(begins) OVER (PARTITION BY bidder ORDER BY ms) AS session FROM (
        SELECT *, CASE WHEN ms - lag(ms) OVER (PARTITION BY bidder ORDER BY ms) <= 10000 THEN 0 ELSE 1 END AS begins FROM bid))
        GROUP BY bidder, session""",
    13: """SELECT auction, bidder, price, t, value FROM bid
        JOIN (SELECT range AS key, 'value ' || range AS value FROM range(10000)) ON auction % 10000 = key""",
    14: f"""SELECT auction, bidder, {EURO},
        CASE WHEN hour(t) BETWEEN 8 AND 18 THEN 'dayTime' WHEN hour(t) IN (7, 19) THEN 'otherTime' ELSE 'nightTime' END,
        t, extra, length(extra) - length(replace(extra, 'c', '')) FROM bid WHERE {EURO} > 1000000 AND {EURO} < 50000000""",
    15: f"SELECT {DAY} AS d, {RANKS}, {DISTINCT} FROM bid GROUP BY d",
    16: f"SELECT channel, {DAY} AS d, max(strftime(t, '%H:%M')), {RANKS}, {DISTINCT} FROM bid GROUP BY channel, d",
    17: f"""SELECT auction, {DAY} AS d, {RANKS}, min(price), max(price), sum(price) // count(*), sum(price)
        FROM bid GROUP BY auction, d""",
    18: """SELECT auction, bidder, price, channel, url, t, extra FROM bid
        QUALIFY t = max(t) OVER (PARTITION BY bidder, auction)""",
    19: """SELECT auction, bidder, price, channel, url, t, extra, row_number() OVER (PARTITION BY auction ORDER BY price DESC) AS place
        FROM bid QUALIFY place <= 10""",
    20: """SELECT auction, bidder, price, channel, url, b.t, b.extra, itemName, description, initialBid, reserve, a.t, expires, seller,
        category, a.extra FROM bid b JOIN auction a ON auction = id WHERE category = 10""",
    21: f"""SELECT auction, bidder, price, channel, CASE WHEN {BIG}
            THEN CAST(list_position(['apple', 'google', 'facebook', 'baidu'], lower(channel)) - 1 AS VARCHAR)
            ELSE split_part(url, 'channel_id=', 2) END
        FROM bid WHERE {BIG} OR contains(url, '&channel_id=')""",
    22: """SELECT auction, bidder, price, channel, split_part(url, '/', 4), split_part(url, '/', 5), split_part(url, '/', 6)
        FROM bid""",
    23: """SELECT bidder, price, channel, url, b.extra, p.id, name, emailAddress, creditCard, city, state, p.extra, itemName, description,
        initialBid, reserve, a.t, expires, seller, category, a.extra
        FROM bid b JOIN person p ON p.id = bidder JOIN auction a ON seller = p.id""",
}


def cell(value):
    if value is None:
        return "NULL"
    if hasattr(value, "microsecond"):
        return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03}"
    return str(value)


def main():
    folder = sys.argv[1]
    database = duckdb.connect()
    for table in ["person", "auction", "bid"]:
        database.execute(
            f"""CREATE TABLE {table} AS SELECT * RENAME (dateTime AS t), epoch_ms(dateTime) AS ms
            FROM '{folder}/{table}.parquet'"""
        )
    answers = {}
    for query, sql in QUERIES.items():
        rows = sorted("|".join(cell(value) for value in row) for row in database.sql(sql).fetchall())
        answers[f"q{query}"] = {"rows": len(rows), "crc32": zlib.crc32("".join(row + "\n" for row in rows).encode())}
    print(json.dumps(answers, indent=2))


main()
