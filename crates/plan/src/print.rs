//! Expressions as text: defaults, checks and predicates as `pg_get_expr` and its kin show them.
//!
//! The problem: clients compare what the catalog shows with what they once wrote, and know how PostgreSQL spells it:
//! every cast that was done for the writer is visible, every operand stands in parentheses.
//!
//! The idea: the stored text is bound again, without computing anything on the way, and the bound expression is
//! printed. What cannot be printed so is shown as it was written.
//!
//! **Invariant (reads-back):** what is printed, read again over the same table, prints as itself.
//!
//! Deliberately left out: subqueries and windows.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use builtins::{Builtin, CallTypes, EvalContext};
use catalog::{CatalogView, PolicyExpr, Printers, Table, definition::Style};
use rustc_hash::FxHashMap;
use types::stack::{deep, grown};
use types::{CastContext, Datum, Formatting, SqlType, quote_identifier, to_text};

use crate::LargeObjectOp;
use crate::PlanContext;
use crate::bind::{AGGREGATE_BASE, bind_as_written, condition_as_written, policy_as_written};
use crate::expr::{AggregateCall, Expr, SequenceOp, SleepOp, TruthTest};
use crate::print_query::print_view;

/// What the catalog shows stored text with.
pub static PRINTERS: Printers = Printers { expr: print_stored, condition: print_condition, policy: print_policy, view: print_view, written_through: crate::bind::written_through };

/// A stored expression over a table's columns, as PostgreSQL would show it; `ty`: what an undetermined literal is.
/// `None`: it does not bind, or has parts that are not printed.
fn print_stored(
    view: &CatalogView,
    table: &Table,
    text: &str,
    ty: Option<SqlType>,
    style: Style,
) -> Option<String> {
    with_context(view, |context| {
        let expr = bind_as_written(text, table, ty, context).ok()?;
        let names =
            |position: usize| table.columns.get(position).map(|column| match table.name.is_empty() {
                // Of a domain.
                true => column.name.to_uppercase(),
                false => quote_identifier(&column.name),
            });
        let printer =
            Printer { names: &names, aggregates: &[], style, indent: 0, formatting: context.formatting };
        let mut out = String::new();
        printer.expr(&mut out, &expr, Casts::Written)?;
        Some(out)
    })
}

/// WHEN of a trigger.
fn print_condition(view: &CatalogView, table: &Arc<Table>, text: &str, style: Style) -> Option<String> {
    with_context(view, |context| {
        let expr = condition_as_written(table, text, context).ok()?;
        let width = table.columns.len();
        let names = |position: usize| match position.checked_sub(2 * width) {
            None => {
                let row = if position < width { "old" } else { "new" };
                let column = table.columns.get(position % width)?;
                Some(format!("{row}.{}", quote_identifier(&column.name)))
            }
            Some(0) => Some("old.*".to_owned()),
            Some(_) => Some("new.*".to_owned()),
        };
        let printer =
            Printer { names: &names, aggregates: &[], style, indent: 0, formatting: context.formatting };
        let mut out = String::new();
        printer.expr(&mut out, &expr, Casts::Written)?;
        Some(out)
    })
}

/// A condition of a policy.
fn print_policy(view: &CatalogView, table: &Arc<Table>, expr: &PolicyExpr, style: Style) -> Option<String> {
    with_context(view, |context| {
        let bound = policy_as_written(table, expr, context).ok()?;
        let names = |position: usize| table.columns.get(position).map(|column| quote_identifier(&column.name));
        let printer =
            Printer { names: &names, aggregates: &[], style, indent: 0, formatting: context.formatting };
        let mut out = String::new();
        printer.expr(&mut out, &bound, Casts::Written)?;
        Some(out)
    })
}

