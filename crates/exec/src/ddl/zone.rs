//! ALTER … CONFIGURE ZONE: a change of what a table, an index, a database or the cluster says of how its keys are kept.

use std::sync::Arc;

use catalog::{CatalogSnapshot, Descriptor, ZoneTarget};
use keys::{SpanConfig, ZoneConfig};
use plan::statement::ZoneChange;
use ::types::{SqlError, SqlResult, SqlState};

use super::DdlContext;

pub(super) fn configure(target: ZoneTarget, change: &ZoneChange, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let catalog = ctx.change.snapshot();
    let zone = match change {
        ZoneChange::Discard => ZoneConfig::default(),
        ZoneChange::Set { set, cleared } => {
            let mut own = catalog.own_zone(target);
            cleared.iter().for_each(|field| own.clear(*field));
            set.over(&own)
        }
    };
    check(target, &zone, catalog)?;
    put(target, zone, ctx)
}

/// Whether a configuration can hold, over what is around it.
fn check(target: ZoneTarget, zone: &ZoneConfig, catalog: &CatalogSnapshot) -> SqlResult<()> {
    let above = catalog.zone_above(target).map(|above| catalog.zone_of(above)).unwrap_or_default();
    zone.over(&above).check(&SpanConfig::default()).map_err(|error| {
        SqlError::new(SqlState::CheckViolation, format!("could not validate zone config: {error}"))
    })
}

fn put(target: ZoneTarget, zone: ZoneConfig, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    match target {
        ZoneTarget::Default | ZoneTarget::Database(_) => {
            let mut settings = ctx.change.snapshot().cluster().settings.clone();
            match target {
                ZoneTarget::Database(id) => settings.parts.zones.set_database(id, zone),
                _ => settings.parts.zones.default = zone,
            }
            ctx.change.put(ctx.txn, Descriptor::Cluster(settings));
        }
        ZoneTarget::Table(id) | ZoneTarget::Index { table: id, .. } => {
            let mut table = (*ctx.table(id)?).clone();
            let mut zones = table.zones.as_deref().map(|zones| zones.of_indexes_in(&table)).unwrap_or_default();
            match target {
                ZoneTarget::Index { oid, .. } => {
                    let index = table.indexes.iter().find(|index| index.oid == oid).ok_or_else(|| {
                        SqlError::new(SqlState::UndefinedObject, format!("index with OID {oid} does not exist"))
                    })?;
                    zones.set_index(index.id, zone);
                }
                _ => zones.table = zone,
            }
            table.zones = (!zones.is_empty()).then(|| Arc::new(zones));
            ctx.put_table(table);
        }
    }
    Ok(())
}

/// A database that is dropped has no configuration.
pub(super) fn forget_database(id: u32, ctx: &mut DdlContext<'_>) {
    let mut settings = ctx.change.snapshot().cluster().settings.clone();
    if !settings.parts.zones.database(id).is_empty() {
        settings.parts.zones.set_database(id, ZoneConfig::default());
        ctx.change.put(ctx.txn, Descriptor::Cluster(settings));
    }
}
