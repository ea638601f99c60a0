//! Statements that go to the database, and those about messages and errors.

use types::{SqlResult, SqlState, SqlType};

use super::Compiler;
use super::reader::Until;
use super::statement::unrecognized_condition;
use crate::conditions;
use crate::function::{
    Diagnostic, ExpressionId, FetchCount, FetchDirection, Into, Op, Raise, RaiseLevel, RaiseOption,
    RowSource, Target, TextKind, VariableId, VariableKind,
};
use crate::lexer::Token;

impl Compiler<'_> {
    /// `INTO` has been read: a record, or variables with commas between them.
    pub(super) fn into_target(&mut self) -> SqlResult<Into> {
        let start = self.start();
        let first = self.target()?;
        let is_record = |this: &Self, target: &Target| {
            target.path.is_empty()
                && matches!(this.function.variable(target.variable).kind, VariableKind::Record(_))
        };
        if is_record(self, &first) {
            if self.is_symbol(",") {
                let message = "record variable cannot be part of multiple-item INTO list";
                return Err(self.error_at(SqlState::SyntaxError, message, start));
            }
            return Ok(Into::Record(first.variable));
        }
        let mut targets = vec![first];
        while self.accept(",") {
            let at = self.start();
            if !matches!(self.token(), Token::Word(_) | Token::Quoted(_) | Token::Parameter(_)) {
                return Err(self.syntax_error());
            }
            let target = self.target()?;
            if is_record(self, &target) {
                let name = &self.function.variable(target.variable).name;
                let message = format!("\"{name}\" is not a scalar variable");
                return Err(self.error_at(SqlState::SyntaxError, message, at));
            }
            targets.push(target);
        }
        Ok(Into::Row(targets.into()))
    }

    fn strict_into(&mut self) -> SqlResult<(Into, bool)> {
        let strict = self.words("strict");
        Ok((self.into_target()?, strict))
    }

    /// A statement of SQL up to its semicolon; INTO with its targets is taken out, and spaces left where it was.
    pub(super) fn sql_statement(&mut self) -> SqlResult<()> {
        self.begin("SQL statement");
        let first = self.at;
        let start = self.start();
        let is_import = self.is_word("import");
        let mut depth = 0_usize;
        let mut into: Option<(Into, bool, usize, usize)> = None;
        loop {
            match self.token() {
                Token::End => return Err(self.error_here("unexpected end of function definition")),
                Token::Symbol("(") => depth += 1,
                Token::Symbol(")") => depth = depth.saturating_sub(1),
                Token::Symbol(";") if depth == 0 => break,
                Token::Word(word) if word == "into" && !is_import => {
                    let before =
                        self.at.checked_sub(1).filter(|_| self.at > first).map(|at| &self.tokens[at].token);
                    let is_of_insert =
                        matches!(before, Some(Token::Word(word)) if word == "insert" || word == "merge");
                    if !is_of_insert {
                        if into.is_some() {
                            return Err(self.error_here("INTO specified more than once"));
                        }
                        let from = self.start();
                        self.step();
                        let (target, strict) = self.strict_into()?;
                        into = Some((target, strict, from, self.start()));
                        continue;
                    }
                }
                _ => {}
            }
            self.step();
        }
        let end = self.tokens[self.at - 1].end.max(start);
        let text = match &into {
            Some((_, _, from, to)) => {
                let to = (*to).min(end.max(*from));
                let gap = " ".repeat(self.body[*from..to].chars().count());
                format!("{}{gap}{}", &self.body[start..*from], &self.body[to..end]).trim_end().to_owned()
            }
            None => self.body[start..end].to_owned(),
        };
        self.check_syntax(&text, TextKind::Statement, start)?;
        self.step();
        let statement = self.expression(text, TextKind::Statement, String::new());
        let strict = into.as_ref().is_some_and(|(_, strict, ..)| *strict);
        self.emit(Op::Sql { statement, into: into.map(|(into, ..)| into), strict });
        Ok(())
    }

    pub(super) fn perform(&mut self) -> SqlResult<()> {
        self.begin("PERFORM");
        let start = self.start();
        self.step();
        let text = if self.accept(";") {
            "SELECT".to_owned()
        } else {
            let piece = self.piece(&[Until::Symbol(";")], ";", TextKind::Statement)?;
            // In the same columns, but for one.
            format!("SELECT{}", &self.body[start + "PERFORM".len()..piece.end])
        };
        self.check_syntax(&text, TextKind::Statement, start + 1)?;
        let statement = self.expression(text, TextKind::Statement, String::new());
        self.emit(Op::Perform(statement));
        Ok(())
    }

    pub(super) fn call(&mut self) -> SqlResult<()> {
        let is_call = self.is_word("call");
        self.begin(if is_call { "CALL" } else { "DO" });
        let piece = self.piece(&[Until::Symbol(";")], ";", TextKind::Statement)?;
        let text = self.body[piece.start..piece.end].to_owned();
        self.check_syntax(&text, TextKind::Statement, piece.start)?;
        let statement = self.expression(text, TextKind::Statement, String::new());
        self.emit(Op::Call { statement });
        Ok(())
    }

    pub(super) fn execute(&mut self) -> SqlResult<()> {
        self.begin("EXECUTE");
        self.step();
        let until = &[Until::Symbol(";"), Until::Word("into"), Until::Word("using")];
        let (query, mut ended_by) = self.expression_until(until, "INTO or USING or ;")?;
        let mut into = None;
        let mut using = Vec::new();
        let mut has_using = false;
        loop {
            match ended_by {
                0 => break,
                1 => {
                    if into.is_some() {
                        return Err(self.syntax_error());
                    }
                    into = Some(self.strict_into()?);
                    ended_by = match () {
                        () if self.accept(";") => 0,
                        () if self.words("using") => 2,
                        () if self.is_word("into") => return Err(self.syntax_error()),
                        () => return Err(self.syntax_error()),
                    };
                }
                _ => {
                    if has_using {
                        return Err(self.syntax_error());
                    }
                    has_using = true;
                    loop {
                        let until = &[Until::Symbol(";"), Until::Word("into"), Until::Symbol(",")];
                        let (value, end) = self.expression_until(until, ", or ; or INTO")?;
                        using.push(value);
                        ended_by = end;
                        if end != 2 {
                            break;
                        }
                    }
                }
            }
        }
        let strict = into.as_ref().is_some_and(|(_, strict)| *strict);
        self.emit(Op::Execute { query, using: using.into(), into: into.map(|(into, _)| into), strict });
        Ok(())
    }

    pub(super) fn end_transaction(&mut self, word: &str) -> SqlResult<()> {
        let is_commit = word == "commit";
        self.begin(if is_commit { "COMMIT" } else { "ROLLBACK" });
        self.step();
        let chain = if self.words("and no chain") { false } else { self.words("and chain") };
        self.expect(";")?;
        self.emit(if is_commit { Op::Commit { chain } } else { Op::Rollback { chain } });
        Ok(())
    }

    // Cursors.

    /// A variable that may hold the name of a portal.
    fn cursor_variable(&mut self) -> SqlResult<VariableId> {
        let start = self.start();
        let (names, count) = match self.token() {
            Token::Parameter(number) => (vec![format!("${number}")], 1),
            _ => self.dotted().ok_or_else(|| self.syntax_error())?,
        };
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.function.names.lookup(self.scope, &parts);
        let Some((id, used)) = found else { return Err(self.not_a_variable(&names)) };
        let variable = self.function.variable(id);
        if used < parts.len() || !matches!(variable.kind, VariableKind::Scalar(_)) {
            let message = "cursor variable must be a simple variable";
            return Err(self.error_at(SqlState::DatatypeMismatch, message, start));
        }
        if !variable.is_cursor {
            let message = format!("variable \"{}\" must be of type cursor or refcursor", variable.name);
            return Err(self.error_at(SqlState::DatatypeMismatch, message, start));
        }
        self.at += count;
        Ok(id)
    }

    /// The arguments of a bound cursor as a query of one row, before a semicolon or LOOP, which stays.
    pub(super) fn cursor_arguments(
        &mut self,
        cursor: VariableId,
        end: &str,
    ) -> SqlResult<Option<ExpressionId>> {
        let (name, declaration) = {
            let variable = self.function.variable(cursor);
            (variable.name.clone(), variable.cursor.clone().expect("only a bound cursor has arguments"))
        };
        let wanted: Vec<String> =
            declaration.arguments.iter().map(|id| self.function.variable(*id).name.clone()).collect();
        let refuse =
            |this: &Self, message: String| Err(this.error_at(SqlState::SyntaxError, message, this.start()));
        if wanted.is_empty() {
            if self.is_symbol("(") {
                return refuse(self, format!("cursor \"{name}\" has no arguments"));
            }
            let ends = self.is_symbol(end) || self.is_word(end);
            return if ends { Ok(None) } else { Err(self.syntax_error()) };
        }
        if !self.accept("(") {
            return refuse(self, format!("cursor \"{name}\" has arguments"));
        }
        let mut values: Vec<Option<String>> = vec![None; wanted.len()];
        for position in 0..wanted.len() {
            let named = match (self.token(), self.ahead(1)) {
                (Token::Word(word) | Token::Quoted(word), Token::Symbol(":=" | "=>")) => Some(word.clone()),
                _ => None,
            };
            let at = match named {
                Some(argument) => match wanted.iter().position(|known| *known == argument) {
                    Some(at) => {
                        if values[at].is_some() {
                            return refuse(
                                self,
                                format!(
                                    "value for parameter \"{argument}\" of cursor \"{name}\" specified more than once"
                                ),
                            );
                        }
                        self.at += 2;
                        at
                    }
                    None => {
                        return refuse(
                            self,
                            format!("cursor \"{name}\" has no argument named \"{argument}\""),
                        );
                    }
                },
                None => position,
            };
            if values[at].is_some() {
                let argument = &wanted[at];
                return refuse(
                    self,
                    format!(
                        "value for parameter \"{argument}\" of cursor \"{name}\" specified more than once"
                    ),
                );
            }
            let until = &[Until::Symbol(","), Until::Symbol(")")];
            let piece = self.piece(until, ",\" or \")", TextKind::Expression)?;
            let text = self.body[piece.start..piece.end].to_owned();
            self.check_syntax(&text, TextKind::Expression, piece.start)?;
            values[at] = Some(text);
            let is_last = position + 1 == wanted.len();
            if piece.ended_by == 1 && !is_last {
                self.at -= 1;
                return refuse(self, format!("not enough arguments for cursor \"{name}\""));
            }
            if piece.ended_by == 0 && is_last {
                self.at -= 1;
                return refuse(self, format!("too many arguments for cursor \"{name}\""));
            }
        }
        let columns = values.into_iter().flatten().zip(&wanted);
        let columns: Vec<String> =
            columns.map(|(text, name)| format!("{text} AS {}", types::quote_identifier(name))).collect();
        let text = format!("SELECT {}", columns.join(", "));
        Ok(Some(self.expression(text, TextKind::Statement, String::new())))
    }

    pub(super) fn open(&mut self) -> SqlResult<()> {
        self.begin("OPEN");
        self.step();
        let cursor = self.cursor_variable()?;
        if self.function.variable(cursor).cursor.is_some() {
            if self.is_word("for") || self.is_word("no") || self.is_word("scroll") {
                return Err(self.syntax_error());
            }
            let arguments = self.cursor_arguments(cursor, ";")?;
            self.expect(";")?;
            let source = RowSource::Cursor { variable: cursor, arguments };
            self.emit(Op::Open { cursor, source, scroll: None });
            return Ok(());
        }
        let scroll = match () {
            () if self.words("no scroll") => Some(false),
            () if self.words("scroll") => Some(true),
            () => None,
        };
        if !self.words("for") {
            return Err(self.error_here("syntax error, expected \"FOR\""));
        }
        let source = self.row_source("USING or ;")?;
        self.emit(Op::Open { cursor, source, scroll });
        Ok(())
    }

    /// What EXECUTE runs and the values of USING, up to `end`. The texts are for messages.
    pub(super) fn dynamic(&mut self, end: Until, or_using: &str, or_comma: &str) -> SqlResult<RowSource> {
        let (query, mut ended_by) = self.expression_until(&[end, Until::Word("using")], or_using)?;
        let mut using = Vec::new();
        while ended_by == 1 {
            let (value, ended) = self.expression_until(&[end, Until::Symbol(",")], or_comma)?;
            using.push(value);
            ended_by = ended;
        }
        Ok(RowSource::Dynamic { query, using: using.into() })
    }

    /// EXECUTE or a query, up to the semicolon.
    pub(super) fn row_source(&mut self, or_using: &str) -> SqlResult<RowSource> {
        if self.words("execute") {
            return self.dynamic(Until::Symbol(";"), or_using, ", or ;");
        }
        let piece = self.piece(&[Until::Symbol(";")], ";", TextKind::Statement)?;
        let text = self.body[piece.start..piece.end].to_owned();
        self.check_syntax(&text, TextKind::Statement, piece.start)?;
        Ok(RowSource::Query(self.expression(text, TextKind::Statement, String::new())))
    }

    pub(super) fn fetch(&mut self, is_move: bool) -> SqlResult<()> {
        self.begin(if is_move { "MOVE" } else { "FETCH" });
        self.step();
        let direction_at = self.start();
        let direction = self.direction()?;
        let cursor = self.cursor_variable()?;
        let many = match direction {
            FetchDirection::Forward(count) | FetchDirection::Backward(count) => {
                !matches!(count, FetchCount::Rows(1))
            }
            FetchDirection::Absolute(_) | FetchDirection::Relative(_) => false,
        };
        let into = if is_move {
            None
        } else {
            self.expect_words("into")?;
            let into = self.into_target()?;
            if many {
                let message = "FETCH statement cannot return multiple rows";
                return Err(self.error_at(SqlState::FeatureNotSupported, message, direction_at));
            }
            Some(into)
        };
        self.expect(";")?;
        self.emit(Op::Fetch { cursor, direction, into });
        Ok(())
    }

    fn direction(&mut self) -> SqlResult<FetchDirection> {
        let one = FetchCount::Rows(1);
        let simple = [
            ("next", FetchDirection::Forward(one)),
            ("prior", FetchDirection::Backward(one)),
            ("first", FetchDirection::Absolute(one)),
            ("last", FetchDirection::Absolute(FetchCount::Rows(-1))),
            ("all", FetchDirection::Forward(FetchCount::All)),
        ];
        let Token::Word(word) = self.token().clone() else {
            if matches!(self.token(), Token::Quoted(_) | Token::Parameter(_)) {
                return Ok(FetchDirection::Forward(one));
            }
            let count = self.fetch_count()?;
            return Ok(FetchDirection::Forward(count));
        };
        // A cursor of the name of a direction is the cursor.
        let is_alone = matches!(self.ahead(1), Token::Symbol(";"))
            || matches!(self.ahead(1), Token::Word(next) if next == "into");
        if !is_alone {
            if let Some((_, direction)) = simple.iter().find(|(name, _)| *name == word) {
                self.step();
                self.from_or_in()?;
                return Ok(*direction);
            }
            match word.as_str() {
                "absolute" => {
                    self.step();
                    return Ok(FetchDirection::Absolute(self.fetch_count()?));
                }
                "relative" => {
                    self.step();
                    return Ok(FetchDirection::Relative(self.fetch_count()?));
                }
                "forward" | "backward" => {
                    self.step();
                    let count = if self.words("from") || self.words("in") {
                        one
                    } else if self.words("all") {
                        self.from_or_in()?;
                        FetchCount::All
                    } else {
                        self.fetch_count()?
                    };
                    return Ok(match word.as_str() {
                        "forward" => FetchDirection::Forward(count),
                        _ => FetchDirection::Backward(count),
                    });
                }
                "from" | "in" => {
                    self.step();
                    return Ok(FetchDirection::Forward(one));
                }
                _ => {}
            }
            let is_variable = self
                .function
                .names
                .lookup(self.scope, &[&word])
                .is_some_and(|(id, _)| self.function.variable(id).is_cursor);
            if !is_variable && !matches!(self.ahead(1), Token::Symbol(".")) {
                let count = self.fetch_count()?;
                return Ok(FetchDirection::Forward(count));
            }
        }
        Ok(FetchDirection::Forward(one))
    }

    fn from_or_in(&mut self) -> SqlResult<()> {
        if self.words("from") || self.words("in") {
            Ok(())
        } else {
            Err(self.error_here("expected FROM or IN"))
        }
    }

    /// An expression before FROM or IN, which is stepped over.
    fn fetch_count(&mut self) -> SqlResult<FetchCount> {
        let (count, ended) = match (self.token(), self.ahead(1), self.ahead(2)) {
            (Token::Integer(count), Token::Word(word), _) => (Some((*count, 1)), word.clone()),
            (Token::Symbol("-"), Token::Integer(count), Token::Word(word)) => {
                (Some((-*count, 2)), word.clone())
            }
            _ => (None, String::new()),
        };
        if let Some((count, tokens)) = count
            && matches!(ended.as_str(), "from" | "in")
        {
            self.at += tokens + 1;
            return Ok(FetchCount::Rows(count));
        }
        let until = &[Until::Word("from"), Until::Word("in")];
        Ok(FetchCount::Expression(self.expression_until(until, "FROM or IN")?.0))
    }

    pub(super) fn close(&mut self) -> SqlResult<()> {
        self.begin("CLOSE");
        self.step();
        let cursor = self.cursor_variable()?;
        self.expect(";")?;
        self.emit(Op::Close { cursor });
        Ok(())
    }

    // Messages and errors.

    pub(super) fn get_diagnostics(&mut self) -> SqlResult<()> {
        let start = self.start();
        self.begin("GET DIAGNOSTICS");
        self.step();
        let stacked = self.words("stacked");
        if stacked {
            self.place.what = "GET STACKED DIAGNOSTICS";
        } else {
            self.words("current");
        }
        self.expect_words("diagnostics")?;
        let mut items = Vec::new();
        loop {
            let target_at = self.start();
            let target = self.target()?;
            let is_record = matches!(self.function.variable(target.variable).kind, VariableKind::Record(_));
            if is_record && target.path.is_empty() {
                let message =
                    format!("\"{}\" is not a scalar variable", self.function.variable(target.variable).name);
                return Err(self.error_at(SqlState::SyntaxError, message, target_at));
            }
            if !self.accept("=") {
                self.expect(":=")?;
            }
            let item = match self.token() {
                Token::Word(word) => diagnostic(word),
                _ => None,
            };
            let Some((item, shown, of_stacked)) = item else {
                return Err(self.error_here("unrecognized GET DIAGNOSTICS item"));
            };
            self.step();
            if stacked != of_stacked {
                let which = if stacked { "STACKED" } else { "CURRENT" };
                let message = format!("diagnostics item {shown} is not allowed in GET {which} DIAGNOSTICS");
                return Err(self.error_at(SqlState::SyntaxError, message, start));
            }
            items.push((target, item));
            if !self.accept(",") {
                break;
            }
        }
        self.expect(";")?;
        self.emit(Op::GetDiagnostics { stacked, items: items.into() });
        Ok(())
    }

    pub(super) fn raise(&mut self) -> SqlResult<()> {
        self.begin("RAISE");
        self.step();
        let mut raise = Raise {
            level: RaiseLevel::Exception,
            again: false,
            condition: None,
            message: None,
            parameters: Vec::new(),
            options: Vec::new(),
        };
        if self.accept(";") {
            raise.again = true;
            self.emit(Op::Raise(Box::new(raise)));
            return Ok(());
        }
        let levels = [
            ("exception", RaiseLevel::Exception),
            ("warning", RaiseLevel::Warning),
            ("notice", RaiseLevel::Notice),
            ("info", RaiseLevel::Info),
            ("log", RaiseLevel::Log),
            ("debug", RaiseLevel::Debug),
        ];
        let level = levels.iter().find(|(word, _)| self.words(word));
        let has_level = level.is_some();
        if let Some((_, level)) = level {
            raise.level = *level;
        }
        let until_using = if let Token::String(format) = self.token() {
            let format = format.clone();
            self.step();
            let until = &[Until::Symbol(","), Until::Symbol(";"), Until::Word("using")];
            let mut ended_by = self.raise_separator()?;
            while ended_by == 0 {
                let (value, end) = self.expression_until(until, ", or ; or USING")?;
                raise.parameters.push(value);
                ended_by = end;
            }
            raise.message = Some(self.message_parts(&format, raise.parameters.len())?);
            ended_by == 2
        } else if self.words("using") {
            true
        } else if has_level && self.is_symbol(";") {
            return Err(self.syntax_error());
        } else {
            raise.condition = Some(self.raise_condition()?);
            if self.words("using") {
                true
            } else {
                self.expect(";")?;
                false
            }
        };
        if until_using {
            self.raise_options(&mut raise)?;
        }
        self.emit(Op::Raise(Box::new(raise)));
        Ok(())
    }

    /// What follows the format of RAISE: a comma, a semicolon, or USING.
    fn raise_separator(&mut self) -> SqlResult<usize> {
        match () {
            () if self.accept(",") => Ok(0),
            () if self.accept(";") => Ok(1),
            () if self.words("using") => Ok(2),
            () => Err(self.syntax_error()),
        }
    }

    fn raise_condition(&mut self) -> SqlResult<(String, SqlState)> {
        if self.words("sqlstate") {
            let state = self.state_code()?;
            return Ok((state.code().to_owned(), state));
        }
        let name = match self.token() {
            Token::Word(_) | Token::Quoted(_) => self.name()?,
            _ => return Err(self.syntax_error()),
        };
        let state = conditions::named(&name).next();
        match state {
            Some(state) => Ok((name, state)),
            None => Err(unrecognized_condition(&name)),
        }
    }

    /// The parts of a format between its parameters.
    fn message_parts(&self, format: &str, parameters: usize) -> SqlResult<Vec<String>> {
        let mut parts = vec![String::new()];
        let mut rest = format.chars().peekable();
        while let Some(character) = rest.next() {
            let last = parts.last_mut().expect("at least one part");
            match character {
                '%' if rest.peek() == Some(&'%') => {
                    rest.next();
                    last.push('%');
                }
                '%' => parts.push(String::new()),
                other => last.push(other),
            }
        }
        let wanted = parts.len() - 1;
        let refuse = |message: &str| Err(types::SqlError::new(SqlState::SyntaxError, message));
        match parameters {
            count if count < wanted => refuse("too few parameters specified for RAISE"),
            count if count > wanted => refuse("too many parameters specified for RAISE"),
            _ => Ok(parts),
        }
    }

    /// After USING.
    fn raise_options(&mut self, raise: &mut Raise) -> SqlResult<()> {
        const OPTIONS: [RaiseOption; 9] = [
            RaiseOption::Errcode,
            RaiseOption::Message,
            RaiseOption::Detail,
            RaiseOption::Hint,
            RaiseOption::Column,
            RaiseOption::Constraint,
            RaiseOption::Datatype,
            RaiseOption::Table,
            RaiseOption::Schema,
        ];
        loop {
            let option = match self.token() {
                Token::Word(word) => {
                    OPTIONS.into_iter().find(|option| option.name().eq_ignore_ascii_case(word))
                }
                _ => None,
            };
            let Some(option) = option else {
                return Err(self.error_here("unrecognized RAISE statement option"));
            };
            self.step();
            if !self.accept("=") && !self.accept(":=") {
                return Err(self.error_here("syntax error, expected \"=\""));
            }
            let until = &[Until::Symbol(","), Until::Symbol(";")];
            let (value, ended_by) = self.expression_until(until, ", or ;")?;
            raise.options.push((option, value));
            if ended_by == 1 {
                return Ok(());
            }
        }
    }

    pub(super) fn assert(&mut self) -> SqlResult<()> {
        self.begin("ASSERT");
        self.step();
        let (condition, ended_by) =
            self.expression_until(&[Until::Symbol(","), Until::Symbol(";")], ", or ;")?;
        let message = if ended_by == 0 { Some(self.expression_to(";")?) } else { None };
        self.emit(Op::Assert { condition, message });
        Ok(())
    }
}

