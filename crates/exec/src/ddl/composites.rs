//! CREATE TYPE … AS and ALTER TYPE of the attributes; what the rows of a table in columns of others mean for changes of it.
//!
//! Stored values know attributes by their numbers ([`types::composite_type`]), so that adding, dropping and renaming one writes a
//! descriptor and no row. Index keys have the fields of old values in them: what an index is over loses no attribute. Text that
//! is kept, of views, checks and defaults, has attributes by their names: a change that it would not survive is refused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use catalog::{Attribute, CatalogSnapshot, ColumnDefault, Composite, Descriptor, Relation, Routine, Table, Type, TypeKind};
use keys::ColumnId;
use plan::statement::{AlterComposite, AttributeSpec, Home};
use types::{SqlError, SqlResult, SqlState, SqlType, relation_of_row_type};

use super::{DdlContext, constraint, types::type_of};

fn attribute(spec: &AttributeSpec, id: ColumnId) -> Attribute {
    Attribute { id, name: spec.name.clone(), ty: spec.ty, comment: None }
}

pub(super) async fn create(home: Home, name: &str, specs: &[AttributeSpec], ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let schema = ctx.schema_of(home).await?;
    ctx.make_type_name_free(schema, name)?;
    ctx.check_name_free(schema, name)?;
    // Its own, that of its arrays, and that of its row in pg_class.
    let id = ctx.new_ids(3).await?;
    let attributes: Vec<Attribute> = specs.iter().zip(1..).map(|(spec, number)| attribute(spec, ColumnId::new(number))).collect();
    let next = ColumnId::new(attributes.len() as u32 + 1);
    let made = ctx.new_type(id, schema, name, TypeKind::Composite(Composite { attributes, next }));
    put(made, ctx)
}

/// Puts a type, if it is not too large, nor those made of it.
fn put(ty: Type, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    ctx.change.snapshot().types().try_for_each(|it| it.ty.check_size())
}

fn shown(id: u32, ctx: &DdlContext<'_>) -> String {
    ctx.change.snapshot().user_type(id).map_or_else(String::new, |it| it.ty.base_name())
}

fn no_attribute(ty: &Type, name: &str) -> SqlError {
    let message = format!("column \"{name}\" of relation \"{}\" does not exist", ty.name);
    SqlError::new(SqlState::UndefinedColumn, message)
}

fn exists(ty: &Type, name: &str) -> SqlError {
    let message = format!("column \"{name}\" of relation \"{}\" already exists", ty.name);
    SqlError::new(SqlState::DuplicateColumn, message)
}

/// Before parts come into a composite type or into the rows of a relation.
///
/// # Errors
/// 42P16 where it would hold itself; 54001 and 54011 where it, or what is made of it, would be too large (*bounded-size*); 0A000
/// where columns hold values of it and a part is of a domain with rules.
pub(super) fn check_parts(of: u32, name: &str, added: &[SqlType], ctx: &DdlContext<'_>) -> SqlResult<()> {
    if added.iter().any(|ty| ty.is_made_of(of)) {
        let message = format!("composite type {name} cannot be made a member of itself");
        return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
    }
    let snapshot = ctx.change.snapshot();
    let mut extents = Extents { snapshot, of, added, known: HashMap::new() };
    let (mut left, mut seen) = (vec![of], HashSet::from([of]));
    while let Some(id) = left.pop() {
        let over = snapshot.types_made_of(id).map(|ty| ty.id);
        let over: Vec<u32> = over.chain(snapshot.type_users(id).into_iter().map(Relation::id)).collect();
        // Rows that nothing holds are as long as the table's columns.
        if snapshot.user_type(id).is_some() || !over.is_empty() {
            let (depth, size) = extents.of_object(id);
            types::check_extent(depth, size)?;
        }
        left.extend(over.into_iter().filter(|id| seen.insert(*id)));
    }
    if let Some(domain) = added.iter().find_map(|ty| ruled_domain(*ty, true, snapshot))
        && let Some((table, at)) = column_of(of, ctx)
    {
        return Err(rules_unseen(&table.columns[at].name, &domain));
    }
    Ok(())
}

/// Levels and fields of types as they will be, found without a type being made.
struct Extents<'a> {
    snapshot: &'a CatalogSnapshot,
    of: u32,
    /// What comes into that type or relation.
    added: &'a [SqlType],
    known: HashMap<u32, (usize, usize)>,
}

