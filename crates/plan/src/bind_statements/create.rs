//! CREATE TABLE, INDEX, VIEW, SEQUENCE.

use catalog::privilege::{Need, PrivilegeSet};
use catalog::{Column, ColumnDefault, IndexMethod, OnCommit, temporary_schema};
use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState, SqlType};

use super::{ddl, new_home, new_name, types::stored_expr};
use crate::{
    PlanContext,
    bind::{Binder, bind_type, check_name, find_relation, find_table, fold, qualified_name},
    optimize_rel,
    parse::extras::{self, Extras, Like},
    statement::{
        CheckSpec, ColumnSpec, CreateTable, Ddl, DefaultSpec, ExcludeOperator, ForeignKeySpec, Home, IndexColumnSpec, IndexSpec,
        PreparedPlan, ReferentialAction, SequenceOptions,
    },
};

pub(super) fn not_yet(what: &str) -> SqlError {
    SqlError::not_supported(what)
}

/// What a column definition says besides the column itself.
#[derive(Default)]
pub(super) struct Constraints {
    pub indexes: Vec<IndexSpec>,
    pub checks: Vec<CheckSpec>,
    pub foreign_keys: Vec<ForeignKeySpec>,
}

impl Constraints {
    /// NOT VALID stands at the end of ADD CONSTRAINT.
    pub fn not_valid(&mut self) {
        self.checks.iter_mut().for_each(|check| check.not_valid = true);
        self.foreign_keys.iter_mut().for_each(|key| key.not_valid = true);
    }
}

/// Where a column or constraint is being given: names are looked up in `context`; a table that is being made is not in
/// the catalog yet.
pub(super) struct Place<'a> {
    pub context: &'a PlanContext<'a>,
    pub table: &'a str,
    /// The schema of the table being made.
    pub new_in: Option<Home>,
}

impl Place<'_> {
    /// Whether a name, qualified or not, is that of the table being made.
    fn is_itself(&self, name: &ast::ObjectName) -> SqlResult<bool> {
        let (schema, table) = qualified_name(self.context, name)?;
        let Some(home) = self.new_in.filter(|_| table == self.table) else { return Ok(false) };
        Ok(match schema {
            None => true,
            Some(schema) => match home {
                Home::Temporary => temporary_schema(self.context.search_path) == Some(schema.as_str()),
                Home::Schema(home) => {
                    self.context.catalog.schema(self.context.database, &schema).is_some_and(|it| it.id == home)
                }
            },
        })
    }

    fn foreign_key(
        &self,
        key: &ast::ForeignKeyConstraint,
        name: Option<String>,
        columns: Vec<String>,
    ) -> SqlResult<ForeignKeySpec> {
        let to_itself = self.is_itself(&key.foreign_table)? && find_table(self.context, &key.foreign_table).is_err();
        let action = |action: Option<ast::ReferentialAction>| match action {
            None | Some(ast::ReferentialAction::NoAction) => ReferentialAction::NoAction,
            Some(ast::ReferentialAction::Restrict) => ReferentialAction::Restrict,
            Some(ast::ReferentialAction::Cascade) => ReferentialAction::Cascade,
            Some(ast::ReferentialAction::SetNull) => ReferentialAction::SetNull,
            Some(ast::ReferentialAction::SetDefault) => ReferentialAction::SetDefault,
        };
        if matches!(key.match_kind, Some(ast::ConstraintReferenceMatchKind::Full | ast::ConstraintReferenceMatchKind::Partial))
            && columns.len() > 1
        {
            return Err(not_yet("MATCH FULL over several columns"));
        }
        if let (false, Ok(referenced)) = (to_itself, find_table(self.context, &key.foreign_table))
            && referenced.materialized.is_some()
        {
            let message = format!("referenced relation \"{}\" is not a table", referenced.name);
            return Err(SqlError::new(SqlState::WrongObjectType, message));
        }
        let (deferrable, initially_deferred) = read_deferral(key.characteristics.as_ref())?;
        Ok(ForeignKeySpec {
            name,
            columns,
            referenced_table: if to_itself { None } else { Some(find_table(self.context, &key.foreign_table)?.id) },
            referenced_columns: key.referred_columns.iter().map(fold).collect(),
            on_delete: action(key.on_delete),
            on_update: action(key.on_update),
            not_valid: false,
            deferrable,
            initially_deferred,
        })
    }
}

