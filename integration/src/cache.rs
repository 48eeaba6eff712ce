//! The cache folder outside the checkout: downloads and generated data, kept from run to run.

use std::{env, path::PathBuf};

/// `$THALWEG_CACHE`, else `thalweg` in the user's cache folder, as the Makefile and the service scripts have it.
pub fn folder() -> PathBuf {
    let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    path("THALWEG_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("thalweg")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/thalweg")))
        .unwrap_or_else(|| env::temp_dir().join("thalweg-cache"))
}
