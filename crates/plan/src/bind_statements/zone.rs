//! Zone configurations: names become ids, settings a configuration that is looked at by itself. Whether it can hold with what
//! is around it is found out when it is put there.

use catalog::ZoneTarget;
use keys::zone::{BadZone, ZoneConfig, ZoneField, read_constraints, read_preferences};
use sqlparser::ast;
use ::types::{SqlError, SqlResult, SqlState};

use super::{ddl, find_index, grant, own, text_columns, utility};
use crate::{
    PlanContext,
    bind::{find_table, fold, no_relation},
    parse::own::{ZoneName, ZoneText, ZoneValue},
    statement::{Ddl, PreparedPlan, Utility, ZoneChange},
};

const TAG: &str = "CONFIGURE ZONE";

/// Binds a statement about zone configurations.
pub(super) fn bind(text: &ZoneText, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    match text {
        ZoneText::Configure { name, if_exists, settings } => {
            let change = match settings {
                None => ZoneChange::Discard,
                Some(settings) => read(settings)?,
            };
            Ok(match target(name, *if_exists, context)? {
                Ok(target) => ddl(Ddl::ConfigureZone { target, change }, TAG, context),
                Err(missing) => own::skipped(&missing, TAG, context),
            })
        }
        ZoneText::Show(name) => {
            let target = match name {
                None => None,
                Some(name) => target(name, false, context)?.ok(),
            };
            let mut plan = utility(Utility::ShowZones(target), "SHOW", context);
            plan.columns = text_columns(&["target", "raw_config_sql"]);
            Ok(plan)
        }
    }
}

/// What a configuration is of; the name of what is not there, where that is allowed.
fn target(name: &ZoneName, if_exists: bool, context: &PlanContext<'_>) -> SqlResult<Result<ZoneTarget, ast::ObjectName>> {
    let table = |name: &ast::ObjectName| match own::relation(name, if_exists, context)? {
        None => Ok(None),
        Some(_) => find_table(context, name).map(Some),
    };
    Ok(Ok(match name {
        ZoneName::Range(name) => match fold(name).as_str() {
            "default" => ZoneTarget::Default,
            other @ ("meta" | "liveness" | "system" | "timeseries" | "tenants") => {
                return Err(SqlError::not_supported(format!("zone configurations of the range \"{other}\" are not supported"))
                    .with_hint("What is not in a table is kept as the default says."));
            }
            other => {
                let message = format!("\"{other}\" is not a built-in zone");
                return Err(SqlError::new(SqlState::InvalidName, message));
            }
        },
        ZoneName::Database(name) => {
            let name = fold(name);
            match context.catalog.database(&name) {
                Some(database) => ZoneTarget::Database(database.id),
                None if if_exists => return Ok(Err(ast::ObjectName::from(vec![ast::Ident::with_quote('"', name)]))),
                None => return Err(grant::no_database(&name)),
            }
        }
        ZoneName::Table(name) => match table(name)? {
            Some(found) => ZoneTarget::Table(found.id),
            None => return Ok(Err(name.clone())),
        },
        ZoneName::Index { index, table: Some(of) } => {
            let Some(of) = table(of)? else { return Ok(Err(of.clone())) };
            let name = crate::bind::name_parts(index)?.join(".");
            match of.indexes.iter().find(|index| index.name == name) {
                Some(index) => index_of(&of, index.oid)?,
                None if if_exists => return Ok(Err(index.clone())),
                None => return Err(no_relation(None, &name)),
            }
        }
        ZoneName::Index { index, table: None } => match find_index(context, index)? {
            Some((table, oid)) => index_of(&table, oid)?,
            None if if_exists => return Ok(Err(index.clone())),
            None => return Err(no_relation(None, &index.to_string())),
        },
        ZoneName::Partition { partition, table: of } => {
            let Some(of) = table(of)? else { return Ok(Err(of.clone())) };
            let Some(partition) = table(partition)? else { return Ok(Err(partition.clone())) };
            if partition.partitioning.as_ref().and_then(|it| it.parent) != Some(of.id) {
                let message = format!("relation \"{}\" is not a partition of relation \"{}\"", partition.name, of.name);
                return Err(SqlError::new(SqlState::UndefinedTable, message));
            }
            ZoneTarget::Table(partition.id)
        }
    }))
}

fn index_of(table: &catalog::Table, oid: u32) -> SqlResult<ZoneTarget> {
    if table.is_partitioned() {
        let message = "zone configurations of indexes of partitioned tables are not supported";
        return Err(SqlError::not_supported(message).with_hint("Configure the indexes of its partitions."));
    }
    Ok(ZoneTarget::Index { table: table.id, oid })
}

fn invalid(name: &str, reason: &impl std::fmt::Display) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("invalid value for \"{name}\": {reason}"))
}

/// What the settings say.
fn read(settings: &[(String, ZoneValue)]) -> SqlResult<ZoneChange> {
    let (mut set, mut cleared, mut known) = (ZoneConfig::default(), Vec::new(), Vec::new());
    for (name, value) in settings {
        let Some(field) = ZoneField::find(name) else {
            return Err(match name.as_str() {
                "num_voters" | "voter_constraints" | "global_reads" => {
                    SqlError::not_supported(format!("the zone setting \"{name}\" is not supported"))
                        .with_detail("All replicas are voters.")
                }
                _ => SqlError::new(SqlState::SyntaxError, format!("unsupported zone config parameter: \"{name}\"")),
            });
        };
        if known.contains(&field) {
            let message = format!("duplicate zone config parameter: \"{name}\"");
            return Err(SqlError::new(SqlState::InvalidParameterValue, message));
        }
        known.push(field);
        let number = || match value {
            ZoneValue::Number(number) => u64::try_from(*number).map_err(|_| invalid(name, &"it must not be negative")),
            ZoneValue::Text(_) | ZoneValue::Parent => Err(invalid(name, &"it is a number")),
        };
        let small = || number().and_then(|it| u32::try_from(it).map_err(|_| invalid(name, &"it is too large")));
        let text = || match value {
            ZoneValue::Text(text) => Ok(text.as_str()),
            ZoneValue::Number(_) | ZoneValue::Parent => Err(invalid(name, &"it is a text")),
        };
        let bad = |error: BadZone| invalid(name, &error);
        match (value, field) {
            (ZoneValue::Parent, _) => cleared.push(field),
            (_, ZoneField::RangeMinBytes) => set.range_min_bytes = Some(number()?),
            (_, ZoneField::RangeMaxBytes) => set.range_max_bytes = Some(number()?),
            (_, ZoneField::GcTtlSeconds) => set.gc_ttl_seconds = Some(small()?),
            (_, ZoneField::NumReplicas) => set.num_replicas = Some(small()?),
            (_, ZoneField::Constraints) => set.constraints = Some(read_constraints(text()?).map_err(bad)?),
            (_, ZoneField::LeasePreferences) => set.lease_preferences = Some(read_preferences(text()?).map_err(bad)?),
        }
    }
    Ok(ZoneChange::Set { set, cleared })
}
