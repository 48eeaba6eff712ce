//! The custom plan nodes of a fragment, and how fragments travel.
