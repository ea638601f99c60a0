//! Range arithmetic against a model: the set of the integers from 0 to 15 that a range has.

use proptest::prelude::*;

use super::*;
use crate::{Formatting, binary, parse_text, to_text};

const OF: RangeType = RangeType::Int4;

fn has(ranges: &[Range], value: i64) -> bool {
    OF.contains_element(ranges, &Datum::Int(value))
}

fn any_range() -> impl Strategy<Value = Range> {
    (0..16_i64, 0..16_i64, any::<[bool; 2]>(), 0..12_u8).prop_map(|(a, b, inclusive, open)| {
        let bound = |value: i64, inclusive: bool, is_open: bool| Bound::new((!is_open).then_some(Datum::Int(value)), inclusive);
        OF.make(bound(a.min(b), inclusive[0], open == 0), bound(a.max(b), inclusive[1], open == 1)).unwrap()
    })
}

fn any_multirange() -> impl Strategy<Value = Vec<Range>> {
    prop::collection::vec(any_range(), 0..5).prop_map(|ranges| OF.normalize(ranges))
}

/// Members of a range over text whose bounds need quotes.
fn text_range() -> RangeType {
    let kind = crate::RangeOver { subtype: SqlType::Text, multirange_name: "m".into(), multirange_array_name: "_m".into() };
    let content = crate::TypeContent { oid: 21_100, schema: "s".into(), name: "r".into(), array_name: "_r".into(), kind };
    RangeType::Made(crate::Registered::of(content))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn multiranges_are_sets(a in any_multirange(), b in any_multirange()) {
        let (common, rest) = (OF.common(&a, &b).unwrap(), OF.without(&a, &b).unwrap());
        let all = OF.normalize(a.iter().chain(&b).cloned().collect());
        for value in -2..18 {
            let (in_a, in_b) = (has(&a, value), has(&b, value));
            prop_assert_eq!(has(&all, value), in_a || in_b, "{} in the union", value);
            prop_assert_eq!(has(&common, value), in_a && in_b, "{} in the intersection", value);
            prop_assert_eq!(has(&rest, value), in_a && !in_b, "{} in the difference", value);
        }
        for made in [&all, &common, &rest] {
            prop_assert_eq!(&OF.normalize(made.clone()), made, "apart-and-rising");
        }
        prop_assert_eq!(OF.overlaps(&a, &b), (-2..18).any(|value| has(&a, value) && has(&b, value)));
        prop_assert_eq!(OF.contains(&a, &b), (-2..18).all(|value| has(&a, value) || !has(&b, value)));
        prop_assert_eq!(OF.contains(&a, &b), OF.without(&b, &a).unwrap().is_empty());
        if !a.is_empty() && !b.is_empty() {
            let touching = OF.adjacent(&a, &b);
            prop_assert_eq!(touching, OF.adjacent(&b, &a));
            prop_assert_eq!(OF.before(&a, &b), OF.ends_within(&a, &b) && !OF.overlaps(&[OF.merge(&a)], &[OF.merge(&b)]) && !OF.begins_within(&a, &b));
        }
    }

    #[test]
    fn ranges_are_sets(a in any_range(), b in any_range()) {
        let (one, other) = (std::slice::from_ref(&a), std::slice::from_ref(&b));
        let (one, other) = (if a.is_empty() { &[] } else { one }, if b.is_empty() { &[] } else { other });
        let meet = OF.intersection(&a, &b).unwrap();
        prop_assert_eq!(OF.common(one, other).unwrap(), spans(&Datum::range(meet)).to_vec());
        let parts = OF.without(one, other).unwrap();
        match OF.difference(&a, &b) {
            Ok(rest) => prop_assert_eq!(spans(&Datum::range(rest)).to_vec(), parts),
            Err(_) => prop_assert_eq!(parts.len(), 2),
        }
        let together = OF.normalize(vec![a.clone(), b.clone()]);
        match OF.union(&a, &b) {
            Ok(all) => prop_assert_eq!(spans(&Datum::range(all)).to_vec(), together),
            Err(_) => prop_assert_eq!(together.len(), 2),
        }
    }

    #[test]
    fn every_form_comes_back(low in "[a-c\"\\\\,() ]{0,3}", high in "[a-c\"\\\\,() ]{0,3}", inclusive in any::<[bool; 2]>()) {
        let of = text_range();
        let (low, high) = if low <= high { (low, high) } else { (high, low) };
        let bound = |text: String, inclusive| Bound::new(Some(Datum::text(text)), inclusive);
        let range = of.make(bound(low, inclusive[0]), bound(high, inclusive[1])).unwrap();
        let formatting = Formatting::default();
        let many = Datum::multirange(of.normalize(vec![range.clone()]));
        for (ty, datum) in [(SqlType::Range(of), Datum::range(range)), (SqlType::MultiRange(of), many)] {
            let text = to_text(&ty, &datum, &formatting);
            prop_assert_eq!(&parse_text(&ty, &text, &formatting).unwrap(), &datum, "{}", text);
            let mut sent = Vec::new();
            binary::write_binary(&ty, &datum, &mut sent);
            prop_assert_eq!(&binary::parse_binary(&ty, &sent).unwrap(), &datum);
            for end in 0..sent.len() {
                prop_assert!(binary::parse_binary(&ty, &sent[..end]).is_err());
            }
            let stored = postcard::to_stdvec(&datum).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<Datum>(&stored).unwrap(), &datum);
        }
    }
}

/// As stores and clients have them.
#[test]
fn golden_bytes() {
    let of = |ty: &SqlType, text: &str| parse_text(ty, text, &Formatting::default()).unwrap();
    let (one, many) = (SqlType::Range(OF), SqlType::MultiRange(OF));
    for (ty, text, stored, sent) in [
        (&one, "empty", &[21, 1, 0][..], &[1][..]),
        (&one, "[1,5)", &[21, 2, 2, 2, 2, 2, 10], &[2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 5]),
        (&one, "(,5)", &[21, 8, 1, 2, 10], &[8, 0, 0, 0, 4, 0, 0, 0, 5]),
        (&one, "(,)", &[21, 0x18, 0], &[0x18]),
        (&many, "{}", &[22, 0], &[0, 0, 0, 0]),
        (&many, "{(,5)}", &[22, 1, 8, 1, 2, 10], &[0, 0, 0, 1, 0, 0, 0, 9, 8, 0, 0, 0, 4, 0, 0, 0, 5]),
    ] {
        let datum = of(ty, text);
        assert_eq!(postcard::to_stdvec(&datum).unwrap(), stored, "{text}");
        let mut out = Vec::new();
        binary::write_binary(ty, &datum, &mut out);
        assert_eq!(out, sent, "{text}");
    }
    assert!(postcard::from_bytes::<Datum>(&[21, 2, 1, 2, 2]).is_err(), "two bounds, one there");
    assert!(postcard::from_bytes::<Datum>(&[21, 1, 1, 2, 2]).is_err(), "empty, with a bound");
}
