//! Ids for jobs that are started here.

use thalweg_graph::JobId;

/// An id that no other job has.
pub fn random() -> JobId {
    JobId(rand::random())
}
