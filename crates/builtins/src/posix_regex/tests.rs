//! The parts that PostgreSQL's answers in `sqllogictest/slt/regular_expressions.slt` do not reach.

use super::*;

fn groups(pattern: &str, text: &str) -> Option<Vec<Option<String>>> {
    let found = Pattern::new(pattern, Options::default()).unwrap().find_at(text, 0).unwrap()?;
    Some(found.into_iter().map(|group| group.map(|(from, to)| text[from..to].to_owned())).collect())
}

/// *exact-split*, with and without the scout: a look-ahead of nothing switches it off and changes nothing else.
#[test]
fn exact_split() {
    for (pattern, text) in [
        ("(a|ab)(c|bcd)(d*)", "abcd"),
        ("(a*)(ab)*(b*)", "abbb"),
        ("((a)|(b))*", "abab"),
        ("(?:(a)|b)*", "ab"),
        ("(.*?)(\\d+)(.*)", "abc01xyz"),
        ("(a{2,3}?)(a*)", "aaaaa"),
        ("(aa|aaa)*(a?)", "aaaaaaa"),
        ("(é+)(\\w*)", "ééab"),
    ] {
        let with_look = groups(&format!("(?=){pattern}"), text);
        assert_eq!(groups(pattern, text), with_look, "{pattern}");
        let whole = groups(pattern, text).unwrap().swap_remove(0).unwrap();
        assert!(text.starts_with(&whole), "{pattern} matches from the start of {text}");
    }
}

/// *bounded-work*: neither a pattern nor its search takes memory or time without bound.
#[test]
fn bounded_work() {
    let code = |pattern: &str| Pattern::new(pattern, Options::default()).err().map(|error| error.code());
    assert_eq!(code("(((a{255}){255}){255}){255}"), Some(SqlState::InvalidRegularExpression));
    assert_eq!(code(&"(".repeat(10_000)), Some(SqlState::InvalidRegularExpression));
    assert_eq!(code(&format!("{}a{}", "(".repeat(10_000), ")".repeat(10_000))), Some(SqlState::InvalidRegularExpression));
    assert_eq!(code(&"a*".repeat(100_000)), Some(SqlState::InvalidRegularExpression));
    let nested = format!("{}x{}", "(a*b*c*d*".repeat(150), ")".repeat(150));
    assert_eq!(code(&nested), Some(SqlState::InvalidRegularExpression));
    let text = "a".repeat(3_000);
    assert!(!Pattern::new("(a*)*b", Options::default()).unwrap().is_match(&text).unwrap());
    assert!(Pattern::new("(?=a)(a*)*$", Options::default()).unwrap().is_match(&text).unwrap());
}
