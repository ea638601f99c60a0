//! Which names mean what at a place in a query.
//!
//! A [`Level`] is what becomes one plan of its own: the statement, a subquery in an expression, a LATERAL item. Its
//! expressions reach the enclosing level's row only through slots: the first reference to an outer value takes the
//! next slot, and the slot's value, an expression of the enclosing scope, becomes an argument of the subquery. A
//! reference that goes two levels up is, in the middle level, itself an outer slot. Derived tables, views and the arms
//! of set operations are no levels: they run as part of the plan they stand in.
//!
//! A [`Scope`] is what FROM made visible at one level: ranges for qualified names, and the unqualified columns, where
//! USING and NATURAL have merged theirs.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use catalog::Table;
use types::{SqlError, SqlResult, SqlState, SqlType};

use crate::bind::same::same_expr;
use crate::expr::Expr;
use crate::needs::Reads;

/// One plan's worth of query, and what it takes from outside.
#[derive(Debug, Default)]
pub(crate) struct Level<'a> {
    pub parent: Option<&'a Scope<'a>>,
    /// The values of the outer slots, over the parent scope.
    pub slots: RefCell<Vec<Expr>>,
    /// How often a name was found outside; tells whether a part of the query is correlated.
    pub outer_uses: Cell<usize>,
    /// Distinguishes levels of one statement.
    pub id: u32,
    pub place: Place,
}

/// Where a level stands in the query around it: who would compute the aggregates of its outer values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no query.
    #[default]
    Outermost,
    /// In an expression of the SELECT or clause whose frame has this number.
    Expression(usize),
    LateralQuery,
    /// A tree of joins that holds a lateral item.
    LateralTree,
    LateralFunction,
}

impl<'a> Level<'a> {
    pub fn new(parent: Option<&'a Scope<'a>>, id: u32, place: Place) -> Self {
        Self { parent, slots: RefCell::default(), outer_uses: Cell::new(0), id, place }
    }

    /// The slot for a value of the enclosing row.
    pub fn outer(&self, value: Expr) -> Expr {
        self.outer_uses.set(self.outer_uses.get() + 1);
        let ty = value.ty();
        let mut slots = self.slots.borrow_mut();
        let slot = slots.iter().position(|known| same_expr(known, &value)).unwrap_or_else(|| {
            slots.push(value);
            slots.len() - 1
        });
        Expr::Outer(slot, ty)
    }
}

/// A table, subquery or function of FROM under its name.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    /// Empty for a subquery without an alias: it cannot be named.
    pub name: String,
    /// The schema's name, while no alias hides it.
    pub schema: Option<String>,
    /// For tables: its columns begin at position `first` of the row.
    pub table: Option<(Arc<Table>, usize)>,
    /// For the catalogs: their own oid.
    pub catalog_oid: Option<u32>,
    pub columns: Vec<RangeColumn>,
    /// Where it is no table: what its rows are.
    pub row_of: RowOf,
}

/// What the rows of an item of FROM are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RowOf {
    #[default]
    Nothing,
    /// Of a table or view, by its id.
    Relation(u32),
    /// Of a composite type.
    Type(SqlType),
}

impl Range {
    /// The system column `tableoid`, of a table or a catalog.
    fn table_oid(&self) -> Option<Expr> {
        // Of a row of a partitioned table: a hidden column of it.
        if let Some((table, first)) = &self.table
            && let Some(position) = table.table_oid_position()
        {
            return Some(Expr::Column(first + position, SqlType::Oid));
        }
        let oid = self.table.as_ref().map(|(table, _)| table.id).or(self.catalog_oid)?;
        Some(Expr::Const(types::Datum::Int(oid.into()), SqlType::Oid))
    }
}

impl Range {
    /// A column that SEARCH or CYCLE added: found by its name, and by no star.
    fn added(&self, name: &str) -> Option<Expr> {
        let mut hidden = self.columns.iter().filter(|column| column.hidden && self.table.is_none());
        hidden.find(|column| column.name == name).map(|column| column.expr.clone())
    }
}

