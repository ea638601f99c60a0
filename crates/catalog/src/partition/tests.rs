//! Bounds of partitions: where rows go, what pruning leaves out, hashes as PostgreSQL makes them.

use keys::ColumnId;
use types::{Datum, SqlType};

use super::*;

fn ints(values: &[i64]) -> Vec<RangeDatum> {
    values.iter().map(|value| RangeDatum::Value(Datum::Int(*value))).collect()
}

fn key(id: u32, ty: SqlType) -> PartitionKey {
    PartitionKey { part: KeyPart::Column(ColumnId::new(id)), ty }
}

fn by_range(bounds: &[(i64, i64)], has_default: bool) -> Partitioned {
    let mut made = Partitioned::new(PartitionStrategy::Range, vec![key(1, SqlType::Int4)]);
    for (at, (from, to)) in bounds.iter().enumerate() {
        made.add(100 + at as u32, PartitionBound::Range(ints(&[*from]), ints(&[*to])));
    }
    if has_default {
        made.add(99, PartitionBound::Default);
    }
    made
}

fn found(partitioned: &Partitioned, values: &[Datum]) -> Option<u32> {
    partitioned.find(values).map(|at| partitioned.partitions[at].id)
}

fn read(partitioned: &Partitioned, sets: &[KeySet]) -> Vec<u32> {
    let read = partitioned.overlapping(sets);
    partitioned.partitions.iter().zip(read).filter(|(_, is_read)| *is_read).map(|(it, _)| it.id).collect()
}

fn name(id: u32) -> String {
    format!("p{id}")
}

#[test]
fn golden_bytes() {
    let mut partitioned = Partitioned::new(
        PartitionStrategy::Range,
        vec![key(2, SqlType::Int4), PartitionKey { part: KeyPart::Expr("lower(b)".into()), ty: SqlType::Text }],
    );
    let text = |text: &str| RangeDatum::Value(Datum::text(text));
    let from = vec![RangeDatum::Value(Datum::Int(1)), text("a")];
    partitioned.add(300, PartitionBound::Range(from, vec![RangeDatum::MaxValue, RangeDatum::MinValue]));
    partitioned.add(301, PartitionBound::Default);
    let whole = Partitioning { partitioned: Some(partitioned), parent: Some(200), parts: vec![(310, 210)] };
    let mut list = Partitioned::new(PartitionStrategy::List, vec![key(1, SqlType::Int8)]);
    list.add(302, PartitionBound::List(vec![Datum::Null, Datum::Int(-1)]));
    let mut hash = Partitioned::new(PartitionStrategy::Hash, vec![key(1, SqlType::Int8)]);
    hash.add(303, PartitionBound::Hash { modulus: 4, remainder: 3 });
    let of = |partitioned| Partitioning { partitioned: Some(partitioned), ..Partitioning::default() };
    let cases = [whole, of(list), of(hash), Partitioning { parent: Some(1), ..Partitioning::default() }];
    let shown = |made: &Partitioning| made.encode().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    assert_eq!(cases.iter().map(shown).collect::<Vec<_>>(), golden, "bytes that are stored stay readable");
    for made in cases {
        let bytes = made.encode();
        assert_eq!(Partitioning::decode(&bytes).unwrap(), made);
        for end in 0..bytes.len() {
            // An error, or fields that are whole.
            let _ = Partitioning::decode(&bytes[..end]);
        }
    }
}

#[test]
fn rows_are_routed_by_range() {
    let ranges = by_range(&[(10, 20), (0, 10), (30, 40)], false);
    assert_eq!(ranges.partitions.iter().map(|it| it.id).collect::<Vec<_>>(), [101, 100, 102], "bounds are in order");
    for (value, wanted) in [(-1, None), (0, Some(101)), (9, Some(101)), (10, Some(100)), (20, None), (39, Some(102)), (40, None)] {
        assert_eq!(found(&ranges, &[Datum::Int(value)]), wanted, "{value}");
    }
    assert_eq!(found(&ranges, &[Datum::Null]), None);
    let ranges = by_range(&[(0, 10)], true);
    assert_eq!(found(&ranges, &[Datum::Null]), Some(99));
    assert_eq!(found(&ranges, &[Datum::Int(10)]), Some(99));
}

