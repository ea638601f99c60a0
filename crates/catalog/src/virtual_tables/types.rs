//! Types, what compares them, and what turns one into another: `pg_type`, `pg_opclass`, `pg_collation`, `pg_cast`,
//! `pg_operator`.

use std::sync::LazyLock;

use ::types::{CastContext, RangeType, SqlType, can_cast, row_type_oid};
use ::types::inverted::KeyClass;
use rustc_hash::FxHashMap;

use super::functions::{first_arg, fixed_type};
use super::relations::BTREE;
use super::privileges::acl_of;
use super::row::{Rows, row};
use super::scope::{Key, Scope, Source};
use crate::descriptor::{Index, PG_CATALOG_SCHEMA, POSTGRES_ROLE, TypeKind};
use crate::index_details::IndexMethod;
use crate::snapshot::Relation;

pub(super) const TABLES: &[Source] = &[
    Source::of(
        "pg_type",
        pg_type,
        &[
            ("oid", Key::Type),
            ("typname", Key::TypeName),
            ("typnamespace", Key::Schema),
            ("typrelid", Key::Class),
            ("typelem", Key::Type),
            ("typarray", Key::Type),
        ],
    )
    .and_fixed(fixed_types),
    Source::of("pg_enum", pg_enum, &[("enumtypid", Key::Type)]),
    Source::of("pg_range", pg_range, &[("rngtypid", Key::Type), ("rngmultitypid", Key::Type)]).and_fixed(fixed_ranges),
    Source::fixed("pg_collation", pg_collation),
    Source::fixed("pg_opclass", pg_opclass),
    Source::fixed("pg_opfamily", pg_opfamily),
    Source::fixed("pg_cast", pg_cast),
    Source::fixed("pg_operator", pg_operator),
];

/// A line of `types.tsv`: what `pg_type` says of a type.
#[derive(Clone, Copy, Debug)]
pub(super) struct TypeRow {
    oid: u32,
    name: &'static str,
    pub length: i64,
    pub by_value: bool,
    kind: &'static str,
    category: &'static str,
    preferred: bool,
    delimiter: &'static str,
    subscript: u32,
    pub element: u32,
    array: u32,
    input: u32,
    output: u32,
    receive: u32,
    send: u32,
    modifier_in: u32,
    modifier_out: u32,
    pub align: &'static str,
    pub storage: &'static str,
    pub collation: u32,
}

static TYPES: LazyLock<FxHashMap<u32, TypeRow>> =
    LazyLock::new(|| include_str!("types.tsv").lines().map(parse_type).map(|row| (row.oid, row)).collect());

fn parse_type(line: &'static str) -> TypeRow {
    let mut fields = line.split('\t');
    let mut field = || fields.next().expect("a line of types.tsv has twenty fields");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    TypeRow {
        oid: number(field()),
        name: field(),
        length: field().parse().expect("a length"),
        by_value: field() == "t",
        kind: field(),
        category: field(),
        preferred: field() == "t",
        delimiter: field(),
        subscript: number(field()),
        element: number(field()),
        array: number(field()),
        input: number(field()),
        output: number(field()),
        receive: number(field()),
        send: number(field()),
        modifier_in: number(field()),
        modifier_out: number(field()),
        align: field(),
        storage: field(),
        collation: number(field()),
    }
}

/// What is known of a type; its modifier does not matter.
pub(super) fn type_row(ty: SqlType) -> &'static TypeRow {
    match ty {
        SqlType::Enum(_) => &ENUM,
        // Values are what those of the type under it are.
        SqlType::Domain(_) => type_row(ty.base()),
        SqlType::Range(of @ RangeType::Made(_)) if is_wide(of.subtype()) => &WIDE_RANGE,
        SqlType::Range(RangeType::Made(_)) => &RANGE,
        SqlType::MultiRange(of @ RangeType::Made(_)) if is_wide(of.subtype()) => &WIDE_MULTIRANGE,
        SqlType::MultiRange(RangeType::Made(_)) => &MULTIRANGE,
        SqlType::Composite(_) => &COMPOSITE,
        SqlType::Array(_) if ty.user_type().is_some() => &ARRAY_OF_ENUM,
        ty => TYPES.get(&ty.oid()).expect("types.tsv has a line for every type"),
    }
}

