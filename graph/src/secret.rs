//! Which options are passwords and the like.

/// Whether an option's value is not to be shown or stored where others may read it.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = ["password", "secret", "token", "apikey", "api-key", "credential", "jaas"];
    words.iter().any(|word| name.contains(word))
}
