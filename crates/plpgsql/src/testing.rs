//! A toy database for this crate's tests of control flow: it evaluates a handful of expressions and statements, keeps
//! one table of values with its subtransactions, and takes down what it is told. What SQL means is tested elsewhere.
//!
//! ```text
//!   expressions  literals, names, $n, + - * / % || = <> < > <= >= AND OR NOT IN, IS NULL, ARRAY[…], ROW(…), x[i],
//!                logged() (rows of the table; not simple), upper(…)
//!   statements   SELECT e [AS name], … [FROM series(e)]     INSERT INTO log VALUES (e) [RETURNING e]
//!                CALL twice(variable)     CREATE anything     BEGIN     COPY
//! ```

use std::sync::Arc;

use types::{
    ParameterMode,
    Array, Datum, Formatting, RowType, SqlError, SqlResult, SqlState, SqlType, compare, parse_text, to_text,
};

use crate::compile::{CompileCatalog, compile};
use crate::function::{
    Declaration, Function, Parameter, RaiseLevel, RoutineKind, TextKind, VariableConflict,
};
use crate::lexer::{Lexed, Token, lex};
use crate::run::PlanCache;
use crate::spi::{
    CallOutput, Command, Direction, Fetched, Keep, Outcome, PortalOptions, Prepared, Request, Row, Spi,
    Variables,
};

#[derive(Clone, Debug)]
pub(crate) enum Expr {
    Const(Datum, SqlType),
    Parameter(usize, SqlType),
    /// The number of a series' row.
    Number,
    Call(&'static str, Vec<Expr>, SqlType),
}

impl Expr {
    fn ty(&self) -> SqlType {
        match self {
            Self::Const(_, ty) | Self::Parameter(_, ty) | Self::Call(_, _, ty) => *ty,
            Self::Number => SqlType::Int4,
        }
    }

