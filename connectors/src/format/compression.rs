//! How text files are compressed: by the end of their names when they are read, by an option when they are written.

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;

/// The values of `csv.compression` and `json.compression`.
pub const COMPRESSIONS: &[&str] =
    &["none", "uncompressed", "gzip", "bzip2", "zstd", "xz", "deflate", "snappy"];

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.bz2`
    Bzip2,
    /// `.zst`
    Zstd,
    /// `.xz`
    Xz,
    /// `.deflate`, as Hadoop has it: zlib's format.
    Deflate,
    /// `.snappy`, in Hadoop's blocks.
    Snappy,
}

impl Compression {
    /// Of a file.
    pub fn of(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            Some("gz" | "gzip") => Compression::Gzip,
            Some("bz2") => Compression::Bzip2,
            Some("zst" | "zstd") => Compression::Zstd,
            Some("xz") => Compression::Xz,
            Some("deflate") => Compression::Deflate,
            Some("snappy") => Compression::Snappy,
            _ => Compression::None,
        }
    }

    /// By the value of an option, which was checked.
    pub fn named(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "gzip" => Compression::Gzip,
            "bzip2" => Compression::Bzip2,
            "zstd" => Compression::Zstd,
            "xz" => Compression::Xz,
            "deflate" => Compression::Deflate,
            "snappy" => Compression::Snappy,
            _ => Compression::None,
        }
    }

    /// What a file's name ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Bzip2 => ".bz2",
            Compression::Zstd => ".zst",
            Compression::Xz => ".xz",
            Compression::Deflate => ".deflate",
            Compression::Snappy => ".snappy",
        }
    }

    /// DataFusion's word for it; none where DataFusion cannot read it.
    pub fn file_type(self) -> Option<FileCompressionType> {
        match self {
            Compression::None => Some(FileCompressionType::UNCOMPRESSED),
            Compression::Gzip => Some(FileCompressionType::GZIP),
            Compression::Bzip2 => Some(FileCompressionType::BZIP2),
            Compression::Zstd => Some(FileCompressionType::ZSTD),
            Compression::Xz => Some(FileCompressionType::XZ),
            Compression::Deflate | Compression::Snappy => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_under_a_name_is_read_by_it() {
        for name in COMPRESSIONS {
            let compression = Compression::named(name);
            assert_eq!(
                Compression::of(&format!("/t/part-0.csv{}", compression.suffix())),
                compression,
                "{name}"
            );
        }
        assert_eq!(
            COMPRESSIONS.iter().filter(|name| Compression::named(name) == Compression::None).count(),
            2
        );
    }
}
