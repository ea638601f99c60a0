//! CREATE, ALTER and DROP TYPE.
//!
//! A table's columns refer to an enum type by its oid and its rows to a label by its sort key, so that no change of a
//! type touches a row. Only text that is kept, of defaults, checks and views, has labels by their names: RENAME VALUE
//! changes it there.

use std::ops::Range;
use std::sync::Arc;

use catalog::privilege::ObjectKind;
use catalog::{
    ColumnDefault, Descriptor, Label, Relation, Table, Type, TypeKind, View,
    descriptor::stored_type_name,
};
use plan::{
    NO_LABEL,
    statement::{AlterType, Home},
};
use ::types::{SqlError, SqlResult, SqlState, SqlType, sort_key_between, sort_keys, text::MAX_NAME_BYTES};

use super::{DdlContext, constraint, drop::drop_relation, partition};

/// Whether a stored text names a type, or one that goes with it.
fn names_type(text: &str, oids: &Range<u32>) -> bool {
    oids.clone().any(|oid| text.contains(&stored_type_name(oid)))
}

fn invalid_label(label: &str) -> SqlError {
    SqlError::new(SqlState::InvalidName, format!("invalid enum label \"{label}\""))
        .with_detail(format!("Labels must be {MAX_NAME_BYTES} bytes or less."))
}

fn no_enum(ty: &Type) -> SqlError {
    SqlError::new(SqlState::WrongObjectType, format!("{} is not an enum", ty.name))
}

fn no_label(label: &str) -> SqlError {
    SqlError::new(SqlState::InvalidParameterValue, format!("\"{label}\" is not an existing enum label"))
}

impl DdlContext<'_> {
    /// Types, tables and views share the names of a schema's types. Where the name is that of the arrays of another type,
    /// that makes way.
    pub(super) fn make_type_name_free(&mut self, schema: u32, name: &str) -> SqlResult<()> {
        let catalog = self.change.snapshot();
        let taken = catalog.type_named(schema, name);
        if let Some(of) = taken.filter(SqlType::is_array).and_then(|ty| ty.user_type())
            && let Some(known) = catalog.user_type(of)
        {
            let made = self.array_name(schema, name, &[]);
            let mut moved = Type::clone(&known.descriptor);
            match &mut moved.kind {
                TypeKind::Range(range) if range.multirange_array_name == name => range.multirange_array_name = made,
                _ => moved.array_name = made,
            }
            self.change.put(self.txn, Descriptor::Type(moved));
            return Ok(());
        }
        if taken.is_some() || catalog.relation(schema, name).is_some() {
            return Err(SqlError::new(SqlState::DuplicateObject, format!("type \"{name}\" already exists")));
        }
        Ok(())
    }

    /// A free name for the type of arrays over what has this name.
    pub(super) fn array_name(&self, schema: u32, name: &str, freed: &[&str]) -> String {
        let catalog = self.change.snapshot();
        let mut underscores = String::from("_");
        loop {
            let room = MAX_NAME_BYTES - underscores.len();
            let made = format!("{underscores}{}", &name[..name.floor_char_boundary(room)]);
            let is_taken = catalog.type_named(schema, &made).is_some() || catalog.relation(schema, &made).is_some();
            if !is_taken || freed.contains(&made.as_str()) {
                return made;
            }
            underscores.push('_');
        }
    }

    /// A relation has a type of its name.
    pub(super) fn check_type_name_free(&self, schema: u32, name: &str) -> SqlResult<()> {
        match self.change.snapshot().type_named(schema, name) {
            None | Some(SqlType::Array(_)) => return Ok(()),
            // A composite type has a row in pg_class.
            Some(SqlType::Composite(_)) => {
                let message = format!("relation \"{name}\" already exists");
                return Err(SqlError::new(SqlState::DuplicateTable, message));
            }
            Some(_) => {}
        }
        Err(SqlError::new(SqlState::DuplicateObject, format!("type \"{name}\" already exists")).with_hint(
            "A relation has an associated type of the same name, so you must use a name that doesn't conflict with any existing type.",
        ))
    }
}