    fn any(&self, test: &dyn Fn(&Self) -> bool) -> bool {
        test(self) || matches!(self, Self::Call(_, args, _) if args.iter().any(|arg| arg.any(test)))
    }
}

#[derive(Debug)]
pub(crate) enum Plan {
    Select { values: Vec<Expr>, series: Option<Expr> },
    Insert { value: Expr, returning: Option<Expr> },
    Twice(Expr),
    Nothing,
}

#[derive(Default)]
pub(crate) struct TestDatabase {
    pub log: Vec<Datum>,
    /// The length of the table when each open subtransaction began.
    subtransactions: Vec<usize>,
    portals: Vec<(String, Vec<Row>, Vec<(String, SqlType)>, i64)>,
    unnamed: usize,
    pub notices: Vec<(RaiseLevel, SqlError)>,
    pub rows: Vec<Row>,
    /// Begin, release, roll back, commit, … in order.
    pub events: Vec<String>,
    pub prepared: usize,
    /// May the call end its transaction.
    pub may_commit: bool,
    pub cancelled: bool,
    formatting: Formatting,
}

struct Reader<'a, 'v> {
    tokens: Vec<Lexed>,
    at: usize,
    variables: Option<&'a mut Variables<'v>>,
}

fn unknown(what: &str, position: usize) -> SqlError {
    SqlError::new(SqlState::UndefinedColumn, format!("column \"{what}\" does not exist"))
        .with_position(position)
}

impl Reader<'_, '_> {
    fn token(&self) -> &Token {
        &self.tokens[self.at].token
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.token(), Token::Word(found) if found == word);
        self.at += usize::from(found);
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.token(), Token::Symbol(found) if *found == symbol);
        self.at += usize::from(found);
        found
    }

    fn refuse<T>(&self, text: &str) -> SqlResult<T> {
        let found = &self.tokens[self.at];
        let message = match found.token {
            Token::End => "syntax error at end of input".to_owned(),
            _ => format!("syntax error at or near \"{}\"", &text[found.start..found.end]),
        };
        Err(SqlError::new(SqlState::SyntaxError, message).with_position(found.start + 1))
    }

    fn list(&mut self, text: &str, end: &str) -> SqlResult<Vec<Expr>> {
        let mut values = Vec::new();
        if self.symbol(end) {
            return Ok(values);
        }
        loop {
            values.push(self.expr(text, 0)?);
            if self.symbol(end) {
                return Ok(values);
            }
            if !self.symbol(",") {
                return self.refuse(text);
            }
        }
    }

    fn primary(&mut self, text: &str) -> SqlResult<Expr> {
        let start = self.tokens[self.at].start;
        let token = self.token().clone();
        self.at += 1;
        Ok(match token {
            Token::Integer(value) => Expr::Const(Datum::Int(value), SqlType::Int4),
            Token::String(value) => Expr::Const(Datum::text(value), SqlType::Unknown),
            Token::Parameter(number) => match &mut self.variables {
                Some(variables) => {
                    let found = variables.positional(number as usize);
                    let (at, ty) = found.ok_or_else(|| unknown(&format!("${number}"), start + 1))?;
                    Expr::Parameter(at, ty)
                }
                None => Expr::Number,
            },
            Token::Symbol("(") => {
                let value = self.expr(text, 0)?;
                if !self.symbol(")") {
                    return self.refuse(text);
                }
                value
            }
            Token::Symbol("-") => {
                let value = self.expr(text, 7)?;
                Expr::Call("-", vec![Expr::Const(Datum::Int(0), SqlType::Int4), value], SqlType::Int4)
            }
            Token::Word(word) if word == "null" => Expr::Const(Datum::Null, SqlType::Unknown),
            Token::Word(word) if word == "true" || word == "false" => {
                Expr::Const((word == "true").into(), SqlType::Bool)
            }
            Token::Word(word) if word == "not" => Expr::Call("not", vec![self.expr(text, 3)?], SqlType::Bool),
            Token::Word(word) if word == "array" && self.symbol("[") => {
                let values = self.list(text, "]")?;
                let element = values.first().map_or(SqlType::Int4, Expr::ty);
                let ty = if element == SqlType::Unknown { SqlType::TEXT_ARRAY } else { element.array_of() };
                Expr::Call("array", values, ty)
            }
            Token::Word(word) if matches!(word.as_str(), "row" | "logged" | "upper") && self.symbol("(") => {
                let values = self.list(text, ")")?;
                match word.as_str() {
                    "row" => {
                        let types = values.iter().map(|value| match value.ty() {
                            SqlType::Unknown => SqlType::Text,
                            ty => ty,
                        });
                        let ty = SqlType::record_of(RowType::unnamed(types));
                        Expr::Call("row", values, ty)
                    }
                    "logged" => Expr::Call("logged", values, SqlType::Int4),
                    _ => Expr::Call("upper", values, SqlType::Text),
                }
            }
            Token::Word(name) | Token::Quoted(name) => {
                let mut parts = vec![name];
                while self.symbol(".") {
                    let (Token::Word(part) | Token::Quoted(part)) = self.token().clone() else {
                        return self.refuse(text);
                    };
                    parts.push(part);
                    self.at += 1;
                }
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let is_column = parts == ["n"];
                let Some(variables) = &mut self.variables else { return Ok(Expr::Number) };
                match (variables.resolve(&parts, is_column)?, is_column, variables.conflict()) {
                    (Some(_), true, VariableConflict::Error) => {
                        return Err(SqlError::new(
                            SqlState::AmbiguousColumn,
                            format!("column reference \"{}\" is ambiguous", parts[0]),
                        )
                        .with_detail("It could refer to either a PL/pgSQL variable or a table column.")
                        .with_position(start + 1));
                    }
                    (_, true, VariableConflict::UseColumn) | (None, true, _) => Expr::Number,
                    (Some((at, ty)), _, _) => Expr::Parameter(at, ty),
                    (None, false, _) => return Err(unknown(&parts.join("."), start + 1)),
                }
            }
            _ => {
                self.at -= 1;
                return self.refuse(text);
            }
        })
    }

    fn expr(&mut self, text: &str, above: u8) -> SqlResult<Expr> {
        let mut left = self.primary(text)?;
        loop {
            if self.symbol("[") {
                let index = self.expr(text, 0)?;
                if !self.symbol("]") {
                    return self.refuse(text);
                }
                let ty = left.ty().element().unwrap_or(SqlType::Text);
                left = Expr::Call("[]", vec![left, index], ty);
                continue;
            }
            let found = &self.tokens[self.at];
            let (name, power): (&'static str, u8) = match &found.token {
                Token::Word(word) if word == "or" => ("or", 1),
                Token::Word(word) if word == "and" => ("and", 2),
                Token::Word(word) if word == "is" => ("is null", 4),
                Token::Word(word) if word == "in" => ("in", 4),
                Token::Symbol(symbol @ ("=" | "<>" | "<" | ">" | "<=" | ">=")) => (*symbol, 4),
                Token::Operator if &text[found.start..found.end] == "||" => ("||", 5),
                Token::Symbol(symbol @ ("+" | "-")) => (*symbol, 6),
                Token::Symbol(symbol @ ("*" | "/" | "%")) => (*symbol, 7),
                _ => return Ok(left),
            };
            if power <= above {
                return Ok(left);
            }
            self.at += 1;
            left = match name {
                "is null" => {
                    let not = self.word("not");
                    if !self.word("null") {
                        return self.refuse(text);
                    }
                    let is = Expr::Call("is null", vec![left], SqlType::Bool);
                    if not { Expr::Call("not", vec![is], SqlType::Bool) } else { is }
                }
                "in" => {
                    if !self.symbol("(") {
                        return self.refuse(text);
                    }
                    let mut args = vec![left];
                    args.extend(self.list(text, ")")?);
                    Expr::Call("in", args, SqlType::Bool)
                }
                _ => {
                    let right = self.expr(text, power)?;
                    let ty = match power {
                        1..=4 => SqlType::Bool,
                        5 => SqlType::Text,
                        _ => SqlType::Int4,
                    };
                    Expr::Call(name, vec![left, right], ty)
                }
            };
        }
    }

    /// `e [AS name], …`
    fn columns(&mut self, text: &str) -> SqlResult<Vec<(String, Expr)>> {
        let mut columns = Vec::new();
        loop {
            let value = self.expr(text, 0)?;
            let name = if self.word("as") {
                match self.token().clone() {
                    Token::Word(name) | Token::Quoted(name) => {
                        self.at += 1;
                        name
                    }
                    _ => return self.refuse(text),
                }
            } else if matches!(value, Expr::Number) {
                "n".into()
            } else {
                "?column?".into()
            };
            columns.push((name, value));
            if !self.symbol(",") {
                return Ok(columns);
            }
        }
    }

    fn end(&self, text: &str) -> SqlResult<()> {
        if *self.token() == Token::End || *self.token() == Token::Symbol(";") {
            Ok(())
        } else {
            self.refuse(text)
        }
    }

    fn statement(
        &mut self,
        text: &str,
        kind: TextKind,
    ) -> SqlResult<(Plan, Vec<(String, SqlType)>, Command)> {
        let is_expression = kind != TextKind::Statement;
        let typed = |columns: &[(String, Expr)]| {
            let ty = |value: &Expr| {
                if value.ty() == SqlType::Unknown && !is_expression { SqlType::Text } else { value.ty() }
            };
            columns.iter().map(|(name, value)| (name.clone(), ty(value))).collect()
        };
        let outcome = match () {
            () if is_expression || self.word("select") => {
                if *self.token() == Token::End && !is_expression {
                    return Ok((
                        Plan::Select { values: Vec::new(), series: None },
                        Vec::new(),
                        Command::Select,
                    ));
                }
                let columns = self.columns(text)?;
                let series = if self.word("from") {
                    if !self.word("series") || !self.symbol("(") {
                        return self.refuse(text);
                    }
                    let count = self.expr(text, 0)?;
                    if !self.symbol(")") {
                        return self.refuse(text);
                    }
                    Some(count)
                } else {
                    None
                };
                let types = typed(&columns);
                let values = columns.into_iter().map(|(_, value)| value).collect();
                (Plan::Select { values, series }, types, Command::Select)
            }
            () if self.word("insert") => {
                if !(self.word("into") && self.word("log") && self.word("values") && self.symbol("(")) {
                    return self.refuse(text);
                }
                let value = self.expr(text, 0)?;
                if !self.symbol(")") {
                    return self.refuse(text);
                }
                let returning = if self.word("returning") { self.columns(text)? } else { Vec::new() };
                let types = typed(&returning);
                let returning = returning.into_iter().next().map(|(_, value)| value);
                (Plan::Insert { value, returning }, types, Command::Insert)
            }
            () if self.word("call") => {
                if !self.word("twice") || !self.symbol("(") {
                    return self.refuse(text);
                }
                let value = self.expr(text, 0)?;
                if !self.symbol(")") {
                    return self.refuse(text);
                }
                (Plan::Twice(value), vec![("x".into(), SqlType::Int4)], Command::Call)
            }
            () if self.word("create") => {
                self.at = self.tokens.len() - 1;
                (Plan::Nothing, Vec::new(), Command::Utility)
            }
            () if self.word("begin") => (Plan::Nothing, Vec::new(), Command::Transaction),
            () if self.word("copy") => {
                self.at = self.tokens.len() - 1;
                (Plan::Nothing, Vec::new(), Command::Copy)
            }
            () => return self.refuse(text),
        };
        self.end(text)?;
        Ok(outcome)
    }
}