impl Extents<'_> {
    fn of_object(&mut self, id: u32) -> (usize, usize) {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let ty = self.snapshot.user_type(id).map(|it| &it.descriptor);
        let mut parts = match (ty, self.snapshot.relation_by_id(id)) {
            (Some(ty), _) => ty.made_of(),
            (None, Some(Relation::Table(table))) => table.visible_columns().map(|(_, column)| column.declared()).collect(),
            (None, Some(Relation::View(view))) => view.columns.iter().map(|(_, ty)| *ty).collect(),
            (None, Some(Relation::Sequence(_)) | None) => Vec::new(),
        };
        if id == self.of {
            parts.extend_from_slice(self.added);
        }
        let has_fields = ty.is_none_or(|ty| ty.composite().is_some());
        let (mut depth, mut size) = if has_fields { (1, parts.len()) } else { (0, 0) };
        self.known.insert(id, (depth, size));
        for inner in parts.iter().filter_map(SqlType::user_type) {
            let (levels, fields) = types::stack::grown(|| self.of_object(inner));
            depth = depth.max(levels.saturating_add(usize::from(has_fields)));
            size = size.saturating_add(fields);
        }
        self.known.insert(id, (depth, size));
        (depth, size)
    }
}

/// A domain with rules among the attributes in a type.
fn ruled_domain(ty: SqlType, is_attribute: bool, snapshot: &CatalogSnapshot) -> Option<String> {
    match ty {
        SqlType::Domain(it) => {
            let own = snapshot.user_type(it.oid()).and_then(|known| known.descriptor.domain());
            let has_rules = own.is_some_and(|own| own.not_null || !own.checks.is_empty());
            if is_attribute && has_rules { Some(ty.base_name()) } else { ruled_domain(it.over(), is_attribute, snapshot) }
        }
        SqlType::Composite(it) => it.attributes().iter().find_map(|attribute| ruled_domain(attribute.ty, true, snapshot)),
        other => other.element().and_then(|element| ruled_domain(element, is_attribute, snapshot)),
    }
}

fn rules_unseen(column: &str, domain: &str) -> SqlError {
    let message = format!("column \"{column}\" of rows with values of domain {domain} in them, which has rules, is not supported");
    SqlError::not_supported(message).with_hint("Declare what is in the rows as the type under the domain.")
}

/// Before a column is of a type: values that are made while a statement runs are not put to the rules of domains within them,
/// so that none are stored where there are such rules.
///
/// # Errors
/// 0A000
pub(super) fn check_stored(column: &str, ty: SqlType, ctx: &DdlContext<'_>) -> SqlResult<()> {
    ruled_domain(ty, false, ctx.change.snapshot()).map_or(Ok(()), |domain| Err(rules_unseen(column, &domain)))
}

/// A column of a table, of the type or of what is made of it: as PostgreSQL finds them, arrays first.
fn column_of(id: u32, ctx: &DdlContext<'_>) -> Option<(Arc<Table>, usize)> {
    let find = |of_arrays: bool| {
        ctx.change.snapshot().type_users(id).into_iter().find_map(|relation| match relation {
            Relation::Table(table) => {
                let is_meant = |ty: SqlType| ty.is_array() == of_arrays && ty.is_made_of(id);
                let at = table.columns.iter().position(|column| is_meant(column.declared()))?;
                Some((table.clone(), at))
            }
            Relation::View(_) | Relation::Sequence(_) => None,
        })
    };
    find(true).or_else(|| find(false))
}

/// An index whose keys hold values of the type, or rows of the relation.
fn index_over(id: u32, ctx: &DdlContext<'_>) -> Option<(String, String)> {
    ctx.change.snapshot().type_users(id).into_iter().find_map(|relation| {
        let Relation::Table(table) = relation else { return None };
        let is_over = |index: &&catalog::Index| table.key_positions(index).any(|at| table.columns[at].declared().is_made_of(id));
        table.indexes.iter().find(is_over).map(|index| (index.name.clone(), table.name.clone()))
    })
}

/// # Errors
/// 0A000 where keys of an index hold what is to be dropped.
pub(super) fn check_no_index(id: u32, what: &str, ctx: &DdlContext<'_>) -> SqlResult<()> {
    match index_over(id, ctx) {
        None => Ok(()),
        Some((index, table)) => {
            let message = format!("cannot drop {what} because index \"{index}\" of table \"{table}\" has it in its keys");
            Err(SqlError::not_supported(message).with_hint("Drop the index first."))
        }
    }
}