pub(super) async fn create_enum(home: Home, name: &str, labels: &[String], ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let schema = ctx.schema_of(home).await?;
    ctx.make_type_name_free(schema, name)?;
    // The type, that of its arrays, and the labels.
    let id = ctx.new_ids(2 + labels.len()).await?;
    let mut made = Vec::with_capacity(labels.len());
    for (at, (text, sort_key)) in labels.iter().zip(sort_keys(labels.len())).enumerate() {
        if text.len() > MAX_NAME_BYTES {
            return Err(invalid_label(text));
        }
        if labels[..at].contains(text) {
            let index = "pg_enum_typid_label_index";
            let message = format!("duplicate key value violates unique constraint \"{index}\"");
            return Err(SqlError::new(SqlState::UniqueViolation, message)
                .with_detail(format!("Key (enumtypid, enumlabel)=({id}, {text}) already exists."))
                .with_constraint(index));
        }
        let oid = id + 2 + at as u32;
        made.push(Label { oid, text: text.clone(), sort_key, order: (at + 1) as f32, is_new: false });
    }
    let made = ctx.new_type(id, schema, name, TypeKind::Enum(made));
    ctx.change.put(ctx.txn, Descriptor::Type(made));
    Ok(())
}

impl DdlContext<'_> {
    /// A type of the user's, with what is granted on new ones.
    pub(super) fn new_type(&mut self, id: u32, schema: u32, name: &str, kind: TypeKind) -> Type {
        self.grant_defaults(id, ObjectKind::Type, schema, self.user);
        let array_name = self.array_name(schema, name, &[]);
        Type { id, name: name.to_owned(), array_name, schema, owner: self.user, comment: None, kind }
    }
}

pub(super) fn type_of(id: u32, ctx: &DdlContext<'_>) -> SqlResult<Type> {
    let found = ctx.change.snapshot().user_type(id).map(|it| Type::clone(&it.descriptor));
    found.ok_or_else(|| SqlError::new(SqlState::UndefinedObject, format!("type with OID {id} does not exist")))
}

pub(super) async fn alter(id: u32, change: &AlterType, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut ty = type_of(id, ctx)?;
    match change {
        AlterType::AddValue { label, if_not_exists, before, after } => {
            let beside = before.as_deref().map(|it| (true, it)).or(after.as_deref().map(|it| (false, it)));
            if !add_value(&mut ty, label, beside, *if_not_exists, ctx).await? {
                return Ok(());
            }
        }
        AlterType::RenameValue { from, to } => {
            let TypeKind::Enum(labels) = &mut ty.kind else { return Err(no_enum(&ty)) };
            if to.len() > MAX_NAME_BYTES {
                return Err(invalid_label(to));
            }
            let at = labels.iter().position(|label| label.text == *from).ok_or_else(|| no_label(from))?;
            if labels.iter().any(|label| label.text == *to) {
                let message = format!("enum label \"{to}\" already exists");
                return Err(SqlError::new(SqlState::DuplicateObject, message));
            }
            let changed = relabelled(id, from, to, ctx)?;
            labels[at].text.clone_from(to);
            ctx.change.put(ctx.txn, Descriptor::Type(ty));
            changed.into_iter().for_each(|descriptor| ctx.change.put(ctx.txn, descriptor));
            return Ok(());
        }
        AlterType::RenameTo(to) => {
            ctx.make_type_name_free(ty.schema, to)?;
            // Making room may have moved its own arrays.
            ty = type_of(id, ctx)?;
            ty.array_name = ctx.array_name(ty.schema, to, &[&ty.array_name]);
            ty.name.clone_from(to);
        }
        AlterType::SetSchema(schema) => {
            if ty.schema == *schema {
                return Ok(());
            }
            let is_temporary = |schema| ctx.change.snapshot().is_temporary(schema);
            if is_temporary(*schema) != is_temporary(ty.schema) {
                return Err(SqlError::not_supported("cannot move objects into or out of temporary schemas"));
            }
            if ctx.make_type_name_free(*schema, &ty.name).is_err() {
                let name = ctx.change.snapshot().schema_by_id(*schema).map_or("", |schema| &schema.name);
                let message = format!("type \"{}\" already exists in schema \"{name}\"", ty.name);
                return Err(SqlError::new(SqlState::DuplicateObject, message));
            }
            if let TypeKind::Range(range) = &mut ty.kind {
                ctx.make_type_name_free(*schema, &range.multirange_name)?;
                range.multirange_array_name = ctx.array_name(*schema, &range.multirange_name, &[]);
            }
            ty.array_name = ctx.array_name(*schema, &ty.name, &[]);
            ty.schema = *schema;
        }
        AlterType::OwnerTo(owner) => {
            let owner = super::grant::role_named(owner, ctx)?;
            return super::grant::give(id, owner, ctx);
        }
    }
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    Ok(())
}

