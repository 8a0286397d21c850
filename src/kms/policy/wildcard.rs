//! Patterns with `*` (any run of characters) and `?` (any one).

/// Whether `text` is of the pattern. Takes time in proportion to the product of the lengths at most.
pub(super) fn matches(pattern: &str, text: &str, same: fn(u8, u8) -> bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&wanted) if wanted == b'?' || same(wanted, text[t]) => {
                p += 1;
                t += 1;
            }
            _ => {
                let Some((at, taken)) = star else {
                    return false;
                };
                star = Some((at, taken + 1));
                p = at + 1;
                t = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Letters are those they are.
pub(super) fn exact(a: u8, b: u8) -> bool {
    a == b
}

/// Great and small letters are one.
pub(super) fn any_case(a: u8, b: u8) -> bool {
    a.eq_ignore_ascii_case(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*", "a"),
            ("a*c", "abc"),
            ("a*c", "abcbc"),
            ("?", "x"),
            ("*a*b*", "xxayybzz"),
            ("a?c*", "abcdef"),
            ("**", "x"),
        ] {
            assert!(matches(pattern, text, exact), "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_match_nothing_else() {
        for (pattern, text) in [
            ("", "a"),
            ("a", ""),
            ("a", "b"),
            ("a", "A"),
            ("?", ""),
            ("a*", "ba"),
            ("*a", "ab"),
            ("a*c", "ab"),
            ("a?c", "ac"),
            ("abc", "abcd"),
            ("abcd", "abc"),
        ] {
            assert!(!matches(pattern, text, exact), "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = "*a".repeat(500) + "b";
        let text = "a".repeat(5000);
        assert!(!matches(&pattern, &text, exact));
    }

    #[test]
    fn actions_do_not_mind_the_case() {
        assert!(matches("encrypt*", "EncryptData", any_case));
        assert!(!matches("encrypt", "Decrypt", any_case));
    }
}
