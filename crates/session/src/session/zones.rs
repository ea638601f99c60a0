//! SHOW ZONE CONFIGURATION: what holds of an object, and which statement would say so.

use catalog::{CatalogSnapshot, ZoneTarget};
use keys::{SpanConfig, ZoneConfig, zone::ZoneField};
use plan::PreparedPlan;
use types::{Batch, Datum, SqlResult, quote_identifier};

use super::{Completion, Session};
use crate::sink::{Sink, send};

impl Session {
    /// None: those that say something themselves, the default first.
    pub(super) async fn show_zones(
        &mut self,
        target: Option<ZoneTarget>,
        plan: &PreparedPlan,
        sink: &mut dyn Sink,
        describe: bool,
    ) -> SqlResult<Completion> {
        let catalog = self.environment().view.catalog.clone();
        let rows: Vec<Vec<Datum>> = match target {
            Some(target) => {
                // All of it, under the name of what says some of it.
                let whole = ZoneConfig::from(catalog.zone_of(target).resolve(&SpanConfig::default()));
                vec![row(catalog.zone_source(target), &whole, &catalog)]
            }
            None => {
                let each = catalog.configured_zones(self.database).into_iter();
                each.map(|target| match (target, catalog.own_zone(target)) {
                    (ZoneTarget::Default, own) => row(target, &own.resolve(&SpanConfig::default()).into(), &catalog),
                    (_, own) => row(target, &own, &catalog),
                })
                .collect()
            }
        };
        if describe {
            sink.columns(&plan.columns);
        }
        let types: Vec<types::SqlType> = plan.columns.iter().map(|column| column.ty).collect();
        send(sink, &Batch::from_rows(&types, &rows), 0..rows.len(), &self.settings.formatting).await?;
        Ok(Completion::Done("SHOW".to_owned()))
    }
}

fn row(target: ZoneTarget, zone: &ZoneConfig, catalog: &CatalogSnapshot) -> Vec<Datum> {
    let name = name(target, catalog);
    let settings = ZoneField::ALL.into_iter().filter_map(|field| Some(format!("    {} = {}", field.name(), zone.shown(field)?)));
    let settings: Vec<String> = settings.collect();
    let text = format!("ALTER {name} CONFIGURE ZONE USING\n{}", settings.join(",\n"));
    vec![Datum::text(name), Datum::text(text)]
}

/// As ALTER and SHOW name it.
fn name(target: ZoneTarget, catalog: &CatalogSnapshot) -> String {
    let table_name = |id: u32| {
        let table = catalog.table_by_id(id)?;
        let schema = catalog.schema_by_id(table.schema).map_or("", |schema| schema.name.as_str());
        Some(format!("{}.{}", quote_identifier(schema), quote_identifier(&table.name)))
    };
    let unknown = |id: u32| format!("\"{id}\"");
    match target {
        ZoneTarget::Default => "RANGE default".to_owned(),
        ZoneTarget::Database(id) => {
            let name = catalog.database_by_id(id).map(|it| quote_identifier(&it.name));
            format!("DATABASE {}", name.unwrap_or_else(|| unknown(id)))
        }
        ZoneTarget::Index { table, oid } => {
            let found = catalog.table_by_id(table).and_then(|table| {
                let index = table.indexes.iter().find(|index| index.oid == oid)?;
                let schema = catalog.schema_by_id(table.schema).map_or("", |schema| schema.name.as_str());
                Some(format!("{}.{}", quote_identifier(schema), quote_identifier(&index.name)))
            });
            format!("INDEX {}", found.unwrap_or_else(|| unknown(oid)))
        }
        ZoneTarget::Table(id) => {
            let parent = catalog.table_by_id(id).and_then(|table| table.partitioning.as_ref()?.parent);
            let own = table_name(id).unwrap_or_else(|| unknown(id));
            match parent.and_then(table_name) {
                Some(parent) => format!("PARTITION {own} OF TABLE {parent}"),
                None => format!("TABLE {own}"),
            }
        }
    }
}