/// Puts a label before (`true`) or after another, or at the end; false when it is there and may be.
async fn add_value(
    ty: &mut Type,
    text: &str,
    beside: Option<(bool, &str)>,
    if_not_exists: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<bool> {
    if text.len() > MAX_NAME_BYTES {
        return Err(invalid_label(text));
    }
    let shown = no_enum(ty);
    let TypeKind::Enum(labels) = &mut ty.kind else { return Err(shown) };
    if labels.iter().any(|label| label.text == text) {
        if if_not_exists {
            ctx.exists_already(SqlState::DuplicateObject, format_args!("enum label \"{text}\""));
            return Ok(false);
        }
        return Err(SqlError::new(SqlState::DuplicateObject, format!("enum label \"{text}\" already exists")));
    }
    let at = match beside {
        None => labels.len(),
        Some((before, other)) => {
            let found = labels.iter().position(|label| label.text == other).ok_or_else(|| no_label(other))?;
            if before { found } else { found + 1 }
        }
    };
    let (low, high) = (at.checked_sub(1).map(|at| &labels[at]), labels.get(at));
    let sort_key = sort_key_between(low.map(|it| &*it.sort_key), high.map(|it| &*it.sort_key));
    let order = match (low.map(|it| it.order), high.map(|it| it.order)) {
        (None, None) => 1.0,
        (Some(low), None) => low + 1.0,
        (None, Some(high)) => high - 1.0,
        (Some(low), Some(high)) => low.midpoint(high),
    };
    let is_room = low.is_none_or(|low| low.order < order) && high.is_none_or(|high| order < high.order);
    let oid = ctx.new_ids(1).await?;
    labels.insert(at, Label { oid, text: text.to_owned(), sort_key, order, is_new: true });
    if !is_room {
        // As PostgreSQL does when its numbers have no room: only what is shown changes.
        labels.iter_mut().zip(1_u16..).for_each(|(label, number)| label.order = number.into());
    }
    Ok(true)
}

/// A text that a table keeps.
#[derive(Clone, Copy)]
enum Place {
    Column(usize),
    Check(usize),
    Predicate(usize),
    /// WHEN of a trigger.
    Condition(usize),
}

fn text_at(table: &mut Table, place: Place) -> Option<&mut String> {
    match place {
        Place::Column(at) => match &mut table.columns[at].default {
            Some(ColumnDefault::Expr(text) | ColumnDefault::Stored(text)) => Some(text),
            _ => None,
        },
        Place::Check(at) => Some(&mut table.checks[at].expr),
        Place::Predicate(at) => table.indexes[at].predicate.as_mut(),
        Place::Condition(at) => table.triggers[at].condition.as_mut(),
    }
}

/// The tables and views whose stored text names a label, with its new name in it. The text is bound with something else
/// in the label's place: where that is no label of the type, it was one.
fn relabelled(id: u32, from: &str, to: &str, ctx: &DdlContext<'_>) -> SqlResult<Vec<Descriptor>> {
    let Some(of) = ctx.change.snapshot().user_type(id).and_then(|it| it.ty.enum_type()) else { return Ok(Vec::new()) };
    let refusal = of.parse(NO_LABEL).map(drop);
    let wants_label = |outcome: SqlResult<()>| match (&outcome, &refusal) {
        (Err(error), Err(refusal)) => error.code() == refusal.code() && error.message() == refusal.message(),
        _ => false,
    };
    let mut changed = Vec::new();
    for before in ctx.change.snapshot().types_of(ctx.database) {
        let mut is_changed = false;
        let mut ty = Type::clone(before);
        let TypeKind::Domain(domain) = &mut ty.kind else { continue };
        for check in &mut domain.checks {
            let mut is_label =
                |probe: &str| Ok(wants_label(ctx.plan(|context| plan::domain_check(probe, before, context).map(drop))));
            if let Some(renamed) = plan::rename_label(&check.expr, from, to, &mut is_label)? {
                check.expr = renamed;
                is_changed = true;
            }
        }
        if let Some(text) = &mut domain.default {
            let mut is_label =
                |probe: &str| Ok(wants_label(ctx.plan(|context| plan::domain_default(probe, before, context).map(drop))));
            if let Some(renamed) = plan::rename_label(text, from, to, &mut is_label)? {
                *text = renamed;
                is_changed = true;
            }
        }
        changed.extend(is_changed.then_some(Descriptor::Type(ty)));
    }
    for relation in ctx.change.snapshot().relations_of(ctx.database) {
        match relation {
            Relation::Table(before) => {
                let mut table = Table::clone(before);
                let columns = (0..table.columns.len()).map(Place::Column);
                let checks = (0..table.checks.len()).map(Place::Check);
                let predicates = (0..table.indexes.len()).map(Place::Predicate);
                let conditions = (0..table.triggers.len()).map(Place::Condition);
                let places: Vec<Place> = columns.chain(checks).chain(predicates).chain(conditions).collect();
                let mut is_changed = false;
                for place in places {
                    let Some(text) = text_at(&mut table, place).cloned() else { continue };
                    let mut is_label = |probe: &str| {
                        let mut probed = Table::clone(before);
                        text_at(&mut probed, place).into_iter().for_each(|text| probe.clone_into(text));
                        Ok(wants_label(ctx.plan(|context| match place {
                            Place::Column(at) if matches!(probed.columns[at].default, Some(ColumnDefault::Expr(_))) => {
                                plan::column_default(&probed, at, context).map(drop)
                            }
                            Place::Condition(_) => plan::trigger_condition(before, probe, context).map(drop),
                            _ => plan::row_rules(&probed, context).map(drop),
                        })))
                    };
                    if let Some(renamed) = plan::rename_label(&text, from, to, &mut is_label)? {
                        text_at(&mut table, place).into_iter().for_each(|text| text.clone_from(&renamed));
                        is_changed = true;
                    }
                }
                changed.extend(is_changed.then_some(Descriptor::Table(table)));
            }
            Relation::View(_) => {}
            Relation::Sequence(_) => {}
        }
        if let Some(before) = relation.as_view() {
                let mut is_label = |probe: &str| {
                    let probed = View { query: probe.to_owned(), ..View::clone(&before) };
                    Ok(wants_label(ctx.plan(|context| plan::check_view(&probed, context))))
                };
                if let Some(query) = plan::rename_label(&before.query, from, to, &mut is_label)? {
                    changed.push(match relation {
                        Relation::Table(table) => {
                            let made = table.materialized.as_deref().cloned().unwrap_or_default();
                            let materialized = Some(Arc::new(catalog::Materialized { query, ..made }));
                            Descriptor::Table(Table { materialized, ..Table::clone(table) })
                        }
                        Relation::View(_) | Relation::Sequence(_) => Descriptor::View(View { query, ..View::clone(&before) }),
                    });
                }
        }
    }
    Ok(changed)
}

/// What depends on a type.
pub(super) enum Dependent {
    /// Of the type, of arrays of it, or of what goes with it.
    Column { table: Arc<Table>, name: String },
    /// By its partition key.
    Partitioned { table: Arc<Table> },
    Default { table: Arc<Table>, name: String },
    Check { table: Arc<Table>, name: String },
    Index { table: Arc<Table>, oid: u32, name: String },
    /// What it is, and its name.
    View { id: u32, shown: String },
    Domain { id: u32, name: String },
    /// Of a composite type.
    Attribute { ty: u32, attribute: keys::ColumnId, shown: String },
    /// A rule of a domain.
    Rule { domain: u32, name: String },
    /// By its WHEN.
    Trigger { table: Arc<Table>, oid: u32, shown: String },
    Policy { table: Arc<Table>, oid: u32, shown: String },
}

impl Dependent {
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Column { table, name, .. } => format!("column {name} of table {}", table.name),
            Self::Partitioned { table } => format!("table {}", table.name),
            Self::Default { table, name } => format!("default value for column {name} of table {}", table.name),
            Self::Check { table, name } => format!("constraint {name} on table {}", table.name),
            Self::Index { name, .. } => format!("index {name}"),
            Self::View { shown, .. } => shown.clone(),
            Self::Domain { name, .. } => format!("type {name}"),
            Self::Attribute { shown, .. } => shown.clone(),
            Self::Rule { name, .. } => format!("constraint {name}"),
            Self::Trigger { shown, .. } | Self::Policy { shown, .. } => shown.clone(),
        }
    }
}

