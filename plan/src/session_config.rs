//! The one DataFusion configuration, used both when planning and when running.
