//! Who may do what over REST: bearer tokens with roles, kept as digests in the replicated state, and what counts as a login beside them.

pub mod role;
pub mod token;
pub mod login;

pub use login::{Access, Caller, Login, Refused, Who};
pub use role::Role;
pub use token::{TokenDigest, TokenRecord, Tokens};
