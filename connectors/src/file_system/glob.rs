//! Patterns of paths: `*` and `?` within one part, `**` over parts, `[abc]`, and `{a,b}` with any of these inside.

/// A pattern that paths match or do not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// The longest folder that the pattern names without a wildcard.
    pub base: String,
    alternatives: Vec<Vec<String>>,
}

/// Whether a path is a pattern.
pub fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '{', '['])
}

impl Glob {
    /// Reads a pattern of absolute paths; braces that do not close stand for themselves.
    pub fn new(pattern: &str) -> Self {
        let fixed: Vec<&str> = pattern.split('/').take_while(|part| !is_glob(part)).collect();
        let base = fixed.join("/");
        let parts =
            |path: String| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        Self {
            base: if base.is_empty() { "/".to_owned() } else { base },
            alternatives: expand_braces(pattern).into_iter().map(parts).collect(),
        }
    }

    /// Whether a file is meant: its path matches, or it is below a folder whose path matches.
    pub fn matches(&self, path: &str) -> bool {
        self.matched_parts(path).is_some()
    }

    /// How many parts of the path the pattern covers, counted from the root; the rest is below the matched folder.
    pub fn matched_parts(&self, path: &str) -> Option<usize> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let covers =
            |length: &usize| self.alternatives.iter().any(|pattern| parts_match(pattern, &parts[..*length]));
        (1..=parts.len()).find(covers)
    }
}

fn parts_match(pattern: &[String], parts: &[&str]) -> bool {
    match (pattern.split_first(), parts.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            (0..=parts.len()).any(|skipped| parts_match(rest, &parts[skipped..]))
        }
        (Some((first, rest)), Some((part, parts))) => part_matches(first, part) && parts_match(rest, parts),
        _ => false,
    }
}

fn part_matches(pattern: &str, part: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let part: Vec<char> = part.chars().collect();
    characters_match(&pattern, &part)
}

/// Matches with one place to go back to, so the time is the product of both lengths at most.
fn characters_match(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while read < text.len() {
        if pattern.get(at) == Some(&'*') {
            retry = Some((at + 1, read));
            at += 1;
            continue;
        }
        match one_matches(&pattern[at..], text[read]) {
            Some(width) => {
                at += width;
                read += 1;
            }
            None => {
                let Some((after_star, taken)) = retry else { return false };
                retry = Some((after_star, taken + 1));
                at = after_star;
                read = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|&c| c == '*')
}

/// The characters of the pattern that stand for this one character of text.
fn one_matches(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let Some(end) = pattern.iter().skip(2).position(|&c| c == ']').map(|found| found + 2) else {
                return (c == '[').then_some(1);
            };
            let (negated, set) = match pattern[1] {
                '!' | '^' => (true, &pattern[2..end]),
                _ => (false, &pattern[1..end]),
            };
            (in_set(set, c) != negated).then_some(end + 1)
        }
        &other => (other == c).then_some(1),
    }
}

fn in_set(set: &[char], c: char) -> bool {
    let ranges = set.windows(3).any(|range| range[1] == '-' && range[0] <= c && c <= range[2]);
    ranges || set.contains(&c)
}

/// Writes out `{a,b}`; at most this many patterns come of it.
const ALTERNATIVES_MAX: usize = 1000;

fn expand_braces(pattern: &str) -> Vec<String> {
    let mut open = vec![pattern.to_owned()];
    let mut done = Vec::new();
    while let Some(pattern) = open.pop() {
        match first_braces(&pattern) {
            Some((before, choices, after)) if open.len() + done.len() + choices.len() <= ALTERNATIVES_MAX => {
                open.extend(choices.iter().map(|choice| format!("{before}{choice}{after}")));
            }
            _ => done.push(pattern),
        }
    }
    done
}

fn first_braces(pattern: &str) -> Option<(&str, Vec<&str>, &str)> {
    let start = pattern.find('{')?;
    let mut depth = 0;
    let mut choice_start = start + 1;
    let mut choices = Vec::new();
    for (at, c) in pattern.char_indices().skip_while(|(at, _)| *at < start) {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                choices.push(&pattern[choice_start..at]);
                choice_start = at + 1;
            }
            '}' if depth == 1 => {
                choices.push(&pattern[choice_start..at]);
                return Some((&pattern[..start], choices, &pattern[at + 1..]));
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stay_within_their_part() {
        let glob = Glob::new("/data/2024-*/part-?.csv");
        assert_eq!(glob.base, "/data");
        assert!(glob.matches("/data/2024-01/part-1.csv"));
        assert!(!glob.matches("/data/2024-01/x/part-1.csv"));
        assert!(!glob.matches("/data/2024-01/part-10.csv"));
    }

    #[test]
    fn double_stars_cross_folders() {
        let glob = Glob::new("/data/**/x.csv");
        assert!(glob.matches("/data/x.csv"));
        assert!(glob.matches("/data/a/b/x.csv"));
        assert!(!glob.matches("/data/a/b/y.csv"));
    }

    #[test]
    fn braces_and_sets_are_choices() {
        let glob = Glob::new("/d/{a,b*,c{1,2}}/[0-9x].csv");
        for path in ["/d/a/0.csv", "/d/bcd/x.csv", "/d/c2/9.csv"] {
            assert!(glob.matches(path), "{path}");
        }
        assert!(!glob.matches("/d/c3/9.csv"));
        assert!(!glob.matches("/d/a/y.csv"));
        assert!(Glob::new("/d/{a").matches("/d/{a"));
    }

    #[test]
    fn a_file_below_a_matched_folder_is_meant() {
        let glob = Glob::new("/d/y=*");
        assert!(glob.matches("/d/y=1/m=2/f.csv"));
        assert_eq!(glob.matched_parts("/d/y=1/m=2/f.csv"), Some(2));
    }

    #[test]
    fn stars_backtrack() {
        assert!(characters_match(
            &"a*b*c".chars().collect::<Vec<_>>(),
            &"aXbXbXc".chars().collect::<Vec<_>>()
        ));
        assert!(!characters_match(&"a*b".chars().collect::<Vec<_>>(), &"aXbX".chars().collect::<Vec<_>>()));
    }
}