fn read(
    text: &str,
    kind: TextKind,
    variables: Option<&mut Variables<'_>>,
) -> SqlResult<(Plan, Vec<(String, SqlType)>, Command)> {
    let tokens = lex(text)
        .map_err(|error| SqlError::new(SqlState::SyntaxError, error.message).with_position(error.at + 1))?;
    // One lifetime for both borrows.
    match variables {
        Some(variables) => Reader { tokens, at: 0, variables: Some(variables) }.statement(text, kind),
        None => Reader { tokens, at: 0, variables: None }.statement(text, kind),
    }
}

impl TestDatabase {
    fn eval(&self, expr: &Expr, values: &[Datum], number: i64) -> SqlResult<Datum> {
        let (name, args) = match expr {
            Expr::Const(value, _) => return Ok(value.clone()),
            Expr::Parameter(at, _) => return Ok(values[*at].clone()),
            Expr::Number => return Ok(Datum::Int(number)),
            Expr::Call(name, args, _) => (*name, args),
        };
        let types: Vec<SqlType> = args.iter().map(Expr::ty).collect();
        let args: Vec<Datum> =
            args.iter().map(|arg| self.eval(arg, values, number)).collect::<SqlResult<_>>()?;
        let text = |at: usize| to_text(&types[at], &args[at], &self.formatting);
        Ok(match name {
            "array" => Datum::Array(Arc::new(Array::from_elements(args))),
            "row" => Datum::Record(args.into()),
            "logged" => Datum::Int(self.log.len() as i64),
            "is null" => args[0].is_null().into(),
            "and" if args.contains(&Datum::Bool(false)) => Datum::Bool(false),
            "or" if args.contains(&Datum::Bool(true)) => Datum::Bool(true),
            "in" => args[1..].iter().any(|value| !value.is_null() && *value == args[0]).into(),
            _ if args.iter().any(Datum::is_null) => Datum::Null,
            "not" => (args[0] == Datum::Bool(false)).into(),
            "and" => Datum::Bool(true),
            "or" => Datum::Bool(false),
            "upper" => Datum::text(text(0).to_uppercase()),
            "||" => Datum::text(format!("{}{}", text(0), text(1))),
            "[]" => match (&args[0], args[1].as_int()) {
                (Datum::Array(array), Some(index)) => array.get(&[index]).cloned().unwrap_or_default(),
                _ => Datum::Null,
            },
            "=" | "<>" | "<" | ">" | "<=" | ">=" => {
                let ty = if types[0] == SqlType::Unknown { types[1] } else { types[0] };
                let order = compare(&ty, &args[0], &args[1]);
                let is = match name {
                    "=" => order.is_eq(),
                    "<>" => order.is_ne(),
                    "<" => order.is_lt(),
                    ">" => order.is_gt(),
                    "<=" => order.is_le(),
                    _ => order.is_ge(),
                };
                is.into()
            }
            _ => {
                let int = |at: usize| {
                    args[at].as_int().ok_or_else(|| SqlError::internal(format!("{name} of {:?}", args[at])))
                };
                let (left, right) = (int(0)?, int(1)?);
                if right == 0 && matches!(name, "/" | "%") {
                    return Err(SqlError::new(SqlState::DivisionByZero, "division by zero"));
                }
                Datum::Int(match name {
                    "+" => left + right,
                    "-" => left - right,
                    "*" => left * right,
                    "/" => left / right,
                    _ => left % right,
                })
            }
        })
    }