/// # Errors
/// 0A000 where columns hold rows of the table, which would have to be changed with it.
pub(super) fn check_rows_unused(table: &Table, ctx: &DdlContext<'_>) -> SqlResult<()> {
    let Some((user, at)) = column_of(table.id, ctx) else { return Ok(()) };
    let column = &user.columns[at].name;
    let message = format!("cannot alter table \"{}\" because column \"{}.{column}\" uses its row type", table.name, user.name);
    Err(SqlError::not_supported(message))
}

pub(super) async fn alter(id: u32, changes: &[AlterComposite], ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    // What is dropped goes first, and what is added comes last.
    let mut changes: Vec<&AlterComposite> = changes.iter().collect();
    changes.sort_by_key(|change| match change {
        AlterComposite::Drop { .. } => 0,
        AlterComposite::SetType(_) | AlterComposite::Rename { .. } => 1,
        AlterComposite::Add(_) => 2,
    });
    for change in changes {
        let texts = KeptTexts::of(id, ctx);
        one(id, change, ctx)?;
        match change {
            AlterComposite::Drop { name, cascade, .. } => {
                let ty = type_of(id, ctx)?;
                texts.release(&shown_attribute(&ty, name), *cascade, ctx).await?;
                check_no_index(id, &format!("attribute \"{name}\" of type \"{}\"", ty.name), ctx)?;
            }
            AlterComposite::SetType(_) | AlterComposite::Rename { .. } | AlterComposite::Add(_) => {
                texts.check(&format!("type \"{}\"", type_of(id, ctx)?.name), ctx)?;
            }
        }
    }
    Ok(())
}

fn one(id: u32, change: &AlterComposite, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut ty = type_of(id, ctx)?;
    let before = ty.clone();
    let TypeKind::Composite(composite) = &mut ty.kind else {
        let message = format!("\"{}\" is not a composite type", before.name);
        return Err(SqlError::new(SqlState::WrongObjectType, message));
    };
    match change {
        AlterComposite::Add(spec) => {
            if composite.position(&spec.name).is_some() {
                return Err(exists(&before, &spec.name));
            }
            check_parts(id, &shown(id, ctx), &[spec.ty], ctx)?;
            composite.attributes.push(attribute(spec, composite.next));
            composite.next = composite.next.next();
        }
        AlterComposite::Drop { name, if_exists, .. } => {
            let Some(at) = composite.position(name) else {
                if *if_exists {
                    ctx.notice(format!("column \"{name}\" of relation \"{}\" does not exist, skipping", before.name));
                    return Ok(());
                }
                return Err(no_attribute(&before, name));
            };
            composite.attributes.remove(at);
        }
        AlterComposite::SetType(spec) => {
            let at = composite.position(&spec.name).ok_or_else(|| no_attribute(&before, &spec.name))?;
            check_parts(id, &shown(id, ctx), &[spec.ty], ctx)?;
            if let Some((table, at)) = column_of(id, ctx) {
                let column = &table.columns[at].name;
                let message = format!("cannot alter type \"{}\" because column \"{}.{column}\" uses it", before.name, table.name);
                return Err(SqlError::not_supported(message));
            }
            composite.attributes[at].ty = spec.ty;
        }
        AlterComposite::Rename { from, to } => {
            let at = composite.position(from).ok_or_else(|| {
                SqlError::new(SqlState::UndefinedColumn, format!("column \"{from}\" does not exist"))
            })?;
            if composite.position(to).is_some() {
                return Err(exists(&before, to));
            }
            composite.attributes[at].name.clone_from(to);
        }
    }
    put(ty, ctx)
}

pub(super) fn comment(id: u32, attribute: ColumnId, text: Option<String>, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let mut ty = type_of(id, ctx)?;
    if let TypeKind::Composite(composite) = &mut ty.kind {
        for known in composite.attributes.iter_mut().filter(|known| known.id == attribute) {
            known.comment.clone_from(&text);
        }
    }
    ctx.change.put(ctx.txn, Descriptor::Type(ty));
    Ok(())
}

