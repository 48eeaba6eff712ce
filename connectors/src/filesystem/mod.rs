//! The `filesystem` connector: tables that are folders of files.