    fn run(&mut self, plan: &Plan, values: &[Datum]) -> SqlResult<(Vec<Row>, u64)> {
        let rows = match plan {
            Plan::Select { values: exprs, series } => {
                let count = match series {
                    Some(series) => self.eval(series, values, 0)?.as_int().unwrap_or(0),
                    None => 1,
                };
                (1..=count)
                    .map(|number| exprs.iter().map(|expr| self.eval(expr, values, number)).collect())
                    .collect::<SqlResult<Vec<Row>>>()?
            }
            Plan::Insert { value, returning } => {
                let value = self.eval(value, values, 0)?;
                self.log.push(value);
                let rows = match returning {
                    Some(returning) => vec![vec![self.eval(returning, values, 0)?]],
                    None => Vec::new(),
                };
                return Ok((rows, 1));
            }
            Plan::Twice(value) => {
                let value = self.eval(value, values, 0)?.as_int().unwrap_or(0);
                vec![vec![Datum::Int(2 * value)]]
            }
            Plan::Nothing => Vec::new(),
        };
        let count = rows.len() as u64;
        Ok((rows, count))
    }

    fn portal(&mut self, name: &str) -> &mut (String, Vec<Row>, Vec<(String, SqlType)>, i64) {
        self.portals.iter_mut().find(|(known, ..)| known == name).expect("the portal is open")
    }