/// Takes the attributes of a type, or of a relation's rows, out of another type; the text of what goes.
pub(super) fn drop_attribute(ty: u32, attribute: ColumnId, ctx: &mut DdlContext<'_>) -> SqlResult<bool> {
    if ctx.change.snapshot().user_type(ty).is_none() {
        return Ok(false);
    }
    let mut changed = type_of(ty, ctx)?;
    let TypeKind::Composite(composite) = &mut changed.kind else { return Ok(false) };
    let Some(at) = composite.attributes.iter().position(|known| known.id == attribute) else { return Ok(false) };
    let name = composite.attributes.remove(at).name;
    check_no_index(ty, &format!("attribute \"{name}\" of type \"{}\"", changed.name), ctx)?;
    let texts = KeptTexts::of(ty, ctx);
    let shown = changed.name.clone();
    put(changed, ctx)?;
    texts.check(&format!("type \"{shown}\""), ctx)?;
    Ok(true)
}

/// The stored text of views, tables and domains that means something before a change, where the change may matter to it: by id.
pub(super) struct KeptTexts(Vec<(u32, String)>);

impl KeptTexts {
    /// Before a change of a composite type or of a relation's columns.
    pub(super) fn of(id: u32, ctx: &DdlContext<'_>) -> Self {
        let snapshot = ctx.change.snapshot();
        let oid = match snapshot.user_type(id) {
            Some(made) => made.ty.oid(),
            None => types::row_type_oid(id),
        };
        let stored = [oid, oid + 1].map(catalog::descriptor::stored_type_name);
        let names = |text: &str| stored.iter().any(|name| text.contains(name));
        let is_row = relation_of_row_type(oid).is_some();
        if is_row && !snapshot.has_row_users(id) && snapshot.naming(oid..oid + 2).is_empty() && !is_named(&names, ctx) {
            return Self(Vec::new());
        }
        let mut relations: Vec<&Relation> = snapshot.relations_of(ctx.database).collect();
        relations.sort_unstable_by_key(|relation| relation.id());
        // What a table keeps over itself is looked after by the change itself.
        let others = relations.into_iter().filter(|relation| relation.id() != id);
        let bound = others.filter(|relation| is_bound(relation, ctx));
        let relations = bound.map(|relation| (relation.id(), format!("{} {}", relation.kind(), relation.name())));
        let domains = snapshot.types_of(ctx.database).into_iter().filter(|ty| ty.id != id && ty.domain().is_some());
        let domains = domains.filter(|ty| is_domain_bound(ty, ctx)).map(|ty| (ty.id, format!("domain {}", ty.name)));
        let routines = snapshot.routines_of(ctx.database).into_iter().filter(|routine| has_defaults(routine));
        let routines = routines.filter(|routine| is_routine_bound(routine, ctx));
        let routines = routines.map(|routine| (routine.id, super::routine::shown(routine, ctx)));
        Self(relations.chain(domains).chain(routines).collect())
    }

    /// What means nothing any more.
    fn broken(self, ctx: &DdlContext<'_>) -> impl Iterator<Item = (u32, String)> {
        let snapshot = ctx.change.snapshot();
        let is_broken = move |(id, _): &(u32, String)| match snapshot.relation_by_id(*id) {
            Some(relation) => !is_bound(relation, ctx),
            None => match snapshot.routine_by_id(*id) {
                Some(routine) => !is_routine_bound(routine, ctx),
                None => snapshot.user_type(*id).is_some_and(|it| !is_domain_bound(&it.descriptor, ctx)),
            },
        };
        self.0.into_iter().filter(is_broken)
    }