/// Runs `body` with what binding needs, as a session with default settings has it.
pub(crate) fn with_context<T>(view: &CatalogView, body: impl FnOnce(&PlanContext<'_>) -> T) -> T {
    deep(|| in_context(view, body))
}

fn in_context<T>(view: &CatalogView, body: impl FnOnce(&PlanContext<'_>) -> T) -> T {
    let formatting =
        Formatting { oid_names: Some(std::sync::Arc::new(view.clone())), ..Formatting::default() };
    let eval = EvalContext { catalog: view, ..EvalContext::detached(&formatting) };
    body(&PlanContext {
        catalog: &view.catalog,
        database: view.database,
        search_path: &view.search_path,
        user: &view.user,
        param_types: &[],
        notes: &crate::PlanNotes::default(),
        eval: &eval,
        formatting: &formatting,
        variables: None,
        transitions: &[],
        names: &[],
        depends_on: None,
        security: None,
    })
}

/// Symbols of operators by the functions behind them.
static SYMBOLS: LazyLock<FxHashMap<usize, &'static str>> = LazyLock::new(|| {
    let operators = builtins::all_operators();
    operators.map(|operator| (std::ptr::from_ref(&operator.function) as usize, operator.symbol)).collect()
});

fn symbol_of(builtin: &'static Builtin) -> Option<&'static str> {
    SYMBOLS.get(&(std::ptr::from_ref(builtin) as usize)).copied()
}

pub(crate) fn is_operator(builtin: &'static Builtin) -> bool {
    symbol_of(builtin).is_some()
}

/// Which casts are shown: an operand's all, elsewhere only those somebody wrote.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Casts {
    All,
    Written,
}

/// What an expression is an operand of; it decides about parentheses where only the needed ones are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    /// Of a binary operator, on its left or right.
    Left(&'a str),
    Right(&'a str),
    And,
    Or,
    Not,
    /// Of a cast, a test, or anything else that binds closely.
    Close,
}

fn is_product(symbol: &str) -> bool {
    matches!(symbol, "*" | "/" | "%")
}

fn is_sum(symbol: &str) -> bool {
    matches!(symbol, "+" | "-")
}

/// Functions that are written without parentheses after their names.
fn keyword_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "current_date" => "CURRENT_DATE",
        "current_time" => "CURRENT_TIME",
        "current_timestamp" => "CURRENT_TIMESTAMP",
        "localtime" => "LOCALTIME",
        "localtimestamp" => "LOCALTIMESTAMP",
        "current_user" => "CURRENT_USER",
        "current_role" => "CURRENT_ROLE",
        "session_user" => "SESSION_USER",
        "user" => "USER",
        "current_catalog" => "CURRENT_CATALOG",
        "current_schema" => "CURRENT_SCHEMA",
        _ => return None,
    })
}

pub(crate) struct Printer<'a> {
    /// The columns' names, quoted, by position.
    pub names: &'a dyn Fn(usize) -> Option<String>,
    pub aggregates: &'a [AggregateCall],
    pub style: Style,
    /// Spaces before the lines of what has lines of its own.
    pub indent: usize,
    pub formatting: &'a Formatting,
}