    pub fn open_portals(&self) -> usize {
        self.portals.len()
    }

    pub fn notice_texts(&self) -> Vec<&str> {
        self.notices.iter().map(|(_, notice)| notice.message()).collect()
    }
}

impl Spi for TestDatabase {
    type Plan = (Plan, Vec<(String, SqlType)>);

    async fn prepare(
        &mut self,
        request: Request<'_>,
        variables: &mut Variables<'_>,
    ) -> SqlResult<Prepared<Self::Plan>> {
        self.prepared += 1;
        let (mut plan, mut columns, command) = read(request.text, request.kind, Some(variables))?;
        let mut outputs = Vec::new();
        if let Plan::Twice(value) = &plan {
            let parameter = match value {
                Expr::Parameter(at, _) => Some(*at),
                _ => None,
            };
            outputs.push(CallOutput { name: Some("x".into()), parameter });
        }
        let mut is_simple = false;
        if let Plan::Select { values, series } = &mut plan {
            if let (Some(wanted), [value @ Expr::Const(..)]) = (request.wanted, values.as_mut_slice())
                && value.ty() == SqlType::Unknown
                && let Expr::Const(Datum::Text(text), _) = &*value
            {
                let read =
                    parse_text(&wanted, text, &self.formatting).map_err(|error| error.with_position(1))?;
                *value = Expr::Const(read, wanted);
                columns[0].1 = wanted;
            }
            let is_logged = |expr: &Expr| matches!(expr, Expr::Call("logged", ..));
            is_simple = series.is_none() && values.len() == 1 && !values[0].any(&is_logged);
        }
        Ok(Prepared { plan: (plan, columns.clone()), columns, command, is_simple, outputs })
    }

    fn is_current(&self, _plan: &Self::Plan) -> bool {
        true
    }

    fn evaluate_simple(&mut self, plan: &Self::Plan, values: &[Datum]) -> SqlResult<Datum> {
        let Plan::Select { values: exprs, .. } = &plan.0 else { unreachable!("only a SELECT is simple") };
        self.eval(&exprs[0], values, 0)
    }

