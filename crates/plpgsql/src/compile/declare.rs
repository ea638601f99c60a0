//! DECLARE.

use std::sync::Arc;

use types::{SqlError, SqlResult, SqlState, SqlType};

use super::reader::Until;
use super::{Compiler, kind_of};
use crate::function::{CursorDeclaration, Expression, TextKind, VariableId, VariableKind};
use crate::lexer::Token;

/// What a variable is declared to be.
struct DeclaredType {
    kind: VariableKind,
    is_cursor: bool,
}

impl Compiler<'_> {
    /// Declarations up to BEGIN; the variables in order, with their lines.
    pub(super) fn declarations(&mut self) -> SqlResult<Vec<(VariableId, u32)>> {
        let mut declared = Vec::new();
        loop {
            if self.is_word("begin") {
                return Ok(declared);
            }
            // DECLARE may be said again and again.
            if self.words("declare") {
                continue;
            }
            if self.is_symbol("<<") {
                return Err(self.error_at(
                    SqlState::SyntaxError,
                    "block label must be placed before DECLARE, not after",
                    self.start(),
                ));
            }
            self.declaration(&mut declared)?;
        }
    }

    fn declaration(&mut self, declared: &mut Vec<(VariableId, u32)>) -> SqlResult<()> {
        let (at, line) = (self.at, self.line_of(self.start()));
        let name = self.name()?;
        if self.function.names.in_level(self.scope, &name).is_some() {
            self.at = at;
            return Err(self.error_here("duplicate declaration"));
        }
        if self.words("alias for") {
            let id = self.alias()?;
            self.scope = self.function.names.variable(self.scope, name, id);
            return self.expect(";");
        }
        let scroll = match () {
            () if self.words("no scroll cursor") => Some(Some(false)),
            () if self.words("scroll cursor") => Some(Some(true)),
            () if self.words("cursor") => Some(None),
            () => None,
        };
        if let Some(scroll) = scroll {
            let id = self.cursor(name, scroll)?;
            declared.push((id, line));
            return Ok(());
        }
        let constant = self.words("constant");
        let ty = self.data_type(&["not", "default", "collate"], &[";", ":=", "="])?;
        let collate_at = self.start();
        if self.words("collate") {
            self.collation(&ty, collate_at)?;
        }
        let not_null_at = self.start();
        let not_null = self.words("not null");
        if !not_null && self.is_word("not") {
            self.step();
            return Err(self.syntax_error());
        }
        let default = if self.words("default") || self.accept(":=") || self.accept("=") {
            Some(self.expression_to(";")?)
        } else if self.accept(";") {
            None
        } else {
            return Err(self.syntax_error());
        };
        if not_null && default.is_none() {
            let message =
                format!("variable \"{name}\" must have a default value, since it's declared NOT NULL");
            return Err(self.error_at(SqlState::NullValueNotAllowed, message, not_null_at));
        }
        let id = self.declare(&name, ty.kind);
        let variable = &mut self.function.variables[id.index()];
        variable.constant = constant;
        variable.not_null = not_null;
        variable.default = default;
        variable.is_cursor = ty.is_cursor;
        declared.push((id, line));
        Ok(())
    }

    /// What ALIAS FOR names.
    fn alias(&mut self) -> SqlResult<VariableId> {
        let start = self.start();
        let (names, count) = match self.token() {
            Token::Parameter(number) => (vec![format!("${number}")], 1),
            _ => self.dotted().ok_or_else(|| self.syntax_error())?,
        };
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        match self.function.names.lookup(self.scope, &parts) {
            Some((id, used)) if used == parts.len() => {
                self.at += count;
                Ok(id)
            }
            _ => {
                let message = format!("variable \"{}\" does not exist", names.join("."));
                Err(self.error_at(SqlState::UndefinedObject, message, start))
            }
        }
    }

    fn collation(&mut self, ty: &DeclaredType, start: usize) -> SqlResult<()> {
        let (_, count) = self.dotted().ok_or_else(|| self.syntax_error())?;
        self.at += count;
        let is_collatable = |ty: SqlType| {
            let of = ty.element().unwrap_or(ty);
            matches!(of, SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name)
        };
        match ty.kind {
            VariableKind::Scalar(ty) if is_collatable(ty) => Ok(()),
            VariableKind::Scalar(ty) | VariableKind::Record(ty) => {
                let message = format!("collations are not supported by type {}", ty.base_name());
                Err(self.error_at(SqlState::DatatypeMismatch, message, start))
            }
            VariableKind::Any => Ok(()),
        }
    }

    /// After CURSOR.
    fn cursor(&mut self, name: String, scroll: Option<bool>) -> SqlResult<VariableId> {
        let outside = self.scope;
        let mut arguments = Vec::new();
        // Its arguments are visible in its query.
        if self.accept("(") {
            self.scope = self.function.names.level(self.scope, None, crate::names::LabelKind::Block);
            loop {
                let argument = self.name()?;
                let ty = self.data_type(&[], &[",", ")"])?;
                arguments.push(self.declare(&argument, ty.kind));
                if self.accept(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        if !self.words("is") && !self.words("for") {
            return Err(self.syntax_error());
        }
        let piece = self.piece(&[Until::Symbol(";")], ";", TextKind::Statement)?;
        let text = self.body[piece.start..piece.end].to_owned();
        self.check_syntax(&text, TextKind::Statement, piece.start)?;
        let query = self.expression(text, TextKind::Statement, String::new());
        self.scope = outside;
        let id = self.declare(&name, VariableKind::Scalar(SqlType::Text));
        let variable = &mut self.function.variables[id.index()];
        variable.is_cursor = true;
        variable.cursor = Some(Arc::new(CursorDeclaration { query, arguments, scroll }));
        Ok(id)
    }

    /// A type, up to one of these words or symbols.
    fn data_type(&mut self, words: &[&str], symbols: &[&str]) -> SqlResult<DeclaredType> {
        if let Some(ty) = self.copied_type()? {
            return Ok(ty);
        }
        let first = self.at;
        let mut depth = 0_usize;
        loop {
            match self.token() {
                Token::Symbol("(" | "[") => depth += 1,
                Token::Symbol(symbol) if depth == 0 && symbols.contains(symbol) => break,
                Token::Symbol(")" | "]") => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => break,
                },
                Token::Word(word) if depth == 0 && words.contains(&word.as_str()) => break,
                Token::End | Token::Symbol(";") => {
                    return Err(match depth {
                        0 => self.error_here("incomplete data type declaration"),
                        _ => self.error_here("mismatched parentheses"),
                    });
                }
                _ => {}
            }
            self.step();
        }
        if self.at == first {
            return Err(self.error_here("missing data type declaration"));
        }
        let (start, end) = (self.tokens[first].start, self.tokens[self.at - 1].end);
        let text = &self.body[start..end];
        if matches!(text.to_ascii_lowercase().as_str(), "refcursor" | "pg_catalog.refcursor") {
            return Ok(DeclaredType { kind: VariableKind::Scalar(SqlType::Text), is_cursor: true });
        }
        if text.eq_ignore_ascii_case("record") {
            return Ok(DeclaredType { kind: VariableKind::Record(SqlType::RECORD), is_cursor: false });
        }
        let ty = self.catalog.data_type(text).map_err(|error| {
            let position = self.body[..start].chars().count() + error.position.unwrap_or(1);
            error.moved_inside(self.body, position)
        })?;
        if matches!(
            ty,
            SqlType::Void | SqlType::Any | SqlType::AnyElement | SqlType::AnyArray | SqlType::AnyNonArray
                | SqlType::AnyRange | SqlType::AnyMultiRange
        ) {
            let message =
                format!("variable \"{}\" has pseudo-type {}", self.declared_name(first), ty.base_name());
            return Err(SqlError::not_supported(message));
        }
        Ok(DeclaredType { kind: kind_of(ty), is_cursor: false })
    }

    /// The name before a type.
    fn declared_name(&self, type_at: usize) -> String {
        let before = type_at.saturating_sub(1);
        match &self.tokens[before].token {
            Token::Word(word) if word == "constant" => self.declared_name(before),
            Token::Word(name) | Token::Quoted(name) => name.clone(),
            _ => String::new(),
        }
    }

    /// `name%TYPE` and `name%ROWTYPE`, if that is next.
    fn copied_type(&mut self) -> SqlResult<Option<DeclaredType>> {
        let (names, count) = match self.token() {
            Token::Parameter(number) => (vec![format!("${number}")], 1),
            _ => match self.dotted() {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        if *self.ahead(count) != Token::Symbol("%") {
            return Ok(None);
        }
        let Token::Word(word) = self.ahead(count + 1) else { return Ok(None) };
        let is_row = match word.as_str() {
            "type" => false,
            "rowtype" => true,
            _ => return Ok(None),
        };
        self.at += count + 2;
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let kind = if is_row {
            kind_of(self.catalog.row_type(&names)?)
        } else if let Some((id, used)) = self.function.names.lookup(self.scope, &parts) {
            let variable = self.function.variable(id);
            match (variable.kind, &parts[used..]) {
                (kind, []) => {
                    return Ok(Some(DeclaredType { kind, is_cursor: variable.is_cursor }));
                }
                (VariableKind::Record(ty), [field]) if ty.row_type().is_some() => {
                    let row = ty.row_type().expect("looked at before");
                    let name = variable.name.clone();
                    let at = row.position(field).ok_or_else(|| crate::spi::no_field(&name, field))?;
                    kind_of(row.fields[at].1)
                }
                _ => kind_of(self.catalog.column_type(&names)?),
            }
        } else {
            kind_of(self.catalog.column_type(&names)?)
        };
        Ok(Some(DeclaredType { kind, is_cursor: false }))
    }

    /// Whether an expression's text is nothing but a variable.
    pub(super) fn as_variable(&self, expression: &Expression) -> Option<VariableId> {
        let tokens = crate::lexer::lex(&expression.text).ok()?;
        let [only, _end] = tokens.as_slice() else { return None };
        let (Token::Word(name) | Token::Quoted(name)) = &only.token else { return None };
        self.function.names.lookup(expression.scope, &[name]).map(|(id, _)| id)
    }
}
