//! The whole control plane, from its doors.

mod fakes;
mod jobs;
mod quorum;
mod rest;
