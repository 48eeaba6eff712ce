//! Names of artifacts: what a client calls its file becomes a name that is safe on every file system, and with random digits before it an
//! id that nobody can guess.

use super::Error;

/// Longest name.
pub const CHARS_MAX: usize = 128;
/// Random digits before the name.
const DIGITS: usize = 32;

/// The name of a file as it is kept: without folders, in few characters.
pub fn sanitized(given: &str) -> Result<String, Error> {
    let file = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = file.chars().map(kept).collect();
    let is_named = name.rsplit_once('.').is_some_and(|(stem, _)| !stem.trim_matches('.').is_empty());
    // A NUL ends a name for those who read it in C.
    if !is_named || name.len() > CHARS_MAX || file.contains('\0') {
        return Err(Error::NoName { max: CHARS_MAX });
    }
    Ok(match name.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None => name,
    })
}

/// An id for a new artifact of this name.
pub fn new_id(name: &str) -> String {
    format!("{:032x}_{name}", rand::random::<u128>())
}

/// The name in an id; `None` for what is no id: it is not looked for on disk.
pub fn of_id(id: &str) -> Option<&str> {
    let (digits, name) = id.split_once('_')?;
    let is_id = digits.len() == DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && sanitized(name).is_ok_and(|sanitized| sanitized == name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn folders_go_and_odd_characters_are_replaced() {
        for (given, kept) in [
            ("report.sql", "report.sql"),
            ("../../etc/report.sql", "report.sql"),
            ("/etc/report.sql", "report.sql"),
            (r"C:\jobs\..\report.sql", "report.sql"),
            ("my report (1).sql", "my_report__1_.sql"),
            (".hidden.sql", "_hidden.sql"),
            ("Bücher.sql", "B_cher.sql"),
        ] {
            assert_eq!(sanitized(given).unwrap(), kept, "{given}");
        }
        let long = "x".repeat(CHARS_MAX) + ".sql";
        for refused in ["", ".", "..", "/", "a/..", "sql", ".sql", "a\0.sql", &long] {
            assert!(sanitized(refused).is_err(), "{refused:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_its_id_stays_in_its_folder(given in "\\PC{0,40}(\\.sql)?", prefix in "[./\\\\]{0,6}") {
            if let Ok(name) = sanitized(&format!("{prefix}{given}")) {
                let id = new_id(&name);
                prop_assert_eq!(of_id(&id), Some(name.as_str()));
                let path = std::path::Path::new("/folder").join(&id);
                prop_assert_eq!(path.components().count(), 3);
                prop_assert_eq!(path.file_name().and_then(|name| name.to_str()), Some(id.as_str()));
            }
            prop_assert_eq!(of_id(&given), None);
        }
    }
}