fn key_column(name: &str) -> IndexColumnSpec {
    IndexColumnSpec { name: name.to_owned(), ..IndexColumnSpec::default() }
}

/// SERIAL and its kin are no types of their own.
fn serial_type(name: &ast::DataType) -> Option<SqlType> {
    let ast::DataType::Custom(name, _) = name else { return None };
    match name.to_string().to_lowercase().as_str() {
        "smallserial" | "serial2" => Some(SqlType::Int2),
        "serial" | "serial4" => Some(SqlType::Int4),
        "bigserial" | "serial8" => Some(SqlType::Int8),
        _ => None,
    }
}

/// The words of an expression, among which are the columns that it mentions.
fn mentioned(expr: &ast::Expr) -> Vec<String> {
    use sqlparser::{dialect::PostgreSqlDialect, tokenizer::{Token, Tokenizer}};
    let text = expr.to_string();
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, &text).tokenize().unwrap_or_default();
    let mut names: Vec<String> = tokens
        .into_iter()
        .filter_map(|token| match token {
            Token::Word(word) if word.quote_style.is_some() => Some(word.value),
            Token::Word(word) => Some(word.value.to_lowercase()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Options that say two things about one column.
fn refuse_conflicts(def: &ast::ColumnDef, name: &str, table: &str) -> SqlResult<()> {
    let (mut defaults, mut identities, mut generated) = (usize::from(serial_type(&def.data_type).is_some()), 0, 0);
    let mut nullable = None;
    let refuse = |what: &str| {
        Err(SqlError::new(SqlState::SyntaxError, format!("{what} for column \"{name}\" of table \"{table}\"")))
    };
    for option in &def.options {
        match &option.option {
            ast::ColumnOption::Null | ast::ColumnOption::NotNull => {
                let is_null = matches!(option.option, ast::ColumnOption::Null);
                if nullable.is_some_and(|known| known != is_null) {
                    return refuse("conflicting NULL/NOT NULL declarations");
                }
                nullable = Some(is_null);
            }
            ast::ColumnOption::Default(_) => defaults += 1,
            ast::ColumnOption::Generated { generation_expr: Some(_), .. } => generated += 1,
            ast::ColumnOption::Generated { .. } => identities += 1,
            _ => {}
        }
    }
    match (defaults, identities, generated) {
        (2.., _, _) => refuse("multiple default values specified"),
        (_, 2.., _) => refuse("multiple identity specifications"),
        (_, _, 2..) => refuse("multiple generation clauses specified"),
        (1, 1, _) => refuse("both default and identity specified"),
        (1, _, 1) => refuse("both default and generation expression specified"),
        (_, 1, 1) => refuse("both identity and generation expression specified"),
        _ => Ok(()),
    }
}

pub(super) fn column(def: &ast::ColumnDef, place: &Place<'_>, out: &mut Constraints) -> SqlResult<ColumnSpec> {
    check_name(&def.name)?;
    let name = fold(&def.name);
    refuse_conflicts(def, &name, place.table)?;
    let serial = serial_type(&def.data_type);
    let ty = match serial {
        Some(ty) => ty,
        None => stored_type(&name, bind_type(&def.data_type, place.context)?)?,
    };
    let mut spec = ColumnSpec { name, ty, nullable: true, default: serial.map(|_| DefaultSpec::Serial) };
    column_options(&def.options, place, &mut spec, out)?;
    Ok(spec)
}

/// What is said of a column behind its type.
pub(super) fn column_options(
    options: &[ast::ColumnOptionDef],
    place: &Place<'_>,
    spec: &mut ColumnSpec,
    out: &mut Constraints,
) -> SqlResult<()> {
    let name = spec.name.clone();
    for option in options {
        let given = option.name.as_ref().map(fold);
        match &option.option {
            ast::ColumnOption::Null => spec.nullable = true,
            ast::ColumnOption::NotNull => spec.nullable = false,
            ast::ColumnOption::Default(expr) => spec.default = Some(DefaultSpec::Expr(stored_expr(expr, Some(spec.ty), place.context))),
            ast::ColumnOption::PrimaryKey(key) => {
                spec.nullable = false;
                out.indexes.push(IndexSpec {
                    name: given.or_else(|| key.name.as_ref().map(fold)),
                    unique: true,
                    primary: true,
                    constraint: true,
                    columns: vec![key_column(&name)],
                    ..deferral(key.characteristics.as_ref())?
                });
            }
            ast::ColumnOption::Unique(key) => out.indexes.push(IndexSpec {
                name: given.or_else(|| key.name.as_ref().map(fold)),
                unique: true,
                constraint: true,
                columns: vec![key_column(&name)],
                ..deferral(key.characteristics.as_ref())?
            }),
            ast::ColumnOption::Check(check) => out.checks.push(CheckSpec {
                name: given.or_else(|| check.name.as_ref().map(fold)),
                expr: stored_expr(&check.expr, None, place.context),
                columns: mentioned(&check.expr),
                not_valid: false,
            }),
            ast::ColumnOption::Generated { generated_as, sequence_options, generation_expr, .. } => {
                spec.default = Some(match (generated_as, generation_expr) {
                    (_, Some(expr)) => DefaultSpec::Stored(stored_expr(expr, Some(spec.ty), place.context)),
                    (kind, None) => DefaultSpec::Identity {
                        always: matches!(kind, ast::GeneratedAs::Always),
                        options: sequence_list(sequence_options.as_deref().unwrap_or_default())?,
                    },
                });
            }
            ast::ColumnOption::ForeignKey(key) => {
                out.foreign_keys.push(place.foreign_key(key, given, vec![name.clone()])?);
            }
            // How this crate's reader writes what the parser knows no place for.
            ast::ColumnOption::Comment(text) if text == extras::NULLS_NOT_DISTINCT => {
                if let Some(index) = out.indexes.last_mut() {
                    index.nulls_not_distinct = true;
                }
            }
            ast::ColumnOption::Comment(text) => {
                let Some(given) = extras::read_sequence_name(text) else {
                    return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"comment\""));
                };
                if let Some(DefaultSpec::Identity { options, .. }) = &mut spec.default {
                    options.name = Some(new_name(place.context, &given?)?);
                }
            }
            ast::ColumnOption::Collation(name) => super::domains::check_collation(name, spec.ty)?,
            other => return Err(not_yet(&format!("column option {other}"))),
        }
    }
    Ok(())
}

fn index_columns(columns: &[ast::IndexColumn], context: &PlanContext<'_>) -> SqlResult<Vec<IndexColumnSpec>> {
    columns
        .iter()
        .map(|column| {
            let options = &column.column.options;
            // There is one collation.
            let mut expr = &column.column.expr;
            while let ast::Expr::Collate { expr: inner, .. } = expr {
                expr = inner;
            }
            let (name, expr) = match expr {
                ast::Expr::Identifier(name) => (fold(name), None),
                ast::Expr::Function(call) => {
                    let label = call.name.to_string().to_lowercase();
                    (call.to_string(), Some((stored_expr(call, None, context), label)))
                }
                ast::Expr::Nested(inner) => match &**inner {
                    ast::Expr::Identifier(name) => (fold(name), None),
                    other => {
                        let label = match other {
                            ast::Expr::CompoundFieldAccess { access_chain, .. } => match access_chain.last() {
                                Some(ast::AccessExpr::Dot(ast::Expr::Identifier(field))) => fold(field),
                                _ => "expr".to_owned(),
                            },
                            _ => "expr".to_owned(),
                        };
                        (format!("({other})"), Some((stored_expr(other, None, context), label)))
                    }
                },
                other => return Err(SqlError::new(SqlState::SyntaxError, format!("syntax error at or near \"{other}\""))),
            };
            Ok(IndexColumnSpec {
                name,
                expr,
                descending: matches!(options.sort, Some(ast::OrderBySort::Desc)),
                nulls_first: options.nulls_first,
                class: class_name(column.operator_class.as_ref()),
            })
        })
        .collect()
}

/// The last part of the name of an operator class.
fn class_name(name: Option<&ast::ObjectName>) -> Option<String> {
    match name?.0.last()? {
        ast::ObjectNamePart::Identifier(name) => Some(fold(name)),
        ast::ObjectNamePart::Function(_) => None,
    }
}

/// What USING names: methods that are not told apart make ordered indexes.
fn index_method(using: Option<&ast::IndexType>) -> SqlResult<IndexMethod> {
    Ok(match using {
        Some(ast::IndexType::GIN) => IndexMethod::Gin,
        Some(ast::IndexType::Custom(name)) => {
            let message = format!("access method \"{}\" does not exist", fold(name));
            return Err(SqlError::new(SqlState::UndefinedObject, message));
        }
        None
        | Some(
            ast::IndexType::BTree
            | ast::IndexType::Hash
            | ast::IndexType::GiST
            | ast::IndexType::SPGiST
            | ast::IndexType::BRIN
            | ast::IndexType::Bloom,
        ) => IndexMethod::Btree,
    })
}

/// What indexes that are not ordered cannot be.
fn check_method(index: &IndexSpec) -> SqlResult<()> {
    if index.method == IndexMethod::Btree {
        return Ok(());
    }
    let lacks = |what: &str| {
        let message = format!("access method \"{}\" does not support {what}", index.method.name());
        Err(SqlError::not_supported(message))
    };
    let is_gin = index.method == IndexMethod::Gin;
    match () {
        () if is_gin && index.unique => lacks("unique indexes"),
        () if is_gin && !index.included.is_empty() => lacks("included columns"),
        () if index.columns.iter().any(|column| column.descending) => lacks("ASC/DESC options"),
        () if index.columns.iter().any(|column| column.nulls_first.is_some()) => lacks("NULLS FIRST/LAST options"),
        () => Ok(()),
    }
}

/// Whether a constraint waits, as an index by it has it.
fn deferral(characteristics: Option<&ast::ConstraintCharacteristics>) -> SqlResult<IndexSpec> {
    let (deferrable, initially_deferred) = read_deferral(characteristics)?;
    Ok(IndexSpec { deferrable, initially_deferred, ..IndexSpec::default() })
}

/// DEFERRABLE and INITIALLY DEFERRED.
pub(super) fn read_deferral(characteristics: Option<&ast::ConstraintCharacteristics>) -> SqlResult<(bool, bool)> {
    let deferred = characteristics.is_some_and(|it| matches!(it.initially, Some(ast::DeferrableInitial::Deferred)));
    let deferrable = characteristics.and_then(|it| it.deferrable);
    if deferred && deferrable == Some(false) {
        let message = "constraint declared INITIALLY DEFERRED must be DEFERRABLE";
        return Err(SqlError::new(SqlState::SyntaxError, message));
    }
    Ok((deferred || deferrable == Some(true), deferred))
}

/// A table constraint as what it makes.
pub(super) fn constraint(
    constraint: &ast::TableConstraint,
    place: &Place<'_>,
    out: &mut Constraints,
) -> SqlResult<()> {
    match constraint {
        ast::TableConstraint::Unique(key) => out.indexes.push(IndexSpec {
            name: key.name.as_ref().map(fold),
            unique: true,
            nulls_not_distinct: key.nulls_distinct == ast::NullsDistinctOption::NotDistinct,
            constraint: true,
            columns: index_columns(&key.columns, place.context)?,
            included: key.include.iter().map(fold).collect(),
            ..deferral(key.characteristics.as_ref())?
        }),
        ast::TableConstraint::PrimaryKey(key) => out.indexes.push(IndexSpec {
            name: key.name.as_ref().map(fold),
            unique: true,
            primary: true,
            constraint: true,
            columns: index_columns(&key.columns, place.context)?,
            included: key.include.iter().map(fold).collect(),
            ..deferral(key.characteristics.as_ref())?
        }),
        ast::TableConstraint::Check(check) => out.checks.push(CheckSpec {
            name: check.name.as_ref().map(fold),
            expr: stored_expr(&check.expr, None, place.context),
            columns: mentioned(&check.expr),
                not_valid: false,
        }),
        ast::TableConstraint::ForeignKey(key) => {
            let columns = key.columns.iter().map(fold).collect();
            out.foreign_keys.push(place.foreign_key(key, key.name.as_ref().map(fold), columns)?);
        }
        ast::TableConstraint::Exclude(exclude) => out.indexes.push(exclusion(exclude, place.context)?),
        other => return Err(not_yet(&format!("constraint {other}"))),
    }
    Ok(())
}

/// EXCLUDE as the index that keeps it.
fn exclusion(exclude: &ast::ExcludeConstraint, context: &PlanContext<'_>) -> SqlResult<IndexSpec> {
    let method = match exclude.index_method.as_ref().map(fold).as_deref() {
        None | Some("btree") => IndexMethod::Btree,
        Some("gist" | "spgist") => IndexMethod::Gist,
        Some(name @ ("gin" | "brin")) => {
            let message = format!("access method \"{name}\" does not support exclusion constraints");
            return Err(SqlError::not_supported(message));
        }
        Some("hash") => return Err(not_yet("exclusion constraints by hash indexes")),
        Some(name) => {
            let message = format!("access method \"{name}\" does not exist");
            return Err(SqlError::new(SqlState::UndefinedObject, message));
        }
    };
    let operator = |element: &ast::ExcludeConstraintElement| {
        let symbol = match &element.operator {
            ast::ExcludeConstraintOperator::Token(symbol) => symbol.as_str(),
            ast::ExcludeConstraintOperator::PGOperator(parts) => parts.last().map_or("", String::as_str),
        };
        match symbol {
            "=" => Ok(ExcludeOperator::Equal),
            "&&" if method == IndexMethod::Gist => Ok(ExcludeOperator::Overlap),
            other => Err(not_yet(&format!("exclusion constraints WITH {other} are not supported"))),
        }
    };
    let columns: Vec<ast::IndexColumn> = exclude.elements.iter().map(|element| element.column.clone()).collect();
    let (deferrable, initially_deferred) = read_deferral(exclude.characteristics.as_ref())?;
    let spec = IndexSpec {
        name: exclude.name.as_ref().map(fold),
        constraint: true,
        columns: index_columns(&columns, context)?,
        included: exclude.include.iter().map(fold).collect(),
        predicate: exclude.where_clause.as_ref().map(|it| stored_expr(it, None, context)),
        method,
        deferrable,
        initially_deferred,
        exclude: exclude.elements.iter().map(operator).collect::<SqlResult<_>>()?,
        ..IndexSpec::default()
    };
    check_method(&spec)?;
    Ok(spec)
}

/// A column of another table, for one that is LIKE it.
pub(super) fn like_column(column: &Column, like: &Like, catalog: &catalog::CatalogSnapshot) -> ColumnSpec {
    let default = match &column.default {
        Some(ColumnDefault::Expr(text)) if like.defaults => Some(DefaultSpec::Expr(text.clone())),
        Some(ColumnDefault::Stored(text)) if like.generated => Some(DefaultSpec::Stored(text.clone())),
        Some(ColumnDefault::Identity { sequence, always }) if like.identity => {
            let options = match catalog.relation_by_id(*sequence) {
                Some(catalog::Relation::Sequence(it)) => SequenceOptions {
                    start: Some(it.start),
                    increment: Some(it.increment),
                    min: Some(Some(it.min)),
                    max: Some(Some(it.max)),
                    cache: Some(it.cache),
                    cycle: Some(it.cycle),
                    ..SequenceOptions::default()
                },
                _ => SequenceOptions::default(),
            };
            Some(DefaultSpec::Identity { always: *always, options })
        }
        _ => None,
    };
    ColumnSpec { name: column.name.clone(), ty: column.declared(), nullable: column.nullable, default }
}

/// LIKE: the columns of another table, and what else is asked for.
fn like(like: &Like, context: &PlanContext<'_>, columns: &mut Vec<ColumnSpec>, out: &mut Constraints) -> SqlResult<()> {
    let table = find_table(context, &like.table)?;
    context.notes.needs.always(Need::Object { id: table.id, privileges: PrivilegeSet::SELECT });
    let specs: Vec<ColumnSpec> =
        table.visible_columns().map(|(_, column)| like_column(column, like, context.catalog)).collect();
    let place = like.place.min(columns.len());
    columns.splice(place..place, specs);
    if like.constraints {
        out.checks.extend(table.checks.iter().map(|check| CheckSpec {
            name: Some(check.name.clone()),
            expr: check.expr.clone(),
            columns: check
                .columns
                .iter()
                .filter_map(|id| table.column_position(*id).map(|at| table.columns[at].name.clone()))
                .collect(),
            not_valid: false,
        }));
    }
    let with_name = |index: &&catalog::Index| like.indexes && !index.name.is_empty();
    for index in table.indexes.iter().filter(with_name) {
        let column = |key: &catalog::IndexColumn| {
            let column = &table.columns[table.column_position(key.column)?];
            let expr = match &column.default {
                Some(ColumnDefault::Stored(text)) if column.hidden => Some((text.clone(), "expr".to_owned())),
                _ => None,
            };
            Some(IndexColumnSpec {
                name: column.name.clone(),
                expr,
                descending: key.direction == types::Direction::Desc,
                nulls_first: Some(key.nulls == types::NullsOrder::First),
                class: None,
            })
        };
        let columns: Vec<IndexColumnSpec> = index.columns.iter().filter_map(column).collect();
        let spec = IndexSpec {
            name: None,
            unique: index.unique,
            nulls_not_distinct: index.nulls_not_distinct,
            primary: table.is_primary_key(index),
            constraint: index.constraint.is_some(),
            columns,
            included: table.positions(&index.included).map(|at| table.columns[at].name.clone()).collect(),
            predicate: index.predicate.clone(),
            ..IndexSpec::default()
        };
        out.indexes.push(spec.with_details_of(index));
    }
    Ok(())
}

fn pseudo_name(ty: SqlType) -> String {
    let name = if matches!(ty.element().unwrap_or(ty), SqlType::Record(_)) { "record".to_owned() } else { ty.base_name() };
    if ty.is_array() && !name.ends_with("[]") { format!("{name}[]") } else { name }
}

/// The type of a column of a table or view. Pseudo-types have no values to store, and what is known of a record's fields
/// is known in this process alone.
pub(super) fn stored_type(column: &str, ty: SqlType) -> SqlResult<SqlType> {
    if !ty.element().unwrap_or(ty).is_pseudo() {
        ty.check_size()?;
        return Ok(ty);
    }
    let message = format!("column \"{column}\" has pseudo-type {}", pseudo_name(ty));
    Err(SqlError::new(SqlState::InvalidTableDefinition, message))
}

/// Whether a check is to hold for a table alone is asked of partitioned tables.
pub(super) fn no_inherit(name: &str) -> SqlError {
    let message = format!("cannot add NO INHERIT constraint to partitioned table \"{name}\"");
    SqlError::new(SqlState::InvalidTableDefinition, message)
}

pub(super) fn table(
    create: &ast::CreateTable,
    extras: &Extras,
    context: &PlanContext<'_>,
) -> SqlResult<PreparedPlan> {
    if create.partition_by.is_some() || create.partition_of.is_some() || extras.partition_by.is_some() && create.query.is_some() {
        return Err(SqlError::new(SqlState::SyntaxError, "syntax error at or near \"partition\""));
    }
    if extras.partition_by.is_some() && create.inherits.is_some() {
        let message = "cannot create partitioned table as inheritance child";
        return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
    }
    for parent in create.inherits.iter().flatten() {
        // Of others nothing is inherited.
        let (what, parent) = match find_table(context, parent) {
            Ok(table) if table.is_partitioned() => ("partitioned table", table),
            Ok(table) if table.partition_parent().is_some() => ("partition", table),
            Ok(_) | Err(_) => continue,
        };
        return Err(SqlError::new(SqlState::WrongObjectType, format!("cannot inherit from {what} \"{}\"", parent.name)));
    }
    let (home, name) = new_home(context, &create.name, create.temporary)?;
    if extras.partition_by.is_some() {
        let mut options = create.columns.iter().flat_map(|column| &column.options).map(|it| &it.option);
        let of_columns = options.any(|it| matches!(it, ast::ColumnOption::Check(check) if check.no_inherit));
        let of_table = |it: &ast::TableConstraint| matches!(it, ast::TableConstraint::Check(check) if check.no_inherit);
        if of_columns || create.constraints.iter().any(of_table) {
            return Err(no_inherit(&name));
        }
    }
    let on_commit = match &create.on_commit {
        Some(_) if home != Home::Temporary => {
            let message = "ON COMMIT can only be used on temporary tables";
            return Err(SqlError::new(SqlState::InvalidTableDefinition, message));
        }
        None | Some(ast::OnCommit::PreserveRows) => OnCommit::PreserveRows,
        Some(ast::OnCommit::DeleteRows) => OnCommit::DeleteRows,
        Some(ast::OnCommit::Drop) => OnCommit::Drop,
    };
    let mut constraints = Constraints::default();
    let place = Place { context, table: &name, new_in: Some(home) };
    let mut columns = Vec::with_capacity(create.columns.len());
    for def in &create.columns {
        columns.push(column(def, &place, &mut constraints)?);
    }
    for item in &create.constraints {
        constraint(item, &place, &mut constraints)?;
    }
    for item in &extras.likes {
        like(item, context, &mut columns, &mut constraints)?;
    }
    if constraints.indexes.iter().filter(|index| index.primary).count() > 1 {
        return Err(SqlError::new(
            SqlState::InvalidTableDefinition,
            format!("multiple primary keys for table \"{name}\" are not allowed"),
        ));
    }
    let mut source = None;
    let mut ctes = Vec::new();
    let mut tag = "CREATE TABLE";
    if let Some(query) = &create.query {
        let (rel, mut binder) = Binder::bind_with(context, None, optimize_rel, |binder| binder.bind_query(query))?;
        ctes = binder.take_ctes();
        let names: Vec<String> = extras.column_names.iter().map(fold).collect();
        if names.len() > rel.columns.len() {
            return Err(SqlError::new(SqlState::SyntaxError, "too many column names were specified"));
        }
        columns = rel
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let name = names.get(at).cloned().unwrap_or_else(|| column.name.clone());
                let ty = stored_type(&name, column.ty)?;
                Ok(ColumnSpec { name, ty, nullable: true, default: None })
            })
            .collect::<SqlResult<_>>()?;
        source = Some(optimize_rel(rel, context)?).filter(|_| !extras.no_data);
        tag = if extras.no_data { "CREATE TABLE AS" } else { "SELECT" };
    }
    let create = CreateTable {
        home,
        name,
        if_not_exists: create.if_not_exists,
        columns,
        indexes: constraints.indexes,
        checks: constraints.checks,
        foreign_keys: constraints.foreign_keys,
        on_commit,
        source,
        materialized: None,
        partition_by: extras.partition_by.as_ref().map(|by| super::partition::spec(by, context)).transpose()?,
        partition_of: None,
    };
    let mut plan = ddl(Ddl::CreateTable(create), tag, context);
    plan.ctes = ctes;
    Ok(plan)
}