/// What is the same of all enum types; oids and names are not.
static ENUM: TypeRow = TypeRow {
    oid: 0,
    name: "",
    length: 4,
    by_value: true,
    kind: "e",
    category: "E",
    preferred: false,
    delimiter: ",",
    subscript: 0,
    element: 0,
    array: 0,
    input: 3506,
    output: 3507,
    receive: 3532,
    send: 3533,
    modifier_in: 0,
    modifier_out: 0,
    align: "i",
    storage: "p",
    collation: 0,
};

static ARRAY_OF_ENUM: TypeRow = TypeRow {
    length: -1,
    by_value: false,
    kind: "b",
    category: "A",
    subscript: 6179,
    // Some oid: it is an array.
    element: SqlType::AnyEnum.oid(),
    input: 750,
    output: 751,
    receive: 2400,
    send: 2401,
    storage: "x",
    ..ENUM
};

/// What is the same of all range types, but for how wide their bounds make them align.
static RANGE: TypeRow = TypeRow {
    length: -1,
    by_value: false,
    kind: "r",
    category: "R",
    input: 3834,
    output: 3835,
    receive: 3836,
    send: 3837,
    storage: "x",
    ..ENUM
};

static MULTIRANGE: TypeRow =
    TypeRow { kind: "m", input: 4231, output: 4232, receive: 4233, send: 4234, ..RANGE };

/// What is the same of all composite types.
static COMPOSITE: TypeRow = TypeRow {
    length: -1,
    by_value: false,
    kind: "c",
    category: "C",
    input: 2290,
    output: 2291,
    receive: 2402,
    send: 2403,
    align: "d",
    storage: "x",
    ..ENUM
};

static WIDE_RANGE: TypeRow = TypeRow { align: "d", ..RANGE };
static WIDE_MULTIRANGE: TypeRow = TypeRow { align: "d", ..MULTIRANGE };

/// Whether what holds values of a type is aligned to eight bytes.
fn is_wide(ty: SqlType) -> bool {
    type_row(ty).align == "d"
}

fn fixed_types(rows: &mut Rows) {
    let mut all: Vec<&TypeRow> = TYPES.values().collect();
    all.sort_unstable_by_key(|ty| ty.oid);
    for ty in all {
        push_type(ty, ty.name, PG_CATALOG_SCHEMA, POSTGRES_ROLE, rows);
    }
}