#[derive(Clone, Debug)]
pub(crate) struct RangeColumn {
    pub name: String,
    pub expr: Expr,
    /// Found by no star, and of a table by no name: a row id, or what SEARCH and CYCLE add.
    pub hidden: bool,
}

/// A column that an unqualified name and `*` see.
#[derive(Clone, Debug)]
pub(crate) struct Visible {
    pub name: String,
    pub expr: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    pub level: &'a Level<'a>,
    pub ranges: Vec<Range>,
    pub visible: Vec<Visible>,
    /// Number of columns of the row.
    pub width: usize,
    /// The relations that the row's columns are read from.
    pub reads: Vec<Reads>,
}

impl<'a> Scope<'a> {
    pub fn empty(level: &'a Level<'a>) -> Self {
        Self { level, ranges: Vec::new(), visible: Vec::new(), width: 0, reads: Vec::new() }
    }

    /// A scope of one range, whose columns are the row.
    pub fn of_range(level: &'a Level<'a>, range: Range) -> Self {
        let visible = range.columns.iter().filter(|column| !column.hidden);
        let visible = visible.map(|it| Visible { name: it.name.clone(), expr: it.expr.clone() }).collect();
        let width = range.columns.len();
        Self { level, ranges: vec![range], visible, width, reads: Vec::new() }
    }

    /// With the relation that its columns are read from.
    pub fn reading(mut self, reads: Reads) -> Self {
        self.reads.push(reads);
        self
    }

    pub fn reading_all(mut self, reads: Vec<Reads>) -> Self {
        self.reads.extend(reads);
        self
    }

    /// Notes what an expression over the row reads.
    pub fn mark(&self, expr: &Expr) {
        self.reads.iter().for_each(|reads| reads.mark(expr));
    }

    /// This row followed by another's columns.
    ///
    /// # Errors
    /// 42712 when a name stands in both.
    pub fn join(mut self, mut right: Scope<'a>) -> SqlResult<Self> {
        for range in &right.ranges {
            let clash = self.ranges.iter().any(|known| {
                !range.name.is_empty()
                    && known.name == range.name
                    && (known.schema == range.schema || known.schema.is_none() || range.schema.is_none())
            });
            if clash {
                return Err(SqlError::new(
                    SqlState::DuplicateAlias,
                    format!("table name \"{}\" specified more than once", range.name),
                ));
            }
        }
        right.shift(self.width);
        self.ranges.append(&mut right.ranges);
        self.visible.append(&mut right.visible);
        self.reads.append(&mut right.reads);
        self.width += right.width;
        Ok(self)
    }

    fn shift(&mut self, by: usize) {
        for range in &mut self.ranges {
            if let Some((_, first)) = &mut range.table {
                *first += by;
            }
            range.columns.iter_mut().for_each(|column| shift_columns(&mut column.expr, by));
        }
        self.visible.iter_mut().for_each(|column| shift_columns(&mut column.expr, by));
        self.reads.iter_mut().for_each(|reads| reads.shift(by));
    }

    /// An unqualified name here or further out; `None` when nobody knows it.
    ///
    /// # Errors
    /// 42702 when it could mean more than one column.
    pub fn column(&self, name: &str) -> SqlResult<Option<Expr>> {
        let mut found = self.visible.iter().filter(|column| column.name == name);
        if let Some(first) = found.next() {
            if found.next().is_some() {
                return Err(SqlError::new(
                    SqlState::AmbiguousColumn,
                    format!("column reference \"{name}\" is ambiguous"),
                ));
            }
            self.mark(&first.expr);
            return Ok(Some(first.expr.clone()));
        }
        if name == "tableoid" {
            let mut oids = self.ranges.iter().filter_map(Range::table_oid);
            match (oids.next(), oids.next()) {
                (Some(oid), None) => return Ok(Some(oid)),
                (Some(_), Some(_)) => {
                    return Err(SqlError::new(
                        SqlState::AmbiguousColumn,
                        "column reference \"tableoid\" is ambiguous",
                    ));
                }
                (None, _) => {}
            }
        }
        if let Some(added) = self.ranges.iter().find_map(|range| range.added(name)) {
            return Ok(Some(added));
        }
        let Some(parent) = self.level.parent else { return Ok(None) };
        Ok(parent.column(name)?.map(|value| self.level.outer(value)))
    }