/// The oids of a type, of the arrays of it, and of a range type those of its multirange type.
fn oids_of(id: u32, ctx: &DdlContext<'_>) -> Range<u32> {
    let count = ctx.change.snapshot().user_type(id).map_or(2, |it| it.descriptor.names().len() as u32);
    id..id + count
}

fn dependents(id: u32, ctx: &DdlContext<'_>) -> Vec<Dependent> {
    dependents_of(id, &oids_of(id, ctx), ctx)
}

/// What names the row type of a relation, where it and others go together.
pub(super) fn naming_rows(id: u32, together: &[u32], ctx: &DdlContext<'_>) -> Vec<Dependent> {
    let oid = ::types::row_type_oid(id);
    let is_gone = |gone: u32| gone == id || together.contains(&gone);
    let mut found = dependents_of(id, &(oid..oid + 2), ctx);
    found.retain(|dependent| match dependent {
        Dependent::Column { table, name } => {
            let holds = table.column_named(name).is_some_and(|(_, column)| column.declared().user_type() == Some(id));
            !holds && !is_gone(table.id)
        }
        Dependent::Partitioned { table }
        | Dependent::Default { table, .. }
        | Dependent::Check { table, .. }
        | Dependent::Index { table, .. }
        | Dependent::Trigger { table, .. }
        | Dependent::Policy { table, .. } => !is_gone(table.id),
        Dependent::Domain { id: domain, .. } => {
            let known = ctx.change.snapshot().user_type(*domain);
            !is_gone(*domain) && known.is_some_and(|it| it.descriptor.made_of().iter().all(|ty| ty.user_type() != Some(id)))
        }
        Dependent::Rule { domain, .. } => !is_gone(*domain),
        // They have the relation among what they depend on, or hold its rows.
        Dependent::View { .. } | Dependent::Attribute { .. } => false,
    });
    found
}