fn pg_type(view: &Scope<'_>, rows: &mut Rows) {
    for it in view.types() {
        let (mut array, mut kept) = (ARRAY_OF_ENUM, Kept::default());
        let made = match &it.kind {
            TypeKind::Enum(_) => ENUM,
            TypeKind::Range(range) => {
                let is_wide = is_wide(range.subtype);
                array = TypeRow { align: if is_wide { "d" } else { "i" }, ..array };
                let multirange = if is_wide { WIDE_MULTIRANGE } else { MULTIRANGE };
                let multirange = TypeRow { oid: it.id + 2, array: it.id + 3, ..multirange };
                push_type(&multirange, &range.multirange_name, it.schema, it.owner, rows);
                let arrays = TypeRow { oid: it.id + 3, element: it.id + 2, ..array };
                push_type(&arrays, &range.multirange_array_name, it.schema, it.owner, rows);
                if is_wide { WIDE_RANGE } else { RANGE }
            }
            TypeKind::Domain(domain) => {
                let over = domain.over;
                let base = type_row(over);
                array = TypeRow { align: if is_wide(over) { "d" } else { "i" }, collation: base.collation, ..array };
                kept = Kept {
                    class: 0,
                    not_null: domain.not_null,
                    over: over.oid(),
                    modifier: over.typmod(),
                    default: view.domain_default(it),
                    dimensions: i32::from(over.is_array()),
                    acl: None,
                };
                TypeRow {
                    kind: "d",
                    preferred: false,
                    subscript: 0,
                    element: 0,
                    input: 2597,
                    receive: 2598,
                    modifier_in: 0,
                    modifier_out: 0,
                    ..*base
                }
            }
            TypeKind::Composite(_) => {
                array = TypeRow { align: "d", ..array };
                kept.class = it.class_id();
                COMPOSITE
            }
        };
        kept.acl = acl_of(view, it.id);
        let made = TypeRow { oid: it.id, array: it.array_id(), ..made };
        push_type_with(&made, &it.name, (it.schema, it.owner), kept, rows);
        let array = TypeRow { oid: it.array_id(), element: it.id, ..array };
        push_type(&array, &it.array_name, it.schema, it.owner, rows);
    }
    for relation in view.relations() {
        let owner = match relation {
            Relation::Table(it) => it.owner,
            Relation::View(it) => it.owner,
            Relation::Sequence(it) => it.owner,
        };
        let (oid, place) = (row_type_oid(relation.id()), (relation.schema(), owner));
        let kept = Kept { class: relation.id(), ..Kept::default() };
        // Sequences have no arrays of their rows.
        let has_arrays = !matches!(relation, Relation::Sequence(_));
        push_type_with(&TypeRow { oid, array: if has_arrays { oid + 1 } else { 0 }, ..COMPOSITE }, relation.name(), place, kept, rows);
        if has_arrays {
            let array = TypeRow { oid: oid + 1, element: oid, align: "d", ..ARRAY_OF_ENUM };
            push_type_with(&array, &format!("_{}", relation.name()), place, Kept::default(), rows);
        }
    }
}

fn push_range(of: RangeType, difference: u32, rows: &mut Rows) {
    let canonical = match of {
        RangeType::Int4 => 3914,
        RangeType::Int8 => 3928,
        RangeType::Date => 3915,
        RangeType::Numeric | RangeType::Timestamp | RangeType::TimestampTz | RangeType::Made(_) => 0,
    };
    row!(rows, {
        rngtypid: of.oid(),
        rngsubtype: of.subtype(),
        rngmultitypid: of.multirange_oid(),
        rngcollation: type_row(of.subtype()).collation,
        rngsubopc: operator_class(of.subtype()).map_or(0, |class| class.oid),
        rngcanonical: canonical,
        rngsubdiff: difference,
    });
}

fn fixed_ranges(rows: &mut Rows) {
    for of in RangeType::BUILT_IN {
        let difference = match of {
            RangeType::Int4 => 3922,
            RangeType::Int8 => 3923,
            RangeType::Numeric => 3924,
            RangeType::Date => 3925,
            RangeType::Timestamp => 3929,
            RangeType::TimestampTz => 3930,
            RangeType::Made(_) => 0,
        };
        push_range(*of, difference, rows);
    }
}

fn pg_range(view: &Scope<'_>, rows: &mut Rows) {
    for it in view.types() {
        let made = view.catalog.user_type(it.id).and_then(|made| made.ty.range_type());
        if let (Some(range), Some(of)) = (it.range(), made) {
            push_range(of, range.subtype_diff.unwrap_or(0), rows);
        }
    }
}

fn pg_enum(view: &Scope<'_>, rows: &mut Rows) {
    for it in view.types() {
        for label in it.labels() {
            row!(rows, {
                oid: label.oid,
                enumtypid: it.id,
                enumsortorder: f64::from(label.order),
                enumlabel: &label.text,
            });
        }
    }
}

/// What domains and composite types have beyond other types.
struct Kept {
    /// The oid of the row in `pg_class`.
    class: u32,
    not_null: bool,
    over: u32,
    modifier: i32,
    default: Option<String>,
    dimensions: i32,
    acl: Option<Vec<String>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { class: 0, not_null: false, over: 0, modifier: -1, default: None, dimensions: 0, acl: None }
    }
}

fn push_type(ty: &TypeRow, name: &str, schema: u32, owner: u32, rows: &mut Rows) {
    push_type_with(ty, name, (schema, owner), Kept::default(), rows);
}