    /// A range by name.
    pub fn range(&self, schema: Option<&str>, name: &str) -> SqlResult<Option<&Range>> {
        let mut found = self.ranges.iter().filter(|range| {
            range.name == name && !name.is_empty() && (schema.is_none() || range.schema.as_deref() == schema)
        });
        let first = found.next();
        if found.next().is_some() {
            return Err(SqlError::new(
                SqlState::AmbiguousAlias,
                format!("table reference \"{name}\" is ambiguous"),
            ));
        }
        Ok(first)
    }

    /// `range.column` here or further out; `None` when there is no such range.
    ///
    /// # Errors
    /// 42703 when the range has no such column.
    pub fn qualified(&self, schema: Option<&str>, range: &str, column: &str) -> SqlResult<Option<Expr>> {
        if let Some(found) = self.range(schema, range)? {
            let mut columns = found.columns.iter().filter(|it| it.name == column && !it.hidden);
            if let Some(first) = columns.next() {
                if columns.next().is_some() {
                    return Err(SqlError::new(
                        SqlState::AmbiguousColumn,
                        format!("column reference \"{column}\" is ambiguous"),
                    ));
                }
                self.mark(&first.expr);
                return Ok(Some(first.expr.clone()));
            }
            if column == "tableoid"
                && let Some(oid) = found.table_oid()
            {
                return Ok(Some(oid));
            }
            if let Some(added) = found.added(column) {
                return Ok(Some(added));
            }
            return Err(match column {
                "ctid" | "xmin" | "xmax" | "cmin" | "cmax" if found.table.is_some() => {
                    SqlError::not_supported(format!("system column \"{column}\" is not supported"))
                }
                _ => SqlError::new(
                    SqlState::UndefinedColumn,
                    format!("column {range}.{column} does not exist"),
                ),
            });
        }
        let Some(parent) = self.level.parent else { return Ok(None) };
        Ok(parent.qualified(schema, range, column)?.map(|value| self.level.outer(value)))
    }

    /// The fields of a whole row by its range's name, with their names, and what it is a row of.
    pub fn whole_row(&self, name: &str) -> SqlResult<Option<(Vec<(String, Expr)>, RowOf)>> {
        if let Some(found) = self.range(None, name)? {
            // All that a table has now: a view that was made before knows less of it by name.
            let is_hidden = |at: usize, column: &RangeColumn| match &found.table {
                Some((table, _)) if table.columns.len() == found.columns.len() => table.columns[at].hidden,
                _ => column.hidden,
            };
            let columns = found.columns.iter().enumerate();
            let columns = columns.filter(|(at, column)| !is_hidden(*at, column)).map(|(_, column)| column);
            columns.clone().for_each(|column| self.mark(&column.expr));
            let of = match (&found.table, found.row_of) {
                (Some((table, _)), RowOf::Nothing) => RowOf::Relation(table.id),
                (_, of) => of,
            };
            return Ok(Some((columns.map(|column| (column.name.clone(), column.expr.clone())).collect(), of)));
        }
        let Some(parent) = self.level.parent else { return Ok(None) };
        let found = parent.whole_row(name)?;
        Ok(found.map(|(fields, of)| (fields.into_iter().map(|(name, value)| (name, self.level.outer(value))).collect(), of)))
    }

    /// How a column of the row is called in messages: `t.x`, or `x`.
    pub fn describe(&self, position: usize) -> String {
        for range in &self.ranges {
            for column in &range.columns {
                if matches!(column.expr, Expr::Column(at, _) if at == position) {
                    return if range.name.is_empty() {
                        column.name.clone()
                    } else {
                        format!("{}.{}", range.name, column.name)
                    };
                }
            }
        }
        format!("column {}", position + 1)
    }
}

/// Moves an expression's columns to the right.
pub(crate) fn shift_columns(expr: &mut Expr, by: usize) {
    if let Expr::Column(position, _) = expr {
        *position += by;
    }
    expr.for_each_child_mut(&mut |child| shift_columns(child, by));
}
