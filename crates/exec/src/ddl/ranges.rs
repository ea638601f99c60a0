//! CREATE TYPE … AS RANGE: the range type, and the multirange type that goes with it.

use catalog::{Descriptor, RangeOf, TypeKind};
use plan::statement::CreateRange;
use types::{SqlError, SqlResult, SqlState, text::MAX_NAME_BYTES};

use super::DdlContext;

/// The name of a multirange type that was given none.
fn name_of_multirange(name: &str) -> String {
    let (made, kept) = match name.find("range") {
        Some(at) => (format!("{}multirange{}", &name[..at], &name[at + "range".len()..]), MAX_NAME_BYTES),
        None => {
            let kept = name.floor_char_boundary(MAX_NAME_BYTES - "_multirange".len());
            (format!("{}_multirange", &name[..kept]), MAX_NAME_BYTES)
        }
    };
    made[..made.floor_char_boundary(kept)].to_owned()
}

pub(super) async fn create(spec: &CreateRange, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let schema = ctx.schema_of(spec.home).await?;
    ctx.make_type_name_free(schema, &spec.name)?;
    let multirange_name = match &spec.multirange_name {
        Some(given) => {
            if *given == spec.name {
                return Err(SqlError::new(SqlState::DuplicateObject, format!("type \"{given}\" already exists")));
            }
            ctx.make_type_name_free(schema, given)?;
            given.clone()
        }
        None => {
            let made = name_of_multirange(&spec.name);
            ctx.make_type_name_free(schema, &made).map_err(|error| {
                let detail = format!("Failed while creating a multirange type for type \"{}\".", spec.name);
                let hint = "You can manually specify a multirange type name using the \"multirange_type_name\" attribute.";
                error.with_detail(detail).with_hint(hint)
            })?;
            made
        }
    };
    // Its own, that of its arrays, and those of the multirange type.
    let id = ctx.new_ids(4).await?;
    let range = RangeOf {
        subtype: spec.subtype,
        multirange_array_name: ctx.array_name(schema, &multirange_name, &[]),
        multirange_name,
        subtype_diff: spec.subtype_diff,
    };
    let made = ctx.new_type(id, schema, &spec.name, TypeKind::Range(range));
    ctx.change.put(ctx.txn, Descriptor::Type(made));
    Ok(())
}