/// The name in a call. What makes values of a made range type has the name of that.
pub(crate) fn called(builtin: &'static Builtin, types: &CallTypes) -> Cow<'static, str> {
    match types.ret.user_type() {
        Some(_) if builtin.oid == 0 => types.ret.base_name().into(),
        _ => builtin.name().into(),
    }
}

impl Printer<'_> {
    /// `None` from here on: there is something that is not printed.
    pub(crate) fn expr(&self, out: &mut String, expr: &Expr, casts: Casts) -> Option<()> {
        grown(|| self.expr_node(out, expr, casts))
    }

    fn expr_node(&self, out: &mut String, expr: &Expr, casts: Casts) -> Option<()> {
        match expr {
            Expr::Column(position, _) if *position >= AGGREGATE_BASE => {
                let call = self.aggregates.get(position - AGGREGATE_BASE)?;
                self.aggregate(out, call.aggregate.signature.name, call)?;
            }
            Expr::Column(position, _) => out.push_str(&(self.names)(*position)?),
            Expr::Const(value, ty) => self.constant(out, value, ty),
            Expr::Call { builtin, args, types } => match symbol_of(builtin) {
                Some(symbol) => self.enclosed(out, |out| self.operator(out, symbol, args))?,
                // The name of a type is quoted as it is.
                None if types.ret.user_type().is_some() && builtin.oid == 0 => self.call(out, &called(builtin, types), args)?,
                None => self.function(out, builtin.name(), args)?,
            },
            Expr::And(list) => self.enclosed(out, |out| self.operands(out, list, " AND ", Place::And))?,
            Expr::Or(list) => self.enclosed(out, |out| self.operands(out, list, " OR ", Place::Or))?,
            Expr::Not(inner) => match &**inner {
                Expr::IsNull(tested) => self.test(out, tested, " IS NOT NULL")?,
                Expr::IsDistinctFrom(left, right) => {
                    self.enclosed(out, |out| self.pair(out, left, " IS NOT DISTINCT FROM ", right))?;
                }
                Expr::Truth(tested, test) => self.test(out, tested, &format!(" IS NOT {}", truth(test)))?,
                inner => self.enclosed(out, |out| {
                    out.push_str("NOT ");
                    self.operand(out, inner, Casts::Written, Place::Not)
                })?,
            },
            Expr::IsNull(tested) => self.test(out, tested, " IS NULL")?,
            Expr::Truth(tested, test) => self.test(out, tested, &format!(" IS {}", truth(test)))?,
            Expr::IsDistinctFrom(left, right) => {
                self.enclosed(out, |out| self.pair(out, left, " IS DISTINCT FROM ", right))?;
            }
            Expr::Case { operand, branches, otherwise, .. } => {
                self.case(out, operand.as_deref(), branches, otherwise.as_deref())?;
            }
            Expr::Coalesce(list, _) => self.call(out, "COALESCE", list)?,
            Expr::Greatest(list, _) => self.call(out, "GREATEST", list)?,
            Expr::Least(list, _) => self.call(out, "LEAST", list)?,
            Expr::NullIf { value, equal, .. } => {
                let sides = [without_family_cast(value), without_family_cast(compared_with(equal)?)];
                self.call(out, "NULLIF", &sides.map(Clone::clone))?;
            }
            Expr::Cast { expr, context: CastContext::Implicit, .. } if casts == Casts::Written => {
                self.expr(out, expr, casts)?;
            }
            Expr::Cast { expr, to, .. } => self.cast(out, expr, to)?,
            Expr::ToDomain { expr, context: CastContext::Implicit | CastContext::Assignment, .. } => {
                self.expr(out, expr, casts)?;
            }
            Expr::ToDomain { expr, rules, of_elements, .. } => {
                let domain = SqlType::Domain(rules.domain);
                self.cast(out, expr, &if *of_elements { domain.array_of() } else { domain })?;
            }
            Expr::InList { expr, list, negated } => {
                self.enclosed(out, |out| self.in_list(out, expr, list, *negated))?
            }
            Expr::AnyAll { left, array, comparison, all } => {
                let symbol = symbol_of(comparison.builtin)?;
                self.enclosed(out, |out| {
                    self.operand(out, left, Casts::All, Place::Close)?;
                    let _ = write!(out, " {symbol} {} (", if *all { "ALL" } else { "ANY" });
                    self.operand(out, array, Casts::All, Place::Close)?;
                    out.push(')');
                    Some(())
                })?;
            }
            Expr::Array { elements, .. } => {
                out.push_str("ARRAY[");
                self.list(out, elements)?;
                out.push(']');
            }
            Expr::Field { row, at, .. } => {
                let row_type = row.ty().row_type()?;
                out.push('(');
                self.expr(out, row, Casts::All)?;
                out.push_str(").");
                out.push_str(&types::quote_identifier(&row_type.fields.get(*at)?.0));
            }
            Expr::Row(fields, ty) => {
                self.call(out, "ROW", fields)?;
                if let SqlType::Composite(of) = ty {
                    let _ = write!(out, "::{}", of.shown());
                }
            }
            Expr::Routine(call) if call.routine.aggregate.is_some() => match call.args.as_slice() {
                [Expr::Column(position, _)] if *position >= AGGREGATE_BASE => {
                    let rows = self.aggregates.get(position - AGGREGATE_BASE)?;
                    self.aggregate(out, &call.routine.name, rows)?;
                }
                _ => return None,
            },
            Expr::Routine(call) => self.call(out, &types::quote_identifier(&call.routine.name), &call.args)?,
            Expr::Sequence { op, args } => {
                let name = match op {
                    SequenceOp::NextVal | SequenceOp::NextIdentity => "nextval",
                    SequenceOp::CurrVal => "currval",
                    SequenceOp::SetVal => "setval",
                    SequenceOp::LastVal => "lastval",
                    SequenceOp::Sleep(SleepOp::Seconds) => "pg_sleep",
                    SequenceOp::Sleep(SleepOp::For) => "pg_sleep_for",
                    SequenceOp::Sleep(SleepOp::Until) => "pg_sleep_until",
                    SequenceOp::ExportSnapshot => "pg_export_snapshot",
                    SequenceOp::LargeObject(LargeObjectOp::Comment) => return None,
                    SequenceOp::LargeObject(op) => op.name(),
                    SequenceOp::Position | SequenceOp::IsCalled | SequenceOp::Advisory(_) => return None,
                };
                self.call(out, name, args)?;
            }
            Expr::Subscript { array, subscripts, slice: false, .. } => {
                let is_column = matches!(**array, Expr::Column(..));
                if !is_column {
                    out.push('(');
                }
                self.expr(out, array, Casts::All)?;
                if !is_column {
                    out.push(')');
                }
                for (index, _) in subscripts {
                    out.push('[');
                    self.expr(out, index.as_ref()?, Casts::Written)?;
                    out.push(']');
                }
            }
            Expr::Subscript { .. }
            | Expr::Assign(_)
            | Expr::Outer(..)
            | Expr::Param(..)
            | Expr::Operand(_)
            | Expr::Subquery(_)
            | Expr::RowId => {
                return None;
            }
        }
        Some(())
    }

    /// An expression that is an operand of another, in parentheses where it needs them. In the plain style it brings
    /// its own.
    fn operand(&self, out: &mut String, expr: &Expr, casts: Casts, place: Place<'_>) -> Option<()> {
        if self.style == Style::Plain || stands_alone(expr, casts, place) {
            return self.expr(out, expr, casts);
        }
        out.push('(');
        self.expr(out, expr, casts)?;
        out.push(')');
        Some(())
    }

    fn enclosed(&self, out: &mut String, body: impl FnOnce(&mut String) -> Option<()>) -> Option<()> {
        if self.style == Style::Pretty {
            return body(out);
        }
        out.push('(');
        body(out)?;
        out.push(')');
        Some(())
    }

    fn operator(&self, out: &mut String, symbol: &str, args: &[Expr]) -> Option<()> {
        match args {
            [right] => {
                out.push_str(symbol);
                out.push(' ');
                self.operand(out, right, Casts::All, Place::Right(symbol))
            }
            [left, right] => {
                self.side(out, left, symbol, Place::Left(symbol))?;
                let _ = write!(out, " {symbol} ");
                self.side(out, right, symbol, Place::Right(symbol))
            }
            _ => None,
        }
    }

    /// An operand of a binary operator. PostgreSQL has operators between types of a family where here one side is
    /// cast, and none between text and a varying string where here neither is.
    fn side(&self, out: &mut String, expr: &Expr, symbol: &str, place: Place<'_>) -> Option<()> {
        if symbol == "||" && matches!(expr.ty(), SqlType::Varchar(_)) {
            return self.cast(out, expr, &SqlType::Text);
        }
        self.operand(out, without_family_cast(expr), Casts::All, place)
    }

    fn function(&self, out: &mut String, name: &str, args: &[Expr]) -> Option<()> {
        match (name, args) {
            (name, []) if keyword_of(name).is_some() => out.push_str(keyword_of(name)?),
            ("current_time" | "current_timestamp" | "localtime" | "localtimestamp", [Expr::Const(Datum::Int(precision), _)]) => {
                let _ = write!(out, "{}({precision})", keyword_of(name)?);
            }
            ("timezone", [zone, moment]) => {
                out.push('(');
                self.pair(out, moment, " AT TIME ZONE ", zone)?;
                out.push(')');
            }
            ("extract", [Expr::Const(Datum::Text(field), _), of]) => {
                let _ = write!(out, "EXTRACT({field} FROM ");
                self.expr(out, of, Casts::All)?;
                out.push(')');
            }
            (name, args) => self.call(out, &quote_identifier(name), args)?,
        }
        Some(())
    }

    fn call(&self, out: &mut String, name: &str, args: &[Expr]) -> Option<()> {
        out.push_str(name);
        out.push('(');
        self.list(out, args)?;
        out.push(')');
        Some(())
    }

    fn aggregate(&self, out: &mut String, name: &str, call: &AggregateCall) -> Option<()> {
        if !call.order_by.is_empty() || call.aggregate.kind != builtins::AggregateKind::Plain {
            return None;
        }
        out.push_str(&quote_identifier(name));
        out.push_str(if call.distinct { "(DISTINCT " } else { "(" });
        if call.args.is_empty() {
            out.push('*');
        }
        self.list(out, &call.args)?;
        out.push(')');
        if let Some(filter) = &call.filter {
            out.push_str(" FILTER (WHERE ");
            self.expr(out, filter, Casts::Written)?;
            out.push(')');
        }
        Some(())
    }

    fn list(&self, out: &mut String, list: &[Expr]) -> Option<()> {
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                out.push_str(", ");
            }
            self.expr(out, item, Casts::All)?;
        }
        Some(())
    }

    fn operands(&self, out: &mut String, list: &[Expr], between: &str, place: Place<'_>) -> Option<()> {
        for (at, item) in list.iter().enumerate() {
            if at > 0 {
                out.push_str(between);
            }
            self.operand(out, item, Casts::Written, place)?;
        }
        Some(())
    }

    fn pair(&self, out: &mut String, left: &Expr, between: &str, right: &Expr) -> Option<()> {
        self.operand(out, without_family_cast(left), Casts::All, Place::Close)?;
        out.push_str(between);
        self.operand(out, without_family_cast(right), Casts::All, Place::Close)
    }

    fn test(&self, out: &mut String, tested: &Expr, test: &str) -> Option<()> {
        self.enclosed(out, |out| {
            self.operand(out, tested, Casts::All, Place::Close)?;
            out.push_str(test);
            Some(())
        })
    }

    fn cast(&self, out: &mut String, expr: &Expr, to: &SqlType) -> Option<()> {
        match self.style {
            Style::Plain => {
                out.push('(');
                self.expr(out, expr, Casts::Written)?;
                out.push(')');
            }
            Style::Pretty => self.operand(out, expr, Casts::Written, Place::Close)?,
        }
        let _ = write!(out, "::{}", to.name());
        Some(())
    }

    fn case(
        &self,
        out: &mut String,
        operand: Option<&Expr>,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
    ) -> Option<()> {
        self.line(out, "CASE");
        let inner = Printer { indent: self.indent + 4, ..*self };
        if let Some(operand) = operand {
            out.push(' ');
            inner.expr(out, operand, Casts::All)?;
        }
        for (condition, value) in branches {
            inner.line(out, "WHEN ");
            match operand {
                Some(_) => inner.expr(out, without_family_cast(compared_with(condition)?), Casts::Written)?,
                None => inner.expr(out, condition, Casts::Written)?,
            }
            out.push_str(" THEN ");
            inner.expr(out, value, Casts::All)?;
        }
        inner.line(out, "ELSE ");
        match otherwise {
            Some(value) => inner.expr(out, value, Casts::All)?,
            None => self.constant(out, &Datum::Null, &branches.first()?.1.ty()),
        }
        self.line(out, "END");
        Some(())
    }

    /// Begins a line, unless one has just begun.
    fn line(&self, out: &mut String, text: &str) {
        out.truncate(out.trim_end_matches(' ').len());
        if !out.ends_with('\n') {
            out.push('\n');
        }
        let _ = write!(out, "{:indent$}{text}", "", indent = self.indent);
    }

    /// `IN` is `= ANY` over an array. Strings of varying length are compared as texts, their array all at once.
    fn in_list(&self, out: &mut String, expr: &Expr, list: &[Expr], negated: bool) -> Option<()> {
        let varying = match expr {
            Expr::Cast { expr: inner, context: CastContext::Implicit, to: SqlType::Text } => {
                Some(inner.ty().without_typmod()).filter(|ty| matches!(ty, SqlType::Varchar(_)))
            }
            _ => None,
        };
        let varying = varying.filter(|_| list.iter().all(|item| matches!(item, Expr::Const(..))));
        self.operand(out, expr, Casts::All, Place::Close)?;
        out.push_str(if negated { " <> ALL (" } else { " = ANY (" });
        match varying {
            Some(ty) => {
                if self.style == Style::Plain {
                    out.push('(');
                }
                out.push_str("ARRAY[");
                for (at, item) in list.iter().enumerate() {
                    if at > 0 {
                        out.push_str(", ");
                    }
                    let Expr::Const(value, _) = item else { return None };
                    self.constant(out, value, &ty);
                }
                out.push_str(if self.style == Style::Plain { "])::text[]" } else { "]::text[]" });
            }
            None => {
                out.push_str("ARRAY[");
                self.list(out, list)?;
                out.push(']');
            }
        }
        out.push(')');
        Some(())
    }

    /// A value with its type, unless it reads as that type by itself.
    fn constant(&self, out: &mut String, value: &Datum, ty: &SqlType) {
        if value.is_null() {
            let _ = write!(out, "NULL::{}", ty.name());
            return;
        }
        let text = to_text(ty, value, self.formatting);
        let is_bare = match ty {
            SqlType::Bool => {
                out.push_str(if value.as_bool() == Some(true) { "true" } else { "false" });
                return;
            }
            SqlType::Int4 => !text.starts_with('-'),
            SqlType::Numeric(None) => {
                text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['.', 'e', 'E'])
            }
            _ => false,
        };
        if is_bare {
            out.push_str(&text);
            return;
        }
        let quoted = text.replace('\'', "''");
        let name = match ty {
            SqlType::Char(None) => "bpchar".to_owned(),
            ty => ty.name(),
        };
        let _ = write!(out, "'{quoted}'::{name}");
    }
}