    async fn execute(&mut self, plan: &Self::Plan, values: &[Datum], keep: Keep) -> SqlResult<Outcome> {
        let (mut rows, mut processed) = self.run(&plan.0, values)?;
        match keep {
            Keep::Count => rows.clear(),
            Keep::AtMost(count) if rows.len() > count => {
                rows.truncate(count);
                processed = count as u64;
            }
            Keep::AtMost(_) | Keep::All => {}
        }
        Ok(Outcome { rows, processed })
    }

    async fn open(
        &mut self,
        plan: &Self::Plan,
        values: &[Datum],
        options: PortalOptions<'_>,
    ) -> SqlResult<String> {
        let (rows, _) = self.run(&plan.0, values)?;
        let name = match options.name {
            Some(name) => name.to_owned(),
            None => {
                self.unnamed += 1;
                format!("<unnamed portal {}>", self.unnamed)
            }
        };
        self.portals.push((name.clone(), rows, plan.1.clone(), 0));
        Ok(name)
    }

    fn has_portal(&self, name: &str) -> bool {
        self.portals.iter().any(|(known, ..)| known == name)
    }

    async fn fetch(&mut self, portal: &str, direction: Direction, keep: bool) -> SqlResult<Fetched> {
        let (_, rows, columns, position) = self.portal(portal);
        let count = rows.len() as i64;
        let clamp = |at: i64| at.clamp(0, count + 1);
        let before = *position;
        let passed: Vec<i64> = match direction {
            Direction::Forward(steps) => (before + 1..=clamp(before + steps)).collect(),
            Direction::ForwardAll => (before + 1..=count + 1).collect(),
            Direction::Backward(steps) => (clamp(before - steps)..before).rev().collect(),
            Direction::BackwardAll => (0..before).rev().collect(),
            Direction::Absolute(at) if at < 0 => vec![clamp(count + 1 + at)],
            Direction::Absolute(at) => vec![clamp(at)],
            Direction::Relative(by) => vec![clamp(before + by)],
        };
        *position = passed.last().copied().unwrap_or(before);
        let found: Vec<Row> = passed
            .into_iter()
            .filter(|at| (1..=count).contains(at))
            .map(|at| rows[at as usize - 1].clone())
            .collect();
        let processed = found.len() as u64;
        Ok(Fetched { columns: columns.clone(), rows: if keep { found } else { Vec::new() }, processed })
    }

    async fn close(&mut self, portal: &str) -> SqlResult<()> {
        self.portals.retain(|(known, ..)| known != portal);
        Ok(())
    }

    async fn begin_subtransaction(&mut self) -> SqlResult<()> {
        self.subtransactions.push(self.log.len());
        self.events.push("begin".into());
        Ok(())
    }

    async fn release_subtransaction(&mut self) -> SqlResult<()> {
        self.subtransactions.pop().expect("a subtransaction is open");
        self.events.push("release".into());
        Ok(())
    }

    async fn rollback_subtransaction(&mut self) -> SqlResult<()> {
        let length = self.subtransactions.pop().expect("a subtransaction is open");
        self.log.truncate(length);
        self.portals.clear();
        self.events.push("roll back".into());
        Ok(())
    }

    fn may_catch(&self, error: &SqlError) -> bool {
        error.code() != SqlState::SerializationFailure
    }

    async fn commit(&mut self, chain: bool) -> SqlResult<()> {
        if !self.may_commit {
            return Err(SqlError::new(
                SqlState::InvalidTransactionTermination,
                "invalid transaction termination",
            ));
        }
        self.events.push(if chain { "commit and chain" } else { "commit" }.into());
        Ok(())
    }

    async fn rollback(&mut self, chain: bool) -> SqlResult<()> {
        self.log.clear();
        self.events.push(if chain { "rollback and chain" } else { "rollback" }.into());
        Ok(())
    }

    fn notice(&mut self, level: RaiseLevel, notice: SqlError) {
        self.notices.push((level, notice));
    }

