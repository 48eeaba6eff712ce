"""Runs SQL queries over Parquet files with DuckDB and prints a JSON line for each, as `bench engine` does for the other engines.

usage: duckdb_tpch.py FOLDER THREADS NUMBER:SQL...
"""

import json
import pathlib
import resource
import sys
import time

import duckdb


def usage():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024


def main():
    folder, threads, *queries = sys.argv[1:]
    connection = duckdb.connect(config={"threads": threads})
    for file in sorted(pathlib.Path(folder).glob("*.parquet")):
        connection.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM read_parquet('{file}')")
    for query in queries:
        number, sql = query.split(":", 1)
        (cpu_before, _), start = usage(), time.perf_counter()
        connection.execute(sql).fetchall()
        wall, (cpu_after, peak) = time.perf_counter() - start, usage()
        cost = {"query": int(number), "wall_ms": wall * 1e3, "cpu_ms": (cpu_after - cpu_before) * 1e3, "peak_bytes": peak}
        print(json.dumps(cost), flush=True)


main()
