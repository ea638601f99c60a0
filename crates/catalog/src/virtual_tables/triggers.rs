//! Triggers: `pg_trigger`, and the information schema's view of them.
//!
//! PostgreSQL keeps foreign keys by triggers of its own. There are none of those here.

use ::types::Datum;

use super::row::{Rows, Vector, row};
use super::scope::{Key, Scope, Source};
use crate::definition::{self, Style};
use crate::descriptor::Table;
use crate::trigger::{Trigger, TriggerEvent, TriggerTiming};

pub(super) const TABLES: &[Source] = &[
    Source::of("pg_trigger", pg_trigger, &[("oid", Key::Part), ("tgname", Key::PartName), ("tgrelid", Key::Class), ("tgfoid", Key::Dependents)]),
];

const OF_TABLES: &[(&str, Key)] = &[
    ("trigger_schema", Key::SchemaName),
    ("trigger_name", Key::PartName),
    ("event_object_schema", Key::SchemaName),
    ("event_object_table", Key::ClassName),
];

pub(super) const INFORMATION_SCHEMA: &[Source] = &[
    Source::of("triggers", triggers, OF_TABLES),
    Source::of("triggered_update_columns", triggered_update_columns, OF_TABLES),
];

/// As `tgtype` has them.
fn type_bits(trigger: &Trigger) -> i32 {
    let timing = match trigger.timing {
        TriggerTiming::Before => 2,
        TriggerTiming::After => 0,
        TriggerTiming::InsteadOf => 64,
    };
    let events = trigger.events.iter().map(|event| match event {
        TriggerEvent::Insert => 4,
        TriggerEvent::Delete => 8,
        TriggerEvent::Update => 16,
        TriggerEvent::Truncate => 32,
    });
    i32::from(trigger.for_each_row) | timing | events.sum::<i32>()
}

/// The arguments, each with a zero after it.
fn argument_bytes(trigger: &Trigger) -> Datum {
    let bytes: Vec<u8> = trigger.arguments.iter().flat_map(|it| it.bytes().chain([0])).collect();
    Datum::bytes(bytes)
}

fn pg_trigger(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables_and_views() {
        for trigger in &table.triggers {
            let constraint = trigger.constraint;
            row!(rows, {
                oid: trigger.oid,
                tgrelid: table.id,
                tgparentid: table.parent_part(trigger.oid).unwrap_or(0),
                tgname: &trigger.name,
                tgfoid: trigger.routine,
                tgtype: type_bits(trigger),
                tgenabled: trigger.enabled.letter(),
                tgisinternal: false,
                tgconstrrelid: constraint.and_then(|it| it.from).unwrap_or(0),
                tgconstrindid: 0,
                tgconstraint: if constraint.is_some() { trigger.oid } else { 0 },
                tgdeferrable: constraint.is_some_and(|it| it.deferrable),
                tginitdeferred: constraint.is_some_and(|it| it.initially_deferred),
                tgnargs: trigger.arguments.len(),
                tgattr: Vector(trigger.columns.clone()),
                tgargs: argument_bytes(trigger),
                tgqual: trigger.condition.as_ref(),
                tgoldtable: trigger.old_table.as_ref(),
                tgnewtable: trigger.new_table.as_ref(),
            });
        }
    }
}

/// Among the triggers of the table that fire for the event at the same time, by name, from 1.
fn action_order(table: &Table, trigger: &Trigger, event: TriggerEvent) -> usize {
    let is_alike = |other: &&Trigger| {
        other.events.has(event) && (other.for_each_row, other.timing) == (trigger.for_each_row, trigger.timing)
    };
    table.triggers.iter().filter(is_alike).position(|other| other.oid == trigger.oid).map_or(0, |at| at + 1)
}

fn triggers(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables_and_views() {
        let schema = view.schema_name(table.schema);
        for trigger in &table.triggers {
            let condition = trigger.condition.as_ref().map(|it| view.trigger_condition(table, it, Style::Plain));
            // The standard knows nothing of TRUNCATE.
            for event in trigger.events.iter().filter(|event| *event != TriggerEvent::Truncate) {
                row!(rows, {
                    trigger_catalog: view.database_name(),
                    trigger_schema: schema,
                    trigger_name: &trigger.name,
                    event_manipulation: event.name(),
                    event_object_catalog: view.database_name(),
                    event_object_schema: schema,
                    event_object_table: &table.name,
                    action_order: action_order(table, trigger, event),
                    action_condition: condition.as_ref(),
                    action_statement: definition::trigger_action(view, trigger),
                    action_orientation: if trigger.for_each_row { "ROW" } else { "STATEMENT" },
                    action_timing: trigger.timing.name(),
                    action_reference_old_table: trigger.old_table.as_ref(),
                    action_reference_new_table: trigger.new_table.as_ref(),
                });
            }
        }
    }
}

fn triggered_update_columns(view: &Scope<'_>, rows: &mut Rows) {
    for table in view.tables() {
        let schema = view.schema_name(table.schema);
        for trigger in &table.triggers {
            for at in table.positions(&trigger.columns) {
                row!(rows, {
                    trigger_catalog: view.database_name(),
                    trigger_schema: schema,
                    trigger_name: &trigger.name,
                    event_object_catalog: view.database_name(),
                    event_object_schema: schema,
                    event_object_table: &table.name,
                    event_object_column: &table.columns[at].name,
                });
            }
        }
    }
}