    fn return_row(&mut self, row: Row) -> SqlResult<()> {
        self.rows.push(row);
        Ok(())
    }

    fn formatting(&self) -> &Formatting {
        &self.formatting
    }

    fn check_interrupts(&mut self) -> SqlResult<()> {
        if self.cancelled {
            return Err(SqlError::new(SqlState::QueryCanceled, "canceling statement due to user request"));
        }
        Ok(())
    }

    fn callers_context(&self) -> Option<String> {
        None
    }
}

/// A catalog with one table: `t (a integer, b text)`.
pub(crate) struct TestCatalog;

impl CompileCatalog for TestCatalog {
    fn data_type(&self, text: &str) -> SqlResult<SqlType> {
        if text == "t" {
            return self.row_type(&["t".into()]);
        }
        SqlType::parse_name(text)
    }

    fn column_type(&self, names: &[String]) -> SqlResult<SqlType> {
        match names.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["t", "a"] => Ok(SqlType::Int4),
            ["t", "b"] => Ok(SqlType::Text),
            [table, ..] if *table != "t" => {
                Err(SqlError::new(SqlState::UndefinedTable, format!("relation \"{table}\" does not exist")))
            }
            _ => Err(SqlError::new(SqlState::UndefinedColumn, "column does not exist")),
        }
    }

    fn row_type(&self, names: &[String]) -> SqlResult<SqlType> {
        if names != ["t"] {
            let message = format!("relation \"{}\" does not exist", names.join("."));
            return Err(SqlError::new(SqlState::UndefinedTable, message));
        }
        let fields = vec![("a".into(), SqlType::Int4), ("b".into(), SqlType::Text)];
        Ok(SqlType::record_of(RowType { table: Some("t".into()), fields }))
    }

    fn check_syntax(&self, text: &str, kind: TextKind) -> SqlResult<()> {
        read(text, kind, None).map(|_| ())
    }
}

pub(crate) fn input(name: &str, ty: SqlType) -> Parameter {
    Parameter { name: Some(name.into()), mode: ParameterMode::In, ty, is_cursor: false }
}

pub(crate) fn output(name: &str, ty: SqlType) -> Parameter {
    Parameter { name: Some(name.into()), mode: ParameterMode::Out, ty, is_cursor: false }
}

/// The declaration of `f` with this body.
pub(crate) fn declaration<'a>(
    parameters: &'a [Parameter],
    returns: SqlType,
    body: &'a str,
) -> Declaration<'a> {
    Declaration {
        name: "f",
        signature: "f(integer)",
        kind: RoutineKind::Function,
        parameters,
        returns,
        returns_set: false,
        body,
        variable_conflict: VariableConflict::Error,
        print_strict_params: false,
    }
}

pub(crate) fn inline(body: &str) -> Declaration<'_> {
    Declaration {
        name: "inline_code_block",
        signature: "inline_code_block",
        kind: RoutineKind::Inline,
        ..declaration(&[], SqlType::Void, body)
    }
}

/// A compiled function that has been called, or not yet.
pub(crate) struct Fixture {
    pub function: Arc<Function>,
    pub plans: PlanCache<<TestDatabase as Spi>::Plan>,
    pub db: TestDatabase,
}

impl Fixture {
    pub fn new(declaration: &Declaration<'_>) -> SqlResult<Self> {
        let function = compile(declaration, &TestCatalog, true)?;
        let plans = PlanCache::new(&function);
        Ok(Self { function, plans, db: TestDatabase::default() })
    }

    pub fn call(&mut self, arguments: Vec<Datum>) -> SqlResult<Datum> {
        block_on(crate::run::call(&self.function, &self.plans, &mut self.db, arguments, None))
    }
}

/// Nothing here waits for anything but its turn.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

/// Runs a DO block: its notices, or its error.
pub(crate) fn run(body: &str) -> Result<Vec<String>, SqlError> {
    let mut fixture = Fixture::new(&inline(body))?;
    fixture.call(Vec::new())?;
    Ok(fixture.db.notice_texts().into_iter().map(str::to_owned).collect())
}
