//! The whole control plane, from its doors.

mod fakes;
mod server;
mod history;
mod jobs;
mod quorum;
mod internal_calls;
mod rest;
mod rest_access;
mod rest_artifacts;
mod rest_bad_input;
mod rest_page;
mod rest_paths;
