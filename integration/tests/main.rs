//! Every test that needs more than one crate, in one binary: it is linked once, and its tests share one HDFS.

mod hdfs;
mod layout;