fn push_type_with(ty: &TypeRow, name: &str, (schema, owner): (u32, u32), kept: Kept, rows: &mut Rows) {
    row!(rows, {
        oid: ty.oid,
        typname: name,
        typnamespace: schema,
        typowner: owner,
        typlen: ty.length,
        typbyval: ty.by_value,
        typtype: ty.kind,
        typcategory: ty.category,
        typispreferred: ty.preferred,
        typisdefined: true,
        typdelim: ty.delimiter,
        typrelid: kept.class,
        typsubscript: ty.subscript,
        typelem: ty.element,
        typarray: ty.array,
        typinput: ty.input,
        typoutput: ty.output,
        typreceive: ty.receive,
        typsend: ty.send,
        typmodin: ty.modifier_in,
        typmodout: ty.modifier_out,
        typanalyze: 0,
        typalign: ty.align,
        typstorage: ty.storage,
        typnotnull: kept.not_null,
        typbasetype: kept.over,
        typtypmod: kept.modifier,
        typndims: kept.dimensions,
        typacl: kept.acl,
        typcollation: ty.collation,
        typdefaultbin: kept.default.as_ref(),
        typdefault: kept.default.as_ref(),
    });
}

fn pg_collation(rows: &mut Rows) {
    // Everything is ordered by bytes, whatever the name.
    for (oid, name, provider, locale) in
        [(100, "default", 'd', None), (950, "C", 'c', Some("C")), (951, "POSIX", 'c', Some("POSIX"))]
    {
        row!(rows, {
            oid: oid,
            collname: name,
            collnamespace: PG_CATALOG_SCHEMA,
            collowner: POSTGRES_ROLE,
            collprovider: provider,
            collisdeterministic: true,
            collencoding: -1,
            collcollate: locale,
            collctype: locale,
        });
    }
}

/// A btree operator class: how values of a type are ordered in an index.
#[derive(Debug)]
pub(super) struct OperatorClass {
    pub oid: u32,
    name: &'static str,
    family: u32,
    family_name: &'static str,
    input: u32,
}

const fn class(oid: u32, name: &'static str, family: u32, family_name: &'static str, input: u32) -> OperatorClass {
    OperatorClass { oid, name, family, family_name, input }
}

/// The default classes of the types there are.
static OPERATOR_CLASSES: [OperatorClass; 41] = [
    class(10_003, "bool_ops", 424, "bool_ops", 16),
    class(10_006, "bytea_ops", 428, "bytea_ops", 17),
    class(10_007, "char_ops", 429, "char_ops", 18),
    class(10_028, "name_ops", 1994, "text_ops", 19),
    class(3124, "int8_ops", 1976, "integer_ops", 20),
    class(1979, "int2_ops", 1976, "integer_ops", 21),
    class(1978, "int4_ops", 1976, "integer_ops", 23),
    class(3126, "text_ops", 1994, "text_ops", 25),
    class(1981, "oid_ops", 1989, "oid_ops", 26),
    class(10_032, "oidvector_ops", 1991, "oidvector_ops", 30),
    class(10_012, "float4_ops", 1970, "float_ops", 700),
    class(3123, "float8_ops", 1970, "float_ops", 701),
    class(10_004, "bpchar_ops", 426, "bpchar_ops", 1042),
    class(3122, "date_ops", 434, "datetime_ops", 1082),
    class(10_038, "time_ops", 1996, "time_ops", 1083),
    class(3128, "timestamp_ops", 434, "datetime_ops", 1114),
    class(3127, "timestamptz_ops", 434, "datetime_ops", 1184),
    class(10_022, "interval_ops", 1982, "interval_ops", 1186),
    class(10_041, "timetz_ops", 2000, "timetz_ops", 1266),
    class(3125, "numeric_ops", 1988, "numeric_ops", 1700),
    class(10_034, "record_ops", 2994, "record_ops", 2249),
    class(10_000, "array_ops", 397, "array_ops", 2277),
    class(10_069, "enum_ops", 3522, "enum_ops", 3500),
    class(10_076, "range_ops", 3901, "range_ops", 3831),
    class(10_080, "multirange_ops", 4199, "multirange_ops", 4537),
    class(10_065, "uuid_ops", 2968, "uuid_ops", 2950),
    class(10_015, "inet_ops", 1974, "network_ops", 869),
    class(10_024, "macaddr_ops", 1984, "macaddr_ops", 829),
    class(10_026, "macaddr8_ops", 3371, "macaddr8_ops", 774),
    class(10_002, "bit_ops", 423, "bit_ops", 1560),
    class(10_043, "varbit_ops", 2002, "varbit_ops", 1562),
    class(10_047, "money_ops", 2099, "money_ops", 790),
    class(10_053, "xid8_ops", 5067, "xid8_ops", 5069),
    class(10_067, "pg_lsn_ops", 3253, "pg_lsn_ops", 3220),
    class(10_071, "tsvector_ops", 3626, "tsvector_ops", 3614),
    class(10_074, "tsquery_ops", 3683, "tsquery_ops", 3615),
    class(10_088, "jsonb_ops", 4033, "jsonb_ops", 3802),
    class(10_044, "varchar_ops", 1994, "text_ops", 25),
    class(4217, "text_pattern_ops", 2095, "text_pattern_ops", 25),
    class(4218, "varchar_pattern_ops", 2095, "text_pattern_ops", 25),
    class(4219, "bpchar_pattern_ops", 2097, "bpchar_pattern_ops", 1042),
];