pub(super) fn index(create: &ast::CreateIndex, only: bool, context: &PlanContext<'_>) -> SqlResult<PreparedPlan> {
    let (schema, relation) = qualified_name(context, &create.table_name)?;
    if let Some(other @ (catalog::Relation::View(_) | catalog::Relation::Sequence(_))) =
        find_relation(context, schema.as_deref(), &relation)?
    {
        let message = format!("cannot create index on relation \"{}\"", other.name());
        let detail = format!("This operation is not supported for {}s.", other.kind());
        return Err(SqlError::new(SqlState::WrongObjectType, message).with_detail(detail));
    }
    let table = find_table(context, &create.table_name)?;
    if table.is_partitioned() && create.concurrently {
        let message = format!("cannot create index on partitioned table \"{}\" concurrently", table.name);
        return Err(SqlError::not_supported(message));
    }
    let name = match &create.name {
        Some(name) => Some(qualified_name(context, name)?.1),
        None => None,
    };
    let index = IndexSpec {
        name,
        unique: create.unique,
        nulls_not_distinct: create.nulls_distinct == Some(false),
        columns: index_columns(&create.columns, context)?,
        included: create.include.iter().map(fold).collect(),
        predicate: create.predicate.as_ref().map(|it| stored_expr(it, None, context)),
        method: index_method(create.using.as_ref())?,
        ..IndexSpec::default()
    };
    check_method(&index)?;
    Ok(ddl(Ddl::CreateIndex { table, index, if_not_exists: create.if_not_exists, only }, "CREATE INDEX", context))
}

fn number(expr: &ast::Expr) -> SqlResult<i64> {
    expr.to_string().replace(' ', "").parse().map_err(|_| {
        SqlError::new(SqlState::SyntaxError, format!("a whole number is expected instead of {expr}"))
    })
}

pub(super) fn sequence_list(options: &[ast::SequenceOptions]) -> SqlResult<SequenceOptions> {
    let mut found = SequenceOptions::default();
    for option in options {
        match option {
            ast::SequenceOptions::IncrementBy(expr, _) => found.increment = Some(number(expr)?),
            ast::SequenceOptions::MinValue(value) => found.min = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::MaxValue(value) => found.max = Some(value.as_ref().map(number).transpose()?),
            ast::SequenceOptions::StartWith(expr, _) => found.start = Some(number(expr)?),
            ast::SequenceOptions::Cache(expr) => found.cache = Some(number(expr)?),
            // The parser's flag says that NO was written.
            ast::SequenceOptions::Cycle(no) => found.cycle = Some(!*no),
        }
    }
    Ok(found)
}