fn dependents_of(id: u32, oids: &Range<u32>, ctx: &DdlContext<'_>) -> Vec<Dependent> {
    let snapshot = ctx.change.snapshot();
    let mut relations = snapshot.dependents_of(id);
    relations.extend(snapshot.type_users(id));
    relations.extend(snapshot.naming(oids.clone()));
    relations.sort_unstable_by_key(|relation| relation.id());
    relations.dedup_by_key(|relation| relation.id());
    let mut found = Vec::new();
    for ty in ctx.change.snapshot().types_of(ctx.database).into_iter().filter(|ty| ty.id != id) {
        let default = ty.domain().and_then(|domain| domain.default.as_deref());
        if let Some(composite) = ty.composite() {
            let attributes = composite.attributes.iter().filter(|attribute| attribute.ty.user_type() == Some(id));
            found.extend(attributes.map(|attribute| Dependent::Attribute {
                ty: ty.id,
                attribute: attribute.id,
                shown: super::composites::shown_attribute(ty, &attribute.name),
            }));
            continue;
        }
        let is_over = ty.made_of().iter().any(|over| over.user_type() == Some(id));
        if is_over || default.is_some_and(|text| names_type(text, oids)) {
            found.push(Dependent::Domain { id: ty.id, name: ty.name.clone() });
            continue;
        }
        let Some(domain) = ty.domain() else { continue };
        let rules = domain.checks.iter().filter(|check| names_type(&check.expr, oids));
        found.extend(rules.map(|check| Dependent::Rule { domain: ty.id, name: check.name.clone() }));
    }
    for relation in relations {
        let table = match relation {
            Relation::Table(table) if table.materialized.is_none() => table,
            Relation::View(_) | Relation::Table(_) => {
                let is_column = relation.as_view().is_some_and(|it| it.columns.iter().any(|(_, ty)| ty.user_type() == Some(id)));
                if relation.depends_on().contains(&id) || is_column {
                    let shown = format!("{} {}", relation.kind(), relation.name());
                    found.push(Dependent::View { id: relation.id(), shown });
                }
                continue;
            }
            Relation::Sequence(_) => continue,
        };
        let is_of = |column: &catalog::Column| column.declared().user_type() == Some(id);
        // What is partitioned by it goes whole, with its partitions.
        let is_key = |table: &Table| {
            let keys = partition::key_columns(table, ctx).unwrap_or_default();
            let mut parts = table.partitioned().into_iter().flat_map(|it| &it.key);
            table.columns.iter().any(|column| is_of(column) && keys.contains(&column.name))
                || parts.any(|key| matches!(&key.part, catalog::KeyPart::Expr(text) if names_type(text, oids)))
        };
        if ctx.change.snapshot().ancestors_of(table).iter().any(|above| is_key(above)) {
            continue;
        }
        if table.is_partitioned() && is_key(table) {
            found.push(Dependent::Partitioned { table: table.clone() });
            continue;
        }
        for of_arrays in [true, false] {
            let columns = table.visible_columns().filter(|(_, it)| is_of(it) && it.declared().is_array() == of_arrays);
            found.extend(columns.map(|(_, it)| Dependent::Column { table: table.clone(), name: it.name.clone() }));
        }
        for column in table.columns.iter().filter(|column| !is_of(column)) {
            match &column.default {
                Some(ColumnDefault::Stored(text)) if names_type(text, oids) && !column.hidden => {
                    found.push(Dependent::Column { table: table.clone(), name: column.name.clone() });
                }
                Some(ColumnDefault::Expr(text)) if names_type(text, oids) => {
                    found.push(Dependent::Default { table: table.clone(), name: column.name.clone() });
                }
                _ => {}
            }
        }
        for check in table.checks.iter().filter(|check| names_type(&check.expr, oids)) {
            found.push(Dependent::Check { table: table.clone(), name: check.name.clone() });
        }
        for trigger in &table.triggers {
            if trigger.condition.as_deref().is_some_and(|text| names_type(text, oids)) {
                let shown = super::trigger::shown(trigger, table, ctx);
                found.push(Dependent::Trigger { table: table.clone(), oid: trigger.oid, shown });
            }
        }
        for policy in table.policies() {
            if policy.depends_on(id) || policy.exprs().any(|expr| names_type(&expr.text, oids)) {
                let shown = super::policy::shown(policy, table, ctx);
                found.push(Dependent::Policy { table: table.clone(), oid: policy.oid, shown });
            }
        }
        for index in &table.indexes {
            let is_computed = |key: &catalog::IndexColumn| {
                table.columns.iter().any(|column| {
                    column.id == key.column
                        && column.hidden
                        && matches!(&column.default, Some(ColumnDefault::Stored(text)) if names_type(text, oids))
                })
            };
            if index.predicate.as_deref().is_some_and(|text| names_type(text, oids)) || index.columns.iter().any(is_computed) {
                found.push(Dependent::Index { table: table.clone(), oid: index.oid, name: index.name.clone() });
            }
        }
    }
    found
}