    /// Views that depend on what is dropped: RESTRICT is refused, CASCADE drops them.
    ///
    /// # Errors
    /// 2BP01, and 0A000 where a table uses it and CASCADE was asked for.
    async fn release(self, what: &str, cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
        let broken: Vec<(u32, String)> = self.broken(ctx).collect();
        if broken.is_empty() {
            return Ok(());
        }
        if !cascade {
            let lines: Vec<String> = broken.iter().map(|(_, user)| format!("{user} depends on {what}")).collect();
            let message = format!("cannot drop {what} because other objects depend on it");
            return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
                .with_detail(lines.join("\n"))
                .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        for (id, user) in broken {
            let snapshot = ctx.change.snapshot();
            let is_view = snapshot.relation_by_id(id).map(|relation| relation.as_view().is_some());
            let is_other = snapshot.user_type(id).is_some() || snapshot.routine_by_id(id).is_some();
            match is_view.or_else(|| is_other.then_some(false)) {
                // It went with another.
                None => continue,
                Some(false) => {
                    let message = format!("cannot drop {what} with CASCADE because {user} uses it");
                    return Err(SqlError::not_supported(message));
                }
                Some(true) => {}
            }
            release_rows(id, &[], true, ctx).await?;
            super::drop::drop_relation(id, &[], true, ctx)?;
            ctx.notice(format!("drop cascades to {user}"));
        }
        Ok(())
    }

    /// # Errors
    /// 0A000 where some of it means nothing any more.
    pub(super) fn check(self, what: &str, ctx: &DdlContext<'_>) -> SqlResult<()> {
        match self.broken(ctx).next() {
            None => Ok(()),
            Some((_, user)) => {
                let message = format!("cannot alter {what} because {user} uses what would be changed");
                Err(SqlError::not_supported(message))
            }
        }
    }
}

/// Whether some text of this database does what a predicate says: of domains, or of defaults of parameters.
fn is_named(names: &dyn Fn(&str) -> bool, ctx: &DdlContext<'_>) -> bool {
    let snapshot = ctx.change.snapshot();
    let of_domain = |domain: &catalog::Domain| {
        domain.default.as_deref().is_some_and(names) || domain.checks.iter().any(|check| names(&check.expr))
    };
    let of_routine = |routine: &Routine| routine.parameters.iter().any(|it| it.default.as_deref().is_some_and(names));
    snapshot.types_of(ctx.database).into_iter().filter_map(|ty| ty.domain()).any(of_domain)
        || snapshot.routines_of(ctx.database).into_iter().any(|routine| of_routine(routine))
}

fn has_defaults(routine: &Routine) -> bool {
    routine.parameters.iter().any(|parameter| parameter.default.is_some())
}

/// Whether the defaults of a routine's parameters mean something.
fn is_routine_bound(routine: &Routine, ctx: &DdlContext<'_>) -> bool {
    !has_defaults(routine) || ctx.plan(|context| plan::check_parameter_defaults(routine, context)).is_ok()
}

/// Whether the rules of a domain mean something.
fn is_domain_bound(ty: &Type, ctx: &DdlContext<'_>) -> bool {
    let Some(domain) = ty.domain() else { return true };
    let bound = ctx.plan(|context| {
        domain.checks.iter().try_for_each(|check| plan::domain_check(&check.expr, ty, context).map(drop))?;
        domain.default.iter().try_for_each(|text| plan::domain_default(text, ty, context).map(drop))
    });
    bound.is_ok()
}

fn is_bound(relation: &Relation, ctx: &DdlContext<'_>) -> bool {
    let of_table = |table: &Arc<Table>| {
        let has_text = !table.checks.is_empty()
            || table.columns.iter().any(|column| column.default.is_some())
            || table.indexes.iter().any(|index| index.predicate.is_some())
            || table.triggers.iter().any(|trigger| trigger.condition.is_some())
            || !table.policies().is_empty();
        !has_text
            || ctx
                .plan(|context| {
                    plan::row_rules(table, context)?;
                    for (at, column) in table.columns.iter().enumerate() {
                        if matches!(column.default, Some(ColumnDefault::Expr(_))) {
                            plan::column_default(table, at, context)?;
                        }
                    }
                    for trigger in &table.triggers {
                        if let Some(text) = &trigger.condition {
                            plan::trigger_condition(table, text, context)?;
                        }
                    }
                    // Whether a column is read tells that all can be bound.
                    for expr in table.policies().iter().flat_map(catalog::Policy::exprs) {
                        plan::policy_reads(table, expr, (table.id, 0), context)?;
                    }
                    Ok(())
                })
                .is_ok()
    };
    match relation {
        Relation::Table(table) if table.materialized.is_none() => of_table(table),
        Relation::Table(_) | Relation::View(_) => {
            relation.as_view().is_none_or(|view| ctx.plan(|context| plan::check_view(&view, context)).is_ok())
        }
        Relation::Sequence(_) => true,
    }
}

/// What holds rows of a relation.
enum RowUser {
    /// `of`: its type.
    Column { table: Arc<Table>, name: String, of: SqlType },
    Attribute { ty: u32, attribute: ColumnId, shown: String },
    Domain { id: u32, name: String },
}

impl RowUser {
    fn shown(&self) -> String {
        match self {
            Self::Column { table, name, .. } => format!("column {name} of table {}", table.name),
            Self::Attribute { shown, .. } => shown.clone(),
            Self::Domain { name, .. } => format!("type {name}"),
        }
    }
}

fn row_users(id: u32, together: &[u32], ctx: &DdlContext<'_>) -> Vec<RowUser> {
    let snapshot = ctx.change.snapshot();
    let mut found = Vec::new();
    for relation in snapshot.type_users(id).into_iter().filter(|relation| !together.contains(&relation.id())) {
        let Relation::Table(table) = relation else { continue };
        let columns = table.visible_columns().filter(|(_, column)| column.declared().user_type() == Some(id));
        found.extend(columns.map(|(_, column)| RowUser::Column {
            table: table.clone(),
            name: column.name.clone(),
            of: column.declared(),
        }));
    }
    for ty in snapshot.types_made_of(id).filter(|ty| !together.contains(&ty.id)) {
        match ty.composite() {
            None => found.push(RowUser::Domain { id: ty.id, name: ty.name.clone() }),
            Some(composite) => {
                let attributes = composite.attributes.iter().filter(|attribute| attribute.ty.user_type() == Some(id));
                found.extend(attributes.map(|attribute| RowUser::Attribute {
                    ty: ty.id,
                    attribute: attribute.id,
                    shown: shown_attribute(ty, &attribute.name),
                }));
            }
        }
    }
    found
}

pub(super) fn shown_attribute(ty: &Type, attribute: &str) -> String {
    format!("column {attribute} of composite type {}", ty.name)
}

/// Before a relation goes: columns and types that hold its rows, and text that names its row type, forbid it, or go with it.
///
/// # Errors
/// 2BP01.
pub(super) async fn release_rows(id: u32, together: &[u32], cascade: bool, ctx: &mut DdlContext<'_>) -> SqlResult<()> {
    let users = row_users(id, together, ctx);
    let named = super::types::naming_rows(id, together, ctx);
    let is_free = users.is_empty() && named.is_empty();
    let Some(relation) = ctx.change.snapshot().relation_by_id(id).filter(|_| !is_free) else { return Ok(()) };
    let (kind, name) = (relation.kind(), relation.name().to_owned());
    if !cascade {
        let line = |user: &RowUser| {
            let of = match user {
                RowUser::Column { of, .. } => of.base_name(),
                RowUser::Attribute { .. } | RowUser::Domain { .. } => name.clone(),
            };
            format!("{} depends on type {of}", user.shown())
        };
        let mut lines: Vec<String> = users.iter().map(line).collect();
        lines.extend(named.iter().map(|it| format!("{} depends on type {name}", it.shown())));
        let message = format!("cannot drop {kind} {name} because other objects depend on it");
        return Err(SqlError::new(SqlState::DependentObjectsStillExist, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    for user in users {
        let is_gone = match &user {
            RowUser::Column { table, name, .. } => {
                let current = ctx.change.snapshot().table_by_id(table.id).cloned();
                match current.filter(|table| table.column_named(name).is_some()) {
                    Some(table) => {
                        constraint::drop_column(&table, name, true, true, ctx).await?;
                        true
                    }
                    None => false,
                }
            }
            RowUser::Attribute { ty, attribute, .. } => drop_attribute(*ty, *attribute, ctx)?,
            RowUser::Domain { id, .. } => {
                let is_there = ctx.change.snapshot().user_type(*id).is_some();
                if is_there {
                    Box::pin(super::types::drop_type(*id, true, ctx)).await?;
                }
                is_there
            }
        };
        if is_gone {
            ctx.notice(format!("drop cascades to {}", user.shown()));
        }
    }
    for dependent in named {
        if let Some(gone) = Box::pin(super::types::release(&dependent, ctx)).await? {
            ctx.notice(format!("drop cascades to {gone}"));
        }
    }
    Ok(())
}

/// # Errors
/// 0A000 where rows of a relation that goes with another are held by columns or types.
pub(super) fn check_rows_released(id: u32, together: &[u32], ctx: &DdlContext<'_>) -> SqlResult<()> {
    let user = row_users(id, together, ctx).first().map(RowUser::shown);
    let is_view = ctx.change.snapshot().relation_by_id(id).is_some_and(|relation| relation.as_view().is_some());
    // Tables are asked for with what is dropped; views come with others.
    let named = || super::types::naming_rows(id, together, ctx).first().map(|it| it.shown());
    let Some(user) = user.or_else(|| if is_view { named() } else { None }) else { return Ok(()) };
    let name = ctx.change.snapshot().relation_by_id(id).map_or_else(String::new, |it| format!("{} {}", it.kind(), it.name()));
    let message = format!("cannot drop {name} with CASCADE because {user} holds its rows");
    Err(SqlError::not_supported(message).with_hint("Drop that first."))
}