/// An item of GET DIAGNOSTICS, as messages show it, and whether it is one of GET STACKED DIAGNOSTICS.
fn diagnostic(word: &str) -> Option<(Diagnostic, &'static str, bool)> {
    Some(match word {
        "row_count" => (Diagnostic::RowCount, "ROW_COUNT", false),
        "pg_context" => (Diagnostic::Context, "PG_CONTEXT", false),
        "pg_exception_detail" => (Diagnostic::ErrorDetail, "PG_EXCEPTION_DETAIL", true),
        "pg_exception_hint" => (Diagnostic::ErrorHint, "PG_EXCEPTION_HINT", true),
        "pg_exception_context" => (Diagnostic::ErrorContext, "PG_EXCEPTION_CONTEXT", true),
        "column_name" => (Diagnostic::ColumnName, "COLUMN_NAME", true),
        "constraint_name" => (Diagnostic::ConstraintName, "CONSTRAINT_NAME", true),
        "pg_datatype_name" => (Diagnostic::DatatypeName, "PG_DATATYPE_NAME", true),
        "message_text" => (Diagnostic::MessageText, "MESSAGE_TEXT", true),
        "table_name" => (Diagnostic::TableName, "TABLE_NAME", true),
        "schema_name" => (Diagnostic::SchemaName, "SCHEMA_NAME", true),
        "returned_sqlstate" => (Diagnostic::ReturnedSqlState, "RETURNED_SQLSTATE", true),
        _ => return None,
    })
}

/// The type of a diagnostic's value.
pub(crate) const fn diagnostic_type(item: Diagnostic) -> SqlType {
    match item {
        Diagnostic::RowCount => SqlType::Int8,
        _ => SqlType::Text,
    }
}
