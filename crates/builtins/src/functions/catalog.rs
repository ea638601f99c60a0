//! Functions that the system catalog answers: each hands its name and arguments to [`crate::CatalogFunctions`].
//! Documentation, section 9.26.

use types::{Datum, SqlError, SqlResult, SqlState, SqlType};

use crate::EvalContext;
use crate::arguments::array;
use crate::signature::{ArgType, Builtin, CallTypes, RetType, SetFunction};

const TEXT: ArgType = ArgType::T(SqlType::Text);
const NAME: ArgType = ArgType::T(SqlType::Name);
const OID: ArgType = ArgType::T(SqlType::Oid);
const I2: ArgType = ArgType::T(SqlType::Int2);
const I4: ArgType = ArgType::T(SqlType::Int4);
const I8: ArgType = ArgType::T(SqlType::Int8);
const BOOLEAN: ArgType = ArgType::T(SqlType::Bool);
const CLASS: ArgType = ArgType::T(SqlType::RegClass);
const TREE: ArgType = ArgType::T(SqlType::PgNodeTree);
const TEXTS: ArgType = ArgType::T(SqlType::TEXT_ARRAY);
const R_TEXT: RetType = RetType::T(SqlType::Text);
const R_NAME: RetType = RetType::T(SqlType::Name);
const R_BOOL: RetType = RetType::T(SqlType::Bool);
const R_I4: RetType = RetType::T(SqlType::Int4);
const R_I8: RetType = RetType::T(SqlType::Int8);

fn never_scalar(_: &EvalContext<'_>, _: &CallTypes, _: &[Datum]) -> SqlResult<Datum> {
    Err(SqlError::internal("a set-returning function was called as a scalar"))
}

/// `name=value`, as options are kept.
fn option(item: &Datum) -> Vec<Datum> {
    match item.as_str().map(|text| text.split_once('=').ok_or(text)) {
        Some(Ok((name, value))) => vec![Datum::text(name), Datum::text(value)],
        Some(Err(name)) => vec![Datum::text(name), Datum::Null],
        None => vec![Datum::Null, Datum::Null],
    }
}

/// One row for each letter of an access control item, `grantee=letters/grantor`; a star after a letter: it may be
/// granted on.
fn explode(context: &EvalContext<'_>, item: &str, rows: &mut Vec<Vec<Datum>>) -> SqlResult<()> {
    let parsed = item.split_once('=').and_then(|(grantee, rest)| Some((grantee, rest.split_once('/')?)));
    let Some((grantee, (letters, grantor))) = parsed else {
        return Err(SqlError::new(SqlState::InvalidParameterValue, format!("invalid access control item: \"{item}\"")));
    };
    let role = |name: &str| match name {
        // Everybody.
        "" => Ok(Datum::Int(0)),
        name => context.catalog.call("to_regrole", &[Datum::text(name)]),
    };
    let (grantee, grantor) = (role(grantee)?, role(grantor)?);
    let mut letters = letters.chars().peekable();
    while let Some(letter) = letters.next() {
        let privilege = match letter {
            'a' => "INSERT",
            'r' => "SELECT",
            'w' => "UPDATE",
            'd' => "DELETE",
            'D' => "TRUNCATE",
            'x' => "REFERENCES",
            't' => "TRIGGER",
            'X' => "EXECUTE",
            'U' => "USAGE",
            'C' => "CREATE",
            'T' => "TEMPORARY",
            'c' => "CONNECT",
            's' => "SET",
            'A' => "ALTER SYSTEM",
            _ => continue,
        };
        let grantable = letters.next_if_eq(&'*').is_some();
        rows.push(vec![grantor.clone(), grantee.clone(), Datum::text(privilege), Datum::Bool(grantable)]);
    }
    Ok(())
}