#[test]
fn rows_are_routed_by_several_columns() {
    let mut made = Partitioned::new(PartitionStrategy::Range, vec![key(1, SqlType::Int4), key(2, SqlType::Int4)]);
    made.add(1, PartitionBound::Range(ints(&[1, 5]), ints(&[3, 5])));
    let open = vec![RangeDatum::Value(Datum::Int(5)), RangeDatum::MaxValue];
    made.add(2, PartitionBound::Range(ints(&[3, 5]), open));
    for (a, b, wanted) in [(1, 4, None), (1, 5, Some(1)), (2, 0, Some(1)), (3, 4, Some(1)), (3, 5, Some(2)), (5, 99, Some(2)), (6, 0, None)] {
        assert_eq!(found(&made, &[Datum::Int(a), Datum::Int(b)]), wanted, "{a}, {b}");
    }
    let at = |value: i64| KeySet::Values(vec![Datum::Int(value)]);
    assert_eq!(read(&made, &[at(3), KeySet::Any]), [1, 2]);
    assert_eq!(read(&made, &[at(2), KeySet::Any]), [1]);
    assert_eq!(read(&made, &[at(6), KeySet::Any]), [0_u32; 0]);
    let above = KeySet::Range { lower: Some((Datum::Int(3), false)), upper: None };
    assert_eq!(read(&made, &[above.clone(), KeySet::Any]), [2]);
    assert_eq!(read(&made, &[at(3), above]), [1, 2]);
    assert_eq!(read(&made, &[at(1), KeySet::Range { lower: None, upper: Some((Datum::Int(5), false)) }]), [0_u32; 0]);
    assert_eq!(read(&made, &[KeySet::Any, KeySet::Null]), [0_u32; 0]);
}

#[test]
fn conditions_leave_partitions_out() {
    let ranges = by_range(&[(0, 10), (10, 20), (20, 30)], true);
    let between = |low: Option<(i64, bool)>, high: Option<(i64, bool)>| {
        let end = |end: Option<(i64, bool)>| end.map(|(value, is_inside)| (Datum::Int(value), is_inside));
        read(&ranges, &[KeySet::Range { lower: end(low), upper: end(high) }])
    };
    assert_eq!(between(Some((5, true)), Some((15, true))), [100, 101]);
    assert_eq!(between(Some((5, true)), Some((10, false))), [100]);
    assert_eq!(between(Some((5, true)), Some((10, true))), [100, 101]);
    assert_eq!(between(Some((20, true)), Some((30, false))), [102]);
    assert_eq!(between(Some((20, true)), Some((30, true))), [102, 99], "the last value may be in the default partition");
    assert_eq!(between(None, Some((0, false))), [99]);
    assert_eq!(between(Some((25, false)), None), [102, 99]);
    assert_eq!(read(&ranges, &[KeySet::Any]), [100, 101, 102, 99]);
    assert_eq!(read(&ranges, &[KeySet::Null]), [99]);
    let values = |values: &[i64]| KeySet::Values(values.iter().map(|value| Datum::Int(*value)).collect());
    assert_eq!(read(&ranges, &[values(&[1, 22])]), [100, 102]);
    assert_eq!(read(&ranges, &[values(&[1, 99])]), [100, 99]);
    assert_eq!(read(&ranges, &[values(&[])]), [0_u32; 0]);
}

#[test]
fn lists_hold_values_and_null() {
    let mut made = Partitioned::new(PartitionStrategy::List, vec![key(1, SqlType::Text)]);
    made.add(1, PartitionBound::List(vec![Datum::text("m"), Datum::Null]));
    made.add(2, PartitionBound::List(vec![Datum::text("a"), Datum::text("z")]));
    assert_eq!(found(&made, &[Datum::Null]), Some(1));
    assert_eq!(found(&made, &[Datum::text("z")]), Some(2));
    assert_eq!(found(&made, &[Datum::text("b")]), None);
    assert_eq!(read(&made, &[KeySet::NOT_NULL]), [2, 1]);
    let above = KeySet::Range { lower: Some((Datum::text("n"), true)), upper: None };
    assert_eq!(read(&made, &[above]), [2]);
    let bound = PartitionBound::List(vec![Datum::text("b"), Datum::Null]);
    let error = made.check_new("n", &bound, &name).unwrap_err();
    assert_eq!(error.message(), "partition \"n\" would overlap partition \"p1\"");
}