/// What is cast to another type of its family for an operator that PostgreSQL has between the two.
fn without_family_cast(expr: &Expr) -> &Expr {
    let Expr::Cast { expr: inner, to, context: CastContext::Implicit } = expr else { return expr };
    let from = inner.ty();
    let family = |ty: &SqlType| match ty {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 => 1,
        SqlType::Float4 | SqlType::Float8 => 2,
        SqlType::Date | SqlType::Timestamp(_) | SqlType::TimestampTz(_) => 3,
        _ => 0,
    };
    if family(&from) != 0 && family(&from) == family(to) { inner } else { expr }
}

/// What a comparison with the operand of a simple CASE or NULLIF compares it with.
pub(crate) fn compared_with(comparison: &Expr) -> Option<&Expr> {
    match comparison {
        Expr::Call { args, .. } => args.get(1),
        _ => None,
    }
}

fn truth(test: &TruthTest) -> &'static str {
    match test {
        TruthTest::True => "TRUE",
        TruthTest::False => "FALSE",
        TruthTest::Unknown => "UNKNOWN",
    }
}

/// Whether an operand needs no parentheses around it.
fn stands_alone(expr: &Expr, casts: Casts, place: Place<'_>) -> bool {
    match expr {
        Expr::Cast { expr, context: CastContext::Implicit, .. } if casts == Casts::Written => {
            stands_alone(expr, casts, place)
        }
        Expr::ToDomain { expr, context: CastContext::Implicit | CastContext::Assignment, .. } => {
            stands_alone(expr, casts, place)
        }
        // As simple as what is cast.
        Expr::Cast { expr, .. } | Expr::ToDomain { expr, .. } => stands_alone(expr, Casts::Written, Place::Close),
        Expr::Call { builtin, args, .. } => match symbol_of(builtin) {
            None => true,
            Some(symbol) => match place {
                Place::And | Place::Or | Place::Not => true,
                Place::Left(outer) | Place::Right(outer) if args.len() == 2 => {
                    let is_left = matches!(place, Place::Left(_));
                    (is_product(symbol) && is_sum(outer))
                        || (is_left && is_product(symbol) && is_product(outer))
                        || (is_left && is_sum(symbol) && is_sum(outer))
                }
                Place::Left(_) | Place::Right(_) | Place::Close => false,
            },
        },
        Expr::And(_) => matches!(place, Place::And | Place::Or),
        Expr::Or(_) => place == Place::Or,
        Expr::Not(inner)
            if matches!(**inner, Expr::IsNull(_) | Expr::Truth(..) | Expr::IsDistinctFrom(..)) =>
        {
            matches!(place, Place::And | Place::Or | Place::Not)
        }
        Expr::Not(_) => matches!(place, Place::And | Place::Or),
        Expr::IsNull(_) | Expr::Truth(..) | Expr::IsDistinctFrom(..) => {
            matches!(place, Place::And | Place::Or | Place::Not)
        }
        Expr::InList { .. } | Expr::AnyAll { .. } => false,
        _ => true,
    }
}