macro_rules! asks_catalog {
    ($([$name:literal, $oid:literal, $args:expr, $ret:expr];)*) => {
        &[$(Builtin::pure($name, $oid, $args, $ret, |context, _, a| context.catalog.call($name, a)).stable(),)*
            Builtin::pure("format_type", 1081, &[OID, I4], R_TEXT, |context, _, a| {
                if a[0].is_null() { Ok(Datum::Null) } else { context.catalog.call("format_type", a) }
            }).null_aware().stable(),
            Builtin::pure("pg_options_to_table", 2289, &[TEXTS], RetType::T(SqlType::RECORD), never_scalar)
                .stable()
                .returning_set(SetFunction {
                    columns: &[("option_name", SqlType::Text), ("option_value", SqlType::Text)],
                    eval: |_, _, a| Ok(array(&a[0]).elements().iter().map(option).collect()),
                }),
            Builtin::pure("aclexplode", 1689, &[TEXTS], RetType::T(SqlType::RECORD), never_scalar)
                .stable()
                .returning_set(SetFunction {
                    columns: &[
                        ("grantor", SqlType::Oid),
                        ("grantee", SqlType::Oid),
                        ("privilege_type", SqlType::Text),
                        ("is_grantable", SqlType::Bool),
                    ],
                    eval: |context, _, a| {
                        let mut rows = Vec::new();
                        for item in array(&a[0]).elements().iter().filter_map(Datum::as_str) {
                            explode(context, item, &mut rows)?;
                        }
                        Ok(rows.into_iter().collect())
                    },
                }),
            Builtin::pure("pg_partition_ancestors", 3425, &[CLASS], RetType::T(SqlType::RegClass), never_scalar)
                .stable()
                .returning_set(SetFunction {
                    columns: &[("relid", SqlType::RegClass)],
                    eval: |context, _, a| {
                        let found = context.catalog.call("pg_partition_ancestors", a)?;
                        Ok(array(&found).elements().iter().map(|oid| vec![oid.clone()]).collect())
                    },
                }),
            Builtin::pure("pg_partition_tree", 3423, &[CLASS], RetType::T(SqlType::RECORD), never_scalar)
                .stable()
                .returning_set(SetFunction {
                    columns: &[
                        ("relid", SqlType::RegClass),
                        ("parentrelid", SqlType::RegClass),
                        ("isleaf", SqlType::Bool),
                        ("level", SqlType::Int4),
                    ],
                    eval: |context, _, a| {
                        let found = context.catalog.call("pg_partition_tree", a)?;
                        let row = |row: &Datum| match row {
                            Datum::Record(fields) => fields.to_vec(),
                            other => vec![other.clone()],
                        };
                        Ok(array(&found).elements().iter().map(row).collect())
                    },
                }),
        ]
    };
}

