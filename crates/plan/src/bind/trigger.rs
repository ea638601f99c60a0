//! Triggers: what changes of rows have to know of them, and WHEN, a condition over the old row and the new one.
//!
//! It is kept as text, and every column in it is named `old.x` or `new.x`: without that, a name would mean both. So what
//! the text says of columns can be found by looking at it, and a column is renamed in it word by word.

use std::sync::Arc;

use catalog::{Table, TriggerEnabled, TriggerTiming};
use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer};
use types::{SqlError, SqlResult, SqlState, SqlType, stack::deep};

use super::domain::checked_column;
use super::stored::{path_of, stored_range, without_subquery};
use super::{Binder, Clause, without_domains};
use crate::PlanContext;
use crate::expr::Expr;
use crate::plan::{TriggerRule, TriggerRules};
use crate::scope::{Level, Range, Scope, Visible};

fn row(table: &Arc<Table>, name: &str) -> Range {
    Range { name: name.to_owned(), table: Some((table.clone(), 0)), ..stored_range(table) }
}

/// The old row followed by the new one.
fn rows<'l>(table: &Arc<Table>, level: &'l Level<'l>) -> SqlResult<Scope<'l>> {
    Scope::of_range(level, row(table, "old")).join(Scope::of_range(level, row(table, "new")))
}

/// A condition over the columns of the old row followed by those of the new one, each all of `table.columns`.
///
/// # Errors
/// As for any expression; the text was bound when the trigger was made, so only what it names may be missing.
pub fn condition(table: &Arc<Table>, text: &str, context: &PlanContext<'_>) -> SqlResult<Expr> {
    deep(|| condition_of(table, &crate::parse::parse_expr(text)?, None, context))
}

/// As [`condition`]; `source` is the query string that the tree has its positions in.
pub(crate) fn condition_of(
    table: &Arc<Table>,
    tree: &ast::Expr,
    source: Option<Arc<str>>,
    context: &PlanContext<'_>,
) -> SqlResult<Expr> {
    let path = path_of(table.schema, context);
    let context = PlanContext { search_path: &path, depends_on: None, variables: None, transitions: &[], ..*context };
    let mut binder = Binder::new(&context, source);
    let level = Level::default();
    let scope = rows(table, &level)?;
    let mut bound = binder.with_frame(Clause::TriggerWhen, |binder| binder.boolean(tree, &scope, "WHEN"))?;
    if bound.any(&mut |expr| matches!(expr, Expr::Param(..))) {
        return Err(SqlError::new(SqlState::UndefinedParameter, "there is no parameter $1"));
    }
    without_domains(&mut bound);
    without_subquery(bound, "trigger WHEN condition")
}

/// As it is written, without computing anything. A row as a whole is one value, which comes after all columns: first the
/// old one, then the new one.
pub(crate) fn condition_as_written(table: &Arc<Table>, text: &str, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let path = path_of(table.schema, context);
    let context = PlanContext { search_path: &path, depends_on: None, variables: None, transitions: &[], ..*context };
    let mut binder = Binder::new(&context, None);
    binder.keeps_form = true;
    deep(|| {
        let tree = crate::parse::parse_expr(&rows_as_names(text))?;
        let level = Level::default();
        let mut scope = rows(table, &level)?;
        let whole = |name: &str, at: usize| Visible { name: name.to_owned(), expr: Expr::Column(at, SqlType::Text) };
        let columns = scope.width;
        scope.visible = vec![whole("old", columns), whole("new", columns + 1)];
        binder.with_frame(Clause::TriggerWhen, |binder| binder.boolean(&tree, &scope, "WHEN"))
    })
}

/// What a condition names: positions in `table.columns`, and rows as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mentions {
    pub old: Vec<usize>,
    pub new: Vec<usize>,
    pub whole_old: bool,
    pub whole_new: bool,
}

/// # Errors
/// As for any expression.
pub(crate) fn mentions(table: &Arc<Table>, text: &str, context: &PlanContext<'_>) -> SqlResult<Mentions> {
    // What cannot be bound with rows as single values names their columns one by one.
    let bound = condition_as_written(table, text, context).or_else(|_| condition(table, text, context))?;
    let width = table.columns.len();
    let mut found = Mentions::default();
    for at in bound.columns_used() {
        match at {
            at if at < width => found.old.push(at),
            at if at < 2 * width => found.new.push(at - width),
            at if at == 2 * width => found.whole_old = true,
            _ => found.whole_new = true,
        }
    }
    Ok(found)
}

/// The columns that the WHEN of a trigger names, as positions in `table.columns`; not those that are there because a row
/// is named as a whole.
///
/// # Errors
/// As [`condition`].
pub fn trigger_columns(table: &Arc<Table>, text: &str, context: &PlanContext<'_>) -> SqlResult<Vec<usize>> {
    let Mentions { mut old, new, .. } = mentions(table, text, context)?;
    old.extend(new);
    old.sort_unstable();
    old.dedup();
    Ok(old)
}

/// The tokens of a text, and which of them are no white space.
fn significant(text: &str) -> Option<(Vec<Token>, Vec<usize>)> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize().ok()?;
    let places = (0..tokens.len()).filter(|at| !matches!(tokens[*at], Token::Whitespace(_))).collect();
    Some((tokens, places))
}

fn is_word(token: &Token, is_meant: impl Fn(&str) -> bool) -> bool {
    match token {
        Token::Word(word) if word.quote_style.is_some() => is_meant(&word.value),
        Token::Word(word) => is_meant(&word.value.to_ascii_lowercase()),
        _ => false,
    }
}