pub(super) async fn drop_types(
    ids: &[u32],
    missing: &[String],
    cascade: bool,
    ctx: &mut DdlContext<'_>,
) -> SqlResult<()> {
    for name in missing {
        ctx.notice(format!("{name} does not exist, skipping"));
    }
    // What is over a type in the list is in the way of it only until it is dropped itself.
    let mut left: Vec<u32> = ids.to_vec();
    while let Some(mut id) = left.first().copied() {
        let over = |id: u32, ctx: &DdlContext<'_>| {
            dependents(id, ctx).into_iter().find_map(|dependent| match dependent {
                Dependent::Domain { id, .. } | Dependent::Attribute { ty: id, .. } if left.contains(&id) => Some(id),
                _ => None,
            })
        };
        while let Some(first) = over(id, ctx) {
            id = first;
        }
        drop_type(id, cascade, ctx).await?;
        left.retain(|known| *known != id);
    }
    Ok(())
}

pub(super) async fn drop_type(id: u32, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let Some(shown) = ctx.change.snapshot().user_type(id).map(|it| it.ty.base_name()) else {
        return Ok(());
    };
    let oids = oids_of(id, ctx);
    let is_of = |ty| matches!(ty, catalog::StoredType::Oid { oid, .. } if oids.contains(&oid));
    super::routine::release_routines(&format!("type {shown}"), is_of, cascade, ctx)?;
    let dependents = dependents(id, ctx);
    if !cascade && !dependents.is_empty() {
        let line = |it: &Dependent| {
            let declared = match it {
                Dependent::Column { table, name, .. } => table.column_named(name).map(|(_, column)| column.declared()),
                _ => None,
            };
            let on = declared.filter(|ty| ty.user_type() == Some(id)).map_or_else(|| shown.clone(), |ty| ty.base_name());
            format!("{} depends on type {on}", it.shown())
        };
        let lines: Vec<String> = dependents.iter().map(line).collect();
        let message = format!("cannot drop type {shown} because other objects depend on it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for dependent in dependents {
        // It may have gone with another.
        if let Some(gone) = release(&dependent, ctx).await? {
            ctx.notice(format!("drop cascades to {gone}"));
        }
    }
    ctx.change.remove(ctx.txn, id);
    Ok(())
}

/// Drops what depends on a type; what it was, unless it had gone before.
pub(super) async fn release(dependent: &Dependent, ctx: &mut DdlContext<'_>) -> SqlResult<Option<String>> {
    let current = |table: &Table, ctx: &DdlContext<'_>| ctx.change.snapshot().table_by_id(table.id).cloned();
    match dependent {
        Dependent::View { id, .. } => {
            if ctx.change.snapshot().relation_by_id(*id).is_none() {
                return Ok(None);
            }
            super::composites::release_rows(*id, &[], true, ctx).await?;
            drop_relation(*id, &[], true, ctx)?;
        }
        Dependent::Domain { id, .. } => {
            if ctx.change.snapshot().user_type(*id).is_none() {
                return Ok(None);
            }
            Box::pin(drop_type(*id, true, ctx)).await?;
        }
        Dependent::Attribute { ty, attribute, .. } => {
            if !super::composites::drop_attribute(*ty, *attribute, ctx)? {
                return Ok(None);
            }
        }
        Dependent::Rule { domain, name } => {
            if ctx.change.snapshot().user_type(*domain).is_none() {
                return Ok(None);
            }
            let mut ty = type_of(*domain, ctx)?;
            if let TypeKind::Domain(domain) = &mut ty.kind {
                domain.checks.retain(|check| check.name != *name);
            }
            ctx.change.put(ctx.txn, Descriptor::Type(ty));
        }
        Dependent::Column { table, name, .. } => {
            let Some(table) = current(table, ctx).filter(|it| it.column_named(name).is_some()) else { return Ok(None) };
            constraint::drop_column(&table, name, true, true, ctx).await?;
        }
        Dependent::Partitioned { table } => {
            if current(table, ctx).is_none() {
                return Ok(None);
            }
            drop_relation(table.id, &[], true, ctx)?;
        }
        Dependent::Default { table, name } => {
            let Some(table) = current(table, ctx) else { return Ok(None) };
            let Some((at, _)) = table.column_named(name) else { return Ok(None) };
            let mut changed = Table::clone(&table);
            changed.columns[at].default = None;
            ctx.put_table(changed);
        }
        Dependent::Check { table, name } => {
            let Some(table) = current(table, ctx) else { return Ok(None) };
            if !table.checks.iter().any(|check| check.name == *name) {
                return Ok(None);
            }
            let mut changed = Table::clone(&table);
            changed.checks.retain(|check| check.name != *name);
            ctx.put_table(changed);
        }
        Dependent::Policy { table, oid, .. } => {
            if !super::policy::remove(table.id, *oid, ctx) {
                return Ok(None);
            }
        }
        Dependent::Trigger { table, oid, .. } => {
            if !super::trigger::remove(table.id, *oid, ctx) {
                return Ok(None);
            }
        }
        Dependent::Index { table, oid, .. } => {
            let Some(table) = current(table, ctx) else { return Ok(None) };
            if !table.indexes.iter().any(|index| index.oid == *oid) {
                return Ok(None);
            }
            super::drop::indexes(&[(table, *oid)], &[], ctx)?;
        }
    }
    Ok(Some(dependent.shown()))
}

pub(super) fn comment(id: u32, text: Option<String>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let ty = Type { comment: text, ..type_of(id, ctx)? };
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    Ok(())
}