pub(super) static FUNCTIONS: &[Builtin] = asks_catalog! {
    ["pg_get_indexdef", 1643, &[OID], R_TEXT];
    ["pg_get_indexdef", 2507, &[OID, I4, BOOLEAN], R_TEXT];
    ["pg_get_constraintdef", 1387, &[OID], R_TEXT];
    ["pg_get_constraintdef", 2508, &[OID, BOOLEAN], R_TEXT];
    ["pg_get_expr", 1716, &[TREE, OID], R_TEXT];
    ["pg_get_expr", 2509, &[TREE, OID, BOOLEAN], R_TEXT];
    ["pg_get_viewdef", 1641, &[OID], R_TEXT];
    ["pg_get_viewdef", 2506, &[OID, BOOLEAN], R_TEXT];
    ["pg_get_ruledef", 1573, &[OID], R_TEXT];
    ["pg_get_ruledef", 2504, &[OID, BOOLEAN], R_TEXT];
    ["pg_get_triggerdef", 1662, &[OID], R_TEXT];
    ["pg_get_triggerdef", 2730, &[OID, BOOLEAN], R_TEXT];
    ["pg_get_functiondef", 2098, &[OID], R_TEXT];
    ["pg_get_function_result", 2165, &[OID], R_TEXT];
    ["pg_get_function_arguments", 2162, &[OID], R_TEXT];
    ["pg_get_function_identity_arguments", 2232, &[OID], R_TEXT];
    ["pg_get_function_sqlbody", 6197, &[OID], R_TEXT];
    ["pg_get_partkeydef", 3352, &[OID], R_TEXT];
    ["pg_get_partition_constraintdef", 3408, &[OID], R_TEXT];
    ["pg_partition_root", 3424, &[CLASS], RetType::T(SqlType::RegClass)];
    ["pg_get_statisticsobjdef", 3415, &[OID], R_TEXT];
    ["pg_get_statisticsobjdef_columns", 6174, &[OID], R_TEXT];
    ["pg_get_serial_sequence", 1665, &[TEXT, TEXT], R_TEXT];
    ["pg_get_userbyid", 1642, &[OID], R_NAME];
    ["pg_table_is_visible", 2079, &[OID], R_BOOL];
    ["pg_type_is_visible", 2080, &[OID], R_BOOL];
    ["pg_function_is_visible", 2081, &[OID], R_BOOL];
    ["pg_operator_is_visible", 2082, &[OID], R_BOOL];
    ["pg_opclass_is_visible", 2083, &[OID], R_BOOL];
    ["pg_collation_is_visible", 3815, &[OID], R_BOOL];
    ["pg_conversion_is_visible", 2093, &[OID], R_BOOL];
    ["pg_statistics_obj_is_visible", 3403, &[OID], R_BOOL];
    ["pg_ts_config_is_visible", 3758, &[OID], R_BOOL];
    ["pg_ts_dict_is_visible", 3757, &[OID], R_BOOL];
    ["pg_ts_parser_is_visible", 3756, &[OID], R_BOOL];
    ["pg_ts_template_is_visible", 3768, &[OID], R_BOOL];
    ["pg_opfamily_is_visible", 3829, &[OID], R_BOOL];
    ["pg_get_function_arg_default", 3808, &[OID, I4], R_TEXT];
    ["acldefault", 3943, &[ArgType::T(SqlType::QuotedChar), OID], RetType::T(SqlType::TEXT_ARRAY)];
    ["pg_encoding_to_char", 1597, &[I4], R_NAME];
    ["pg_char_to_encoding", 1264, &[NAME], R_I4];
    ["obj_description", 1215, &[OID, NAME], R_TEXT];
    ["obj_description", 1348, &[OID], R_TEXT];
    ["col_description", 1216, &[OID, I4], R_TEXT];
    ["shobj_description", 1993, &[OID, NAME], R_TEXT];
    ["to_regclass", 3495, &[TEXT], RetType::T(SqlType::RegClass)];
    ["to_regtype", 3493, &[TEXT], RetType::T(SqlType::RegType)];
    ["to_regproc", 3494, &[TEXT], RetType::T(SqlType::RegProc)];
    ["to_regnamespace", 4086, &[TEXT], RetType::T(SqlType::RegNamespace)];
    ["to_regrole", 4093, &[TEXT], RetType::T(SqlType::RegRole)];
    ["has_table_privilege", 1926, &[TEXT, TEXT], R_BOOL];
    ["has_table_privilege", 1927, &[OID, TEXT], R_BOOL];
    ["has_table_privilege", 1922, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_table_privilege", 1923, &[NAME, OID, TEXT], R_BOOL];
    ["has_any_column_privilege", 3028, &[TEXT, TEXT], R_BOOL];
    ["has_any_column_privilege", 3029, &[OID, TEXT], R_BOOL];
    ["has_column_privilege", 3020, &[TEXT, TEXT, TEXT], R_BOOL];
    ["has_column_privilege", 3023, &[OID, I2, TEXT], R_BOOL];
    ["has_schema_privilege", 2272, &[TEXT, TEXT], R_BOOL];
    ["has_schema_privilege", 2273, &[OID, TEXT], R_BOOL];
    ["has_schema_privilege", 2268, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_schema_privilege", 2269, &[NAME, OID, TEXT], R_BOOL];
    ["has_database_privilege", 2254, &[TEXT, TEXT], R_BOOL];
    ["has_database_privilege", 2255, &[OID, TEXT], R_BOOL];
    ["has_database_privilege", 2250, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_database_privilege", 2251, &[NAME, OID, TEXT], R_BOOL];
    ["has_sequence_privilege", 2185, &[TEXT, TEXT], R_BOOL];
    ["has_sequence_privilege", 2186, &[OID, TEXT], R_BOOL];
    ["has_function_privilege", 2261, &[OID, TEXT], R_BOOL];
    ["has_type_privilege", 3143, &[OID, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2395, &[OID, TEXT], R_BOOL];
    ["pg_has_role", 2709, &[NAME, TEXT], R_BOOL];
    ["pg_has_role", 2710, &[OID, TEXT], R_BOOL];
    ["pg_has_role", 2706, &[NAME, OID, TEXT], R_BOOL];
    ["pg_has_role", 2708, &[OID, OID, TEXT], R_BOOL];
    ["has_any_column_privilege", 3026, &[OID, TEXT, TEXT], R_BOOL];
    ["has_any_column_privilege", 3027, &[OID, OID, TEXT], R_BOOL];
    ["has_column_privilege", 3013, &[NAME, TEXT, I2, TEXT], R_BOOL];
    ["has_column_privilege", 3014, &[NAME, OID, TEXT, TEXT], R_BOOL];
    ["has_column_privilege", 3016, &[OID, TEXT, TEXT, TEXT], R_BOOL];
    ["has_column_privilege", 3017, &[OID, TEXT, I2, TEXT], R_BOOL];
    ["has_column_privilege", 3018, &[OID, OID, TEXT, TEXT], R_BOOL];
    ["has_column_privilege", 3019, &[OID, OID, I2, TEXT], R_BOOL];
    ["has_function_privilege", 2258, &[OID, TEXT, TEXT], R_BOOL];
    ["has_function_privilege", 2259, &[OID, OID, TEXT], R_BOOL];
    ["has_language_privilege", 2262, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_language_privilege", 2263, &[NAME, OID, TEXT], R_BOOL];
    ["has_language_privilege", 2264, &[OID, TEXT, TEXT], R_BOOL];
    ["has_language_privilege", 2265, &[OID, OID, TEXT], R_BOOL];
    ["has_language_privilege", 2266, &[TEXT, TEXT], R_BOOL];
    ["has_language_privilege", 2267, &[OID, TEXT], R_BOOL];
    ["has_sequence_privilege", 2183, &[OID, TEXT, TEXT], R_BOOL];
    ["has_sequence_privilege", 2184, &[OID, OID, TEXT], R_BOOL];
    ["has_type_privilege", 3140, &[OID, TEXT, TEXT], R_BOOL];
    ["has_type_privilege", 3141, &[OID, OID, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2390, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2391, &[NAME, OID, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2392, &[OID, TEXT, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2393, &[OID, OID, TEXT], R_BOOL];
    ["has_table_privilege", 1924, &[OID, TEXT, TEXT], R_BOOL];
    ["has_table_privilege", 1925, &[OID, OID, TEXT], R_BOOL];
    ["has_any_column_privilege", 3024, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_any_column_privilege", 3025, &[NAME, OID, TEXT], R_BOOL];
    ["has_column_privilege", 3012, &[NAME, TEXT, TEXT, TEXT], R_BOOL];
    ["has_column_privilege", 3015, &[NAME, OID, I2, TEXT], R_BOOL];
    ["has_column_privilege", 3021, &[TEXT, I2, TEXT], R_BOOL];
    ["has_column_privilege", 3022, &[OID, TEXT, TEXT], R_BOOL];
    ["has_schema_privilege", 2270, &[OID, TEXT, TEXT], R_BOOL];
    ["has_schema_privilege", 2271, &[OID, OID, TEXT], R_BOOL];
    ["has_database_privilege", 2252, &[OID, TEXT, TEXT], R_BOOL];
    ["has_database_privilege", 2253, &[OID, OID, TEXT], R_BOOL];
    ["has_function_privilege", 2256, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_function_privilege", 2257, &[NAME, OID, TEXT], R_BOOL];
    ["has_function_privilege", 2260, &[TEXT, TEXT], R_BOOL];
    ["has_sequence_privilege", 2181, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_sequence_privilege", 2182, &[NAME, OID, TEXT], R_BOOL];
    ["has_type_privilege", 3138, &[NAME, TEXT, TEXT], R_BOOL];
    ["has_type_privilege", 3139, &[NAME, OID, TEXT], R_BOOL];
    ["has_type_privilege", 3142, &[TEXT, TEXT], R_BOOL];
    ["has_tablespace_privilege", 2394, &[TEXT, TEXT], R_BOOL];
    ["pg_has_role", 2705, &[NAME, NAME, TEXT], R_BOOL];
    ["pg_has_role", 2707, &[OID, NAME, TEXT], R_BOOL];
    ["pg_get_viewdef", 1640, &[TEXT], R_TEXT];
    ["pg_get_viewdef", 2505, &[TEXT, BOOLEAN], R_TEXT];
    ["pg_get_viewdef", 3159, &[OID, I4], R_TEXT];
    ["row_security_active", 3299, &[TEXT], R_BOOL];
    ["row_security_active", 3298, &[OID], R_BOOL];
    ["pg_relation_size", 2325, &[CLASS], R_I8];
    ["pg_relation_size", 2332, &[CLASS, TEXT], R_I8];
    ["pg_table_size", 2997, &[CLASS], R_I8];
    ["pg_indexes_size", 2998, &[CLASS], R_I8];
    ["pg_total_relation_size", 2286, &[CLASS], R_I8];
    ["pg_database_size", 2324, &[OID], R_I8];
    ["pg_database_size", 2168, &[NAME], R_I8];
    ["pg_tablespace_size", 2322, &[OID], R_I8];
    ["pg_size_pretty", 2288, &[I8], R_TEXT];
    ["pg_size_pretty", 3166, &[ArgType::T(SqlType::Numeric(None))], R_TEXT];
    ["pg_tablespace_location", 3778, &[OID], R_TEXT];
    ["pg_relation_is_publishable", 6121, &[CLASS], R_BOOL];
    ["pg_relation_is_updatable", 3842, &[CLASS, BOOLEAN], R_I4];
    ["pg_column_is_updatable", 3843, &[CLASS, I2, BOOLEAN], R_BOOL];
    ["pg_my_temp_schema", 2854, &[], RetType::T(SqlType::Oid)];
    ["pg_is_other_temp_schema", 2855, &[OID], R_BOOL];
    ["pg_postmaster_start_time", 2560, &[], RetType::T(SqlType::TIMESTAMPTZ)];
    ["pg_conf_load_time", 2034, &[], RetType::T(SqlType::TIMESTAMPTZ)];
    ["pg_filenode_relation", 3454, &[OID, OID], RetType::T(SqlType::RegClass)];
    ["txid_current", 2943, &[], R_I8];
};
