//! Oids, names and modifiers there and back.

use super::*;
use crate::error::SqlState;

#[test]
fn oids_and_modifiers_round_trip() {
    let mut all: Vec<SqlType> = SqlType::scalars().to_vec();
    all.extend(SqlType::scalars().iter().filter(|ty| ty.array_oid() != 0).map(|ty| ty.array_of()));
    for text in ["varchar(10)", "char(3)", "numeric(10,2)", "numeric(3,-2)", "timestamp(3)", "time(0) with time zone", "bit(3)", "bit varying(4)"] {
        all.push(SqlType::parse_name(text).unwrap());
        all.push(SqlType::parse_name(&format!("{text}[]")).unwrap());
    }
    for ty in all {
        assert_eq!(SqlType::from_oid(ty.oid(), ty.typmod()), Some(ty), "{ty}");
        if ty != SqlType::Char(None) && ty != SqlType::Char(None).array_of() {
            assert_eq!(SqlType::parse_name(&ty.name()).unwrap(), ty, "{ty}");
        }
    }
}

/// As stores have them.
#[test]
fn golden_bytes_of_arrays() {
    for (ty, bytes) in [(SqlType::INT4_ARRAY, [23, 1]), (SqlType::TEXT_ARRAY, [25, 1])] {
        let stored = postcard::to_stdvec(&ty).unwrap();
        assert!(stored.ends_with(&bytes) && stored.len() == 3, "{stored:?}");
        assert_eq!(postcard::from_bytes::<SqlType>(&stored).unwrap(), ty);
    }
    let ty = SqlType::Enum(EnumType::unresolved(20_200)).array_of();
    assert_eq!(postcard::from_bytes::<SqlType>(&postcard::to_stdvec(&ty).unwrap()).unwrap(), ty);
}

#[test]
fn names_are_looked_up_as_postgresql_does() {
    let check = |name: &str, expected: &str| assert_eq!(SqlType::parse_name(name).unwrap().name(), expected);
    check("INT", "integer");
    check("varchar(10)", "character varying(10)");
    check("character varying (10)", "character varying(10)");
    check("char", "character(1)");
    check("bpchar", "bpchar");
    check("bit", "bit(1)");
    check("\"bit\"", "\"bit\"");
    check("pg_catalog.bit", "\"bit\"");
    check("varbit(4)", "bit varying(4)");
    check("\"char\"", "\"char\"");
    check("float(24)", "real");
    check("float(25)", "double precision");
    check("numeric(10)", "numeric(10,0)");
    check("timestamp (3) with  time zone", "timestamp(3) with time zone");
    check("timestamptz[]", "timestamp with time zone[]");
    check("_int4", "integer[]");
    check("int4[3][]", "integer[]");
    check("text array", "text[]");
    check("pg_catalog.int8", "bigint");
    let code = |name: &str| SqlType::parse_name(name).unwrap_err().code();
    assert_eq!(code("nosuch"), SqlState::UndefinedObject);
    assert_eq!(code("varchar(0)"), SqlState::InvalidParameterValue);
    assert_eq!(code("numeric(1001)"), SqlState::InvalidParameterValue);
    assert_eq!(code("int4(3)"), SqlState::SyntaxError);
    assert_eq!(code("bit(0)"), SqlState::InvalidParameterValue);
}