#[test]
fn new_bounds_are_apart_from_the_others() {
    let ranges = by_range(&[(0, 10), (20, 30)], true);
    let check = |from: i64, to: i64| {
        let bound = PartitionBound::Range(ints(&[from]), ints(&[to]));
        ranges.check_new("n", &bound, &name).map_err(|error| error.message().to_owned())
    };
    assert_eq!(check(10, 20), Ok(()));
    assert_eq!(check(5, 25), Err("partition \"n\" would overlap partition \"p100\"".into()));
    assert_eq!(check(15, 21), Err("partition \"n\" would overlap partition \"p101\"".into()));
    assert_eq!(check(15, 15), Err("empty range bound specified for partition \"n\"".into()));
    let error = ranges.check_new("n", &PartitionBound::Default, &name).unwrap_err();
    assert_eq!(error.message(), "partition \"n\" conflicts with existing default partition \"p99\"");
}

#[test]
fn moduli_divide_each_other() {
    let mut made = Partitioned::new(PartitionStrategy::Hash, vec![key(1, SqlType::Int4)]);
    made.add(1, PartitionBound::Hash { modulus: 4, remainder: 0 });
    made.add(2, PartitionBound::Hash { modulus: 8, remainder: 1 });
    let check = |modulus: u32, remainder: u32| made.check_new("n", &PartitionBound::Hash { modulus, remainder }, &name);
    assert!(check(4, 2).is_ok() && check(8, 5).is_ok() && check(16, 6).is_ok());
    assert!(check(4, 1).is_err() && check(2, 0).is_err() && check(16, 8).is_err() && check(6, 2).is_err());
}

#[test]
fn great_moduli_need_no_room() {
    let mut made = Partitioned::new(PartitionStrategy::Hash, vec![key(1, SqlType::Int4)]);
    made.add(1, PartitionBound::Hash { modulus: 2, remainder: 0 });
    made.add(2, PartitionBound::Hash { modulus: i32::MAX as u32 - 1, remainder: 1 });
    let check = |modulus: u32, remainder: u32| made.check_new("n", &PartitionBound::Hash { modulus, remainder }, &name);
    assert!(check(i32::MAX as u32 - 1, 3).is_ok());
    assert!(check(i32::MAX as u32 - 1, 1).is_err() && check(2, 1).is_err());
    let places = (0..100).map(|value| found(&made, &[Datum::Int(value)]));
    assert!(places.clone().any(|place| place == Some(1)) && places.clone().any(|place| place.is_none()));
}

#[test]
fn later_columns_have_their_own_order() {
    let mut made = Partitioned::new(PartitionStrategy::Range, vec![key(1, SqlType::Int4), key(2, SqlType::Text)]);
    let end = |a: i64, b: &str| vec![RangeDatum::Value(Datum::Int(a)), RangeDatum::Value(Datum::text(b))];
    made.add(1, PartitionBound::Range(end(1, "a"), end(1, "m")));
    made.add(2, PartitionBound::Range(end(1, "m"), end(2, "a")));
    let of = |lower: &str, upper: &str| {
        let end = |text: &str| Some((Datum::text(text), false));
        [KeySet::Values(vec![Datum::Int(1)]), KeySet::Range { lower: end(lower), upper: end(upper) }]
    };
    assert_eq!(read(&made, &of("b", "d")), [1]);
    assert_eq!(read(&made, &of("b", "n")), [1, 2]);
    assert_eq!(read(&made, &of("n", "q")), [2]);
}

/// The partitions that PostgreSQL 15 puts these keys into.
#[test]
fn hashes_are_postgresqls() {
    let remainder = |ty: SqlType, datum: Datum, modulus: u64| hash::hash_key([(&ty, &datum)].into_iter()) % modulus;
    for line in include_str!("hashes.txt").lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().unwrap();
        let (ty, text) = (SqlType::parse_name(field()).unwrap(), field());
        let datum = types::parse_text(&ty, text, &types::Formatting::default()).unwrap();
        assert_eq!(remainder(ty, datum, 1009).to_string(), field(), "{ty} {text}");
    }
}