/// Of inverted indexes: also the type of their keys, and whether it is its type's default.
static GIN_CLASSES: [(OperatorClass, u32, bool); 4] = [
    (class(10_064, "array_ops", 2745, "array_ops", 2277), 2283, true),
    (class(10_090, "jsonb_ops", 4036, "jsonb_ops", 3802), 25, true),
    (class(10_091, "jsonb_path_ops", 4037, "jsonb_path_ops", 3802), 23, false),
    (class(10_073, "tsvector_ops", 3659, "tsvector_ops", 3614), 25, true),
];

/// The oid of the class of a column of an index, by its place in the key.
pub(super) fn index_class(index: &Index, place: usize, ty: SqlType) -> u32 {
    let gin = match index.details.inverted.get(place) {
        Some(KeyClass::Array) => Some(0),
        Some(KeyClass::Jsonb) => Some(1),
        Some(KeyClass::JsonbPath) => Some(2),
        Some(KeyClass::TsVector) => Some(3),
        Some(KeyClass::Whole) | None => None,
    };
    match gin {
        Some(at) => GIN_CLASSES[at].0.oid,
        None if index.string_class(place).oid() != 0 => index.string_class(place).oid(),
        None => operator_class(ty).map_or(0, |class| class.oid),
    }
}

/// Whether there is an operator class of this name.
#[must_use]
pub fn is_operator_class(name: &str) -> bool {
    OPERATOR_CLASSES.iter().any(|class| class.name == name)
}

/// Only the first class of a type is its default.
fn is_default(class: &OperatorClass) -> bool {
    OPERATOR_CLASSES.iter().find(|other| other.input == class.input).is_some_and(|first| first.oid == class.oid)
}

/// How an index orders a column of this type.
pub(super) fn operator_class(ty: SqlType) -> Option<&'static OperatorClass> {
    let input = match ty {
        SqlType::Varchar(_) => SqlType::Text,
        SqlType::Array(_) => SqlType::AnyArray,
        SqlType::Enum(_) => SqlType::AnyEnum,
        SqlType::Range(_) => SqlType::AnyRange,
        SqlType::MultiRange(_) => SqlType::AnyMultiRange,
        SqlType::Composite(_) => SqlType::RECORD,
        SqlType::Domain(_) => return operator_class(ty.base()),
        reg if reg.is_reg() => SqlType::Oid,
        other => other,
    };
    OPERATOR_CLASSES.iter().find(|class| class.input == input.oid())
}