fn is_row(token: &Token) -> bool {
    is_word(token, |name| matches!(name, "old" | "new"))
}

/// Where a text first names a row, `old` or `new`, so that `is_meant` holds of the column, or of `None` for a row as a
/// whole: how many characters come before.
pub(crate) fn place_of(text: &str, row: &str, is_meant: impl Fn(Option<&str>) -> bool) -> Option<usize> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, text).tokenize_with_location().ok()?;
    let tokens: Vec<_> = tokens.into_iter().filter(|it| !matches!(it.token, Token::Whitespace(_))).collect();
    let found = (0..tokens.len()).find(|at| {
        let is_after_dot = *at > 0 && tokens[at - 1].token == Token::Period;
        let column = match tokens.get(at + 1..at + 3).unwrap_or_default() {
            [dot, name] if dot.token == Token::Period => match &name.token {
                Token::Word(word) => Some(super::fold(&word.clone().into_ident(name.span))),
                _ => None,
            },
            _ => None,
        };
        !is_after_dot && is_word(&tokens[*at].token, |name| name == row) && is_meant(column.as_deref())
    })?;
    Some(crate::parse::position_of(text, tokens[found].span.start) - 1)
}

/// `old.*` as `old`.
fn rows_as_names(text: &str) -> String {
    let Some((mut tokens, places)) = significant(text) else { return text.to_owned() };
    for window in places.windows(3) {
        let [name, period, star] = [window[0], window[1], window[2]];
        if is_row(&tokens[name]) && tokens[period] == Token::Period && tokens[star] == Token::Mul {
            tokens[period] = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
            tokens[star] = Token::Whitespace(sqlparser::tokenizer::Whitespace::Space);
        }
    }
    tokens.iter().map(ToString::to_string).collect()
}

/// The WHEN of a trigger with a column renamed.
#[must_use]
pub fn rename_in_condition(text: &str, from: &str, to: &str) -> String {
    let Some((mut tokens, places)) = significant(text) else { return text.to_owned() };
    for at in 2..places.len() {
        // `s.old.x` is no column of the old row.
        let is_qualified = at > 2 && tokens[places[at - 3]] == Token::Period;
        let [row, period, column] = [places[at - 2], places[at - 1], places[at]];
        let is_column = is_row(&tokens[row]) && tokens[period] == Token::Period && !is_qualified;
        if is_column && is_word(&tokens[column], |name| name == from) {
            tokens[column] = Token::make_word(to, Some('"'));
        }
    }
    tokens.iter().map(ToString::to_string).collect()
}

/// What fires when rows of the table change; none where nothing does.
///
/// # Errors
/// As [`condition`].
pub(super) fn trigger_rules(table: &Table, context: &PlanContext<'_>) -> SqlResult<Option<TriggerRules>> {
    let is_enabled = |enabled: TriggerEnabled| enabled != TriggerEnabled::Disabled;
    if !table.triggers.iter().any(|trigger| is_enabled(trigger.enabled)) {
        return Ok(None);
    }
    let shared = Arc::new(table.clone());
    let mut list = Vec::with_capacity(table.triggers.len());
    for (at, trigger) in table.triggers.iter().enumerate().filter(|(_, trigger)| is_enabled(trigger.enabled)) {
        let routine = context.catalog.routine_by_id(trigger.routine).cloned().ok_or_else(|| {
            SqlError::internal(format!("the function of trigger \"{}\" is missing", trigger.name))
        })?;
        context.notes.uses(routine.id);
        let when = trigger.condition.as_deref().map(|text| condition(&shared, text, context)).transpose()?;
        list.push(TriggerRule { at, routine, when });
    }
    let changes_rows = |rule: &TriggerRule| {
        let trigger = &table.triggers[rule.at];
        trigger.timing == TriggerTiming::Before && trigger.for_each_row
    };
    let mut domains = Vec::new();
    if list.iter().any(changes_rows) {
        for position in 0..table.columns.len() {
            domains.extend(checked_column(table, position, context)?);
        }
    }
    let row_type = context.catalog.row_type_of(table.id).unwrap_or(SqlType::RECORD);
    Ok(Some(TriggerRules { row_type, list, domains }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_renamed_where_it_is_one_of_the_rows() {
        let rename = |text: &str| rename_in_condition(text, "old", "b c");
        assert_eq!(rename("old.old = new.new"), "old.\"b c\" = new.new");
        assert_eq!(rename("NEW . OLD > 1 AND old.* IS NULL"), "NEW . \"b c\" > 1 AND old.* IS NULL");
        assert_eq!(rename("f(old) OR old.\"Old\" = s.old.old"), "f(old) OR old.\"Old\" = s.old.old");
    }

    #[test]
    fn a_whole_row_is_a_name() {
        let names = |text: &str| rows_as_names(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(names("old.* IS DISTINCT FROM NEW.*"), "old IS DISTINCT FROM NEW");
        assert_eq!(names("old.a * new.a"), "old.a * new.a");
    }

    #[test]
    fn a_row_is_found_where_it_is_named() {
        let text = "s.new.a = 'new.é' OR f(NEW.b, \"new\".\"A\") OR new.*";
        assert_eq!(place_of(text, "new", |_| true), Some(23));
        assert_eq!(place_of(text, "new", |column| column == Some("A")), Some(30));
        assert_eq!(place_of(text, "new", |column| column.is_none()), Some(44));
        assert_eq!(place_of(text, "old", |_| true), None);
    }
}
