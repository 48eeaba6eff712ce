//! Compressed text files: what others wrote is read, what is written is read again.

use crate::{
    harness::{fixture, job},
    write::batch,
};

/// Written by `SnappyCodec` and `DefaultCodec` of Hadoop 3.4.2 from the 40,000 lines of [`line`].
const BY_HADOOP: [(&str, &[u8]); 2] = [
    ("f.csv.snappy", include_bytes!("../data/hadoop.csv.snappy")),
    ("f.csv.deflate", include_bytes!("../data/hadoop.csv.deflate")),
];

fn line(n: usize) -> String {
    format!("{},{}\n", n % 1000 / 100, &"abcdefgh"[..n % 7 + 1])
}

#[tokio::test]
async fn files_of_hadoops_codecs_are_read() {
    let sums = "SELECT count(*) AS n, sum(a) AS s, count(DISTINCT b) AS d, sum(length(b)) AS l FROM t";
    let plain = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
    plain.file("f.csv", (0..40_000).map(line).collect::<String>());
    let expected = plain.query(sums).await.unwrap();
    assert!(expected[0].starts_with("40000|180000|7|"), "{expected:?}");
    for (name, bytes) in BY_HADOOP {
        let t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
        t.file(name, bytes);
        assert_eq!(t.query(sums).await.unwrap(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_file_that_ends_early_or_holds_something_else_is_named() {
    for (name, bytes) in BY_HADOOP {
        let t = fixture(&["a INT", "b STRING"], &[], &[("format", "csv")]);
        t.file(name, &bytes[..bytes.len() / 2]);
        let error = t.query("SELECT a FROM t").await.unwrap_err();
        assert!(error.contains(name) && error.contains("ends in the middle"), "{error}");
        t.file(name, "1,x\n2,y\n3,z\n4,plain text\n");
        let error = t.query("SELECT a FROM t").await.unwrap_err();
        assert!(error.contains(name) && error.contains("not a valid compressed file"), "{error}");
    }
}

#[tokio::test]
async fn what_is_written_compressed_is_read_again() {
    for format in ["csv", "json"] {
        for (compression, ending) in [
            ("none", ""),
            ("gzip", ".gz"),
            ("bzip2", ".bz2"),
            ("zstd", ".zst"),
            ("xz", ".xz"),
            ("deflate", ".deflate"),
            ("snappy", ".snappy"),
        ] {
            let option = format!("{format}.compression");
            let t = fixture(&["a INT", "b STRING"], &[], &[("format", format), (&option, compression)]);
            let text = "text".repeat(20_000);
            let rows = [(1, Some(text.as_str())), (2, Some("x")), (3, Some(text.as_str()))];
            t.insert(&t.sink(), job(1), &[batch(&rows), batch(&rows[1..])]).await;
            let files = t.files();
            assert!(
                matches!(&files[..], [only] if only.ends_with(&format!(".{format}{ending}"))),
                "{files:?}"
            );
            let written = std::fs::metadata(t.path().join(&files[0])).unwrap().len();
            assert_eq!(written < 100_000, compression != "none", "{compression}: {written} bytes");
            let read = t.query("SELECT a, length(b) AS l FROM t ORDER BY a").await.unwrap();
            assert_eq!(read, ["1|80000", "2|1", "2|1", "3|80000", "3|80000"], "{format} {compression}");
        }
    }
}

#[tokio::test]
async fn another_compression_is_refused() {
    let t = fixture(&["a INT"], &[], &[("format", "csv"), ("csv.compression", "lzo")]);
    let error = t.query("SELECT a FROM t").await.unwrap_err();
    assert!(error.contains("`csv.compression` cannot be `lzo`: expected one of `none`"), "{error}");
}