fn pg_opclass(rows: &mut Rows) {
    for class in &OPERATOR_CLASSES {
        row!(rows, {
            oid: class.oid,
            opcmethod: BTREE,
            opcname: class.name,
            opcnamespace: PG_CATALOG_SCHEMA,
            opcowner: POSTGRES_ROLE,
            opcfamily: class.family,
            opcintype: class.input,
            opcdefault: is_default(class),
            opckeytype: 0,
        });
    }
    for (class, key_type, is_default) in &GIN_CLASSES {
        row!(rows, {
            oid: class.oid,
            opcmethod: IndexMethod::Gin.oid(),
            opcname: class.name,
            opcnamespace: PG_CATALOG_SCHEMA,
            opcowner: POSTGRES_ROLE,
            opcfamily: class.family,
            opcintype: class.input,
            opcdefault: *is_default,
            opckeytype: *key_type,
        });
    }
}

fn pg_opfamily(rows: &mut Rows) {
    let of = |class: &OperatorClass, method: u32| (class.family, class.family_name, method);
    let mut families: Vec<(u32, &str, u32)> = OPERATOR_CLASSES.iter().map(|it| of(it, BTREE)).collect();
    families.extend(GIN_CLASSES.iter().map(|(class, ..)| of(class, IndexMethod::Gin.oid())));
    families.sort_unstable();
    families.dedup();
    for (oid, name, method) in families {
        row!(rows, {
            oid: oid,
            opfmethod: method,
            opfname: name,
            opfnamespace: PG_CATALOG_SCHEMA,
            opfowner: POSTGRES_ROLE,
        });
    }
}

/// Casts have no oids of their own here: they are counted from 10 000, as in PostgreSQL.
fn pg_cast(rows: &mut Rows) {
    let mut oid = 10_000_u32;
    let scalars = SqlType::scalars().iter().filter(|ty| !ty.is_pseudo() && **ty != SqlType::Unknown);
    for (from, to) in scalars.clone().flat_map(|from| scalars.clone().map(move |to| (from, to))) {
        if from == to || !::types::is_listed_cast(from, to) {
            continue;
        }
        let Some(context) = can_cast(from, to) else { continue };
        row!(rows, {
            oid: oid,
            castsource: *from,
            casttarget: *to,
            castfunc: 0,
            castcontext: match context {
                CastContext::Implicit => 'i',
                CastContext::Assignment => 'a',
                CastContext::Explicit => 'e',
            },
            castmethod: 'i',
        });
        oid += 1;
    }
}

fn pg_operator(rows: &mut Rows) {
    let mut known: FxHashMap<(&str, u32, u32), u32> = FxHashMap::default();
    let operands = |operator: &builtins::Operator| match operator.function.signature.args {
        [right] => (0, first_arg(*right)),
        [left, right] => (first_arg(*left), first_arg(*right)),
        _ => (0, 0),
    };
    for operator in builtins::all_operators().chain(builtins::listed_operators()) {
        let (left, right) = operands(operator);
        known.entry((operator.symbol, left, right)).or_insert(operator.oid);
    }
    for operator in builtins::all_operators().chain(builtins::listed_operators()) {
        let (left, right) = operands(operator);
        let other = |symbol: Option<&'static str>, left, right| {
            symbol.and_then(|symbol| known.get(&(symbol, left, right)).copied()).unwrap_or(0)
        };
        row!(rows, {
            oid: operator.oid,
            oprname: operator.symbol,
            oprnamespace: PG_CATALOG_SCHEMA,
            oprowner: POSTGRES_ROLE,
            oprkind: if left == 0 { 'l' } else { 'b' },
            oprcanmerge: operator.symbol == "=",
            oprcanhash: operator.symbol == "=",
            oprleft: left,
            oprright: right,
            oprresult: fixed_type(operator.function.signature.ret, operator.function.signature.args),
            oprcom: other(operator.commutator, right, left),
            oprnegate: other(operator.negator, left, right),
            oprcode: operator.function.oid,
            oprrest: 0,
            oprjoin: 0,
        });
    }
}
