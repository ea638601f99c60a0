//! Blocks, assignment, and the statements that decide what runs next.

use types::{SqlError, SqlResult, SqlState, SqlType};

use super::reader::Until;
use super::{Around, Compiler, DEPTH_MAX};
use crate::conditions;
use crate::function::{
    Condition, Op, Place, Returned, RoutineKind, Step, Target, TextKind,
    VariableKind,
};
use crate::lexer::Token;
use crate::names::LabelKind;

impl Compiler<'_> {
    /// `<<label>>`, if one is next.
    pub(super) fn block_label(&mut self) -> SqlResult<Option<String>> {
        if !self.accept("<<") {
            return Ok(None);
        }
        let label = self.name()?;
        self.expect(">>")?;
        Ok(Some(label))
    }

    /// The label after END is that before the block.
    pub(super) fn end_label(&mut self, label: Option<&str>) -> SqlResult<()> {
        if !matches!(self.token(), Token::Word(_) | Token::Quoted(_)) {
            return Ok(());
        }
        let start = self.start();
        let found = self.name()?;
        let message = match label {
            Some(label) if label == found => return Ok(()),
            Some(label) => format!("end label \"{found}\" differs from block's label \"{label}\""),
            None => format!("end label \"{found}\" specified for unlabeled block"),
        };
        Err(self.error_at(SqlState::SyntaxError, message, start))
    }

    pub(super) fn deeper<T>(&mut self, body: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.depth >= DEPTH_MAX {
            return Err(types::stack::too_deep());
        }
        self.depth += 1;
        let outcome = types::stack::grown(|| body(self));
        self.depth -= 1;
        outcome
    }

    /// `[DECLARE …] BEGIN … [EXCEPTION …] END [label]`, without the semicolon.
    pub(super) fn block(&mut self, label: Option<String>) -> SqlResult<()> {
        self.deeper(|this| this.block_inside(label))
    }

    fn block_inside(&mut self, label: Option<String>) -> SqlResult<()> {
        let (scope, place) = (self.scope, self.place);
        self.scope = self.function.names.level(self.scope, label.clone(), LabelKind::Block);
        let declared = if self.words("declare") { self.declarations()? } else { Vec::new() };
        let line = self.line_of(self.start());
        self.expect_words("begin")?;
        self.around.push(Around::Block { label: label.clone(), exits: Vec::new() });
        for (variable, line) in declared {
            self.place = Place { line, what: "during statement block local variable initialization" };
            self.emit(Op::Initialize(variable));
        }
        self.place = Place { line, what: "during statement block entry" };
        let begin = self.emit(Op::Try { handler: 0, loop_depth: self.open_loops });
        self.around.push(Around::Try { emitted: Vec::new() });
        self.statements()?;
        let Some(Around::Try { emitted }) = self.around.pop() else {
            unreachable!("blocks are closed in order")
        };
        if self.words("exception") {
            self.place = Place { line, what: "during statement block exit" };
            self.emit(Op::EndTry);
            let end = self.jump();
            self.land(begin);
            self.handlers(line)?;
            self.land(end);
        } else {
            // There is no handler, and so no subtransaction.
            for patch in emitted.into_iter().chain([begin]) {
                self.function.code[patch] =
                    Op::Jump(super::Pc::try_from(patch + 1).expect("a body has fewer than 2^32 ops"));
            }
        }
        self.expect_words("end")?;
        self.end_label(label.as_deref())?;
        let Some(Around::Block { exits, .. }) = self.around.pop() else {
            unreachable!("blocks are closed in order")
        };
        exits.into_iter().for_each(|exit| self.land(exit));
        (self.scope, self.place) = (scope, place);
        Ok(())
    }

    /// `WHEN condition OR … THEN …`, all of them. The ops after them are those of the block's end.
    fn handlers(&mut self, line: u32) -> SqlResult<()> {
        let scope = self.scope;
        let state = self.declare("sqlstate", VariableKind::Scalar(SqlType::Text));
        let message = self.declare("sqlerrm", VariableKind::Scalar(SqlType::Text));
        for id in [state, message] {
            self.function.variables[id.index()].constant = true;
        }
        let mut ends = Vec::new();
        if !self.is_word("when") {
            return Err(self.syntax_error());
        }
        while self.words("when") {
            let mut conditions = Vec::new();
            loop {
                self.condition(&mut conditions)?;
                if !self.words("or") {
                    break;
                }
            }
            self.expect_words("then")?;
            self.place = Place { line, what: "during exception cleanup" };
            let when = self.emit(Op::When { conditions: conditions.into(), state, message, next: 0 });
            self.around.push(Around::Catch);
            self.statements()?;
            self.around.pop();
            self.place = Place { line, what: "during exception cleanup" };
            self.emit(Op::EndCatch);
            ends.push(self.jump());
            self.land(when);
        }
        self.emit(Op::Rethrow);
        ends.into_iter().for_each(|end| self.land(end));
        self.scope = scope;
        Ok(())
    }

    fn condition(&mut self, conditions: &mut Vec<Condition>) -> SqlResult<()> {
        if self.words("sqlstate") {
            let state = self.state_code()?;
            conditions.push(Condition::State(state));
            return Ok(());
        }
        let name = self.name()?;
        if name == "others" {
            conditions.push(Condition::Others);
            return Ok(());
        }
        let before = conditions.len();
        conditions.extend(conditions::named(&name).map(Condition::State));
        if conditions.len() == before {
            return Err(unrecognized_condition(&name));
        }
        Ok(())
    }

    /// The text of a SQLSTATE.
    pub(super) fn state_code(&mut self) -> SqlResult<SqlState> {
        let Token::String(code) = self.token() else { return Err(self.syntax_error()) };
        match SqlState::from_code(code) {
            Some(state) => {
                self.step();
                Ok(state)
            }
            None => Err(self.error_here("invalid SQLSTATE code")),
        }
    }

    /// Statements up to a word that ends them.
    pub(super) fn statements(&mut self) -> SqlResult<()> {
        loop {
            if let Token::Word(word) = self.token()
                && matches!(word.as_str(), "end" | "exception" | "else" | "elsif" | "elseif" | "when")
                && !self.is_assignment()
            {
                return Ok(());
            }
            if *self.token() == Token::End {
                return Err(self.syntax_error());
            }
            self.statement()?;
        }
    }

    /// Whether a variable and what assigns to it are next.
    fn is_assignment(&self) -> bool {
        let (names, count) = match self.token() {
            Token::Parameter(number) => (vec![format!("${number}")], 1),
            _ => match self.dotted() {
                Some(found) => found,
                None => return false,
            },
        };
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        matches!(self.ahead(count), Token::Symbol(":=" | "=" | "["))
            && self.function.names.lookup(self.scope, &parts).is_some()
    }

    pub(super) fn begin_statement(&mut self, what: &'static str) {
        self.place = Place { line: self.line_of(self.start()), what };
    }

    fn statement(&mut self) -> SqlResult<()> {
        if self.is_assignment() {
            self.begin_statement("assignment");
            return self.assignment();
        }
        if self.is_symbol("<<") {
            return self.labelled();
        }
        let start = self.start();
        let Token::Word(word) = self.token().clone() else {
            // "x" := 1 of an unknown variable, or no statement at all.
            self.refuse_unknown_target()?;
            return match self.token() {
                Token::Quoted(_) => self.sql_statement(),
                _ => Err(self.syntax_error()),
            };
        };
        match word.as_str() {
            "declare" | "begin" => {
                self.block(None)?;
                self.expect(";")
            }
            "if" => self.if_statement(),
            "case" => self.case_statement(),
            "loop" | "while" | "for" | "foreach" => self.looping(None),
            "exit" => self.exit("EXIT"),
            "continue" => self.exit("CONTINUE"),
            "return" => self.return_statement(start),
            "null" => {
                self.step();
                self.expect(";")
            }
            "perform" => self.perform(),
            "raise" => self.raise(),
            "assert" => self.assert(),
            "execute" => self.execute(),
            "get"
                if matches!(self.ahead(1), Token::Word(word)
                if matches!(word.as_str(), "diagnostics" | "current" | "stacked")) =>
            {
                self.get_diagnostics()
            }
            "open" => self.open(),
            "fetch" => self.fetch(false),
            "move" => self.fetch(true),
            "close" => self.close(),
            "commit" | "rollback" => self.end_transaction(&word),
            "call" | "do" => self.call(),
            _ => {
                self.refuse_unknown_target()?;
                if super::reader::is_reserved(&word) {
                    return Err(self.syntax_error());
                }
                self.sql_statement()
            }
        }
    }

    /// A name that begins a statement and is assigned to has to be a variable.
    fn refuse_unknown_target(&self) -> SqlResult<()> {
        let Some((names, count)) = self.dotted() else { return Ok(()) };
        match self.ahead(count) {
            Token::Symbol(":=" | "=" | "[") => Err(self.not_a_variable(&names)),
            _ => Ok(()),
        }
    }

    pub(super) fn not_a_variable(&self, names: &[String]) -> SqlError {
        let message = format!("\"{}\" is not a known variable", names.join("."));
        self.error_at(SqlState::SyntaxError, message, self.start())
    }

    /// A variable, or a field of a record, that may be assigned to: what INTO and assignments begin with.
    pub(super) fn target(&mut self) -> SqlResult<Target> {
        let start = self.start();
        let (names, count) = match self.token() {
            Token::Parameter(number) => (vec![format!("${number}")], 1),
            _ => self.dotted().ok_or_else(|| self.syntax_error())?,
        };
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.function.names.lookup(self.scope, &parts);
        let Some((variable, used)) = found else { return Err(self.not_a_variable(&names)) };
        let declared = self.function.variable(variable);
        if used < parts.len() && !matches!(declared.kind, VariableKind::Record(_)) {
            return Err(self.not_a_variable(&names));
        }
        if declared.constant {
            let message = format!("variable \"{}\" is declared CONSTANT", declared.name);
            return Err(self.error_at(SqlState::ErrorInAssignment, message, start));
        }
        let path = parts[used..].iter().map(|field| Step::Field((*field).to_owned())).collect();
        self.at += count;
        Ok(Target { variable, path })
    }

    fn assignment(&mut self) -> SqlResult<()> {
        let start = self.start();
        let mut target = self.target()?;
        let mut path = target.path.into_vec();
        loop {
            if self.accept("[") {
                path.push(self.subscript()?);
            } else if self.accept(".") {
                path.push(Step::Field(self.name()?));
            } else {
                break;
            }
        }
        target.path = path.into();
        if !self.accept(":=") {
            self.expect("=")?;
        }
        let piece = self.piece(&[Until::Symbol(";")], ";", TextKind::Expression)?;
        let text = self.body[piece.start..piece.end].to_owned();
        self.check_syntax(&text, TextKind::Assignment, piece.start)?;
        let prefix = self.body[start..piece.start].to_owned();
        let value = self.expression(text, TextKind::Assignment, prefix);
        self.emit(Op::Assign { target, value });
        Ok(())
    }

    /// After `[`.
    fn subscript(&mut self) -> SqlResult<Step> {
        let both = &[Until::Symbol(":"), Until::Symbol("]")];
        let lower = if self.accept(":") {
            None
        } else {
            let (index, ended_by) = self.expression_until(both, "]")?;
            if ended_by == 1 {
                return Ok(Step::Index(index));
            }
            Some(index)
        };
        let upper = if self.accept("]") { None } else { Some(self.expression_to("]")?) };
        Ok(Step::Slice { lower, upper })
    }

    fn labelled(&mut self) -> SqlResult<()> {
        let label = self.block_label()?;
        match self.token() {
            Token::Word(word) if matches!(word.as_str(), "declare" | "begin") => {
                self.block(label)?;
                self.expect(";")
            }
            Token::Word(word) if matches!(word.as_str(), "loop" | "while" | "for" | "foreach") => {
                self.looping(label)
            }
            _ => Err(self.syntax_error()),
        }
    }

    fn if_statement(&mut self) -> SqlResult<()> {
        self.deeper(|this| {
            this.begin_statement("IF");
            let place = this.place;
            this.step();
            let mut ends = Vec::new();
            loop {
                this.place = place;
                let condition = this.expression_to_word("then")?;
                let skip = this.emit(Op::JumpUnless { condition, to: 0 });
                this.statements()?;
                ends.push(this.jump());
                this.land(skip);
                if !this.words("elsif") && !this.words("elseif") {
                    break;
                }
            }
            if this.words("else") {
                this.statements()?;
            }
            this.expect_words("end if")?;
            this.expect(";")?;
            ends.into_iter().for_each(|end| this.land(end));
            Ok(())
        })
    }

    fn case_statement(&mut self) -> SqlResult<()> {
        self.deeper(|this| {
            this.begin_statement("CASE");
            let (place, scope) = (this.place, this.scope);
            this.step();
            let compared = if this.is_word("when") {
                None
            } else {
                let value = this.expression_to_word("when")?;
                this.at -= 1;
                this.case_count += 1;
                let name = format!("__Case__Variable_{}__", this.case_count);
                let variable = this.declare(&name, VariableKind::Any);
                this.emit(Op::CaseValue { variable, value });
                Some(name)
            };
            let mut ends = Vec::new();
            if !this.is_word("when") {
                return Err(this.syntax_error());
            }
            while this.words("when") {
                this.place = place;
                let condition = this.expression_to_word("then")?;
                if let Some(name) = &compared {
                    let expression = &mut this.function.expressions[condition.index()];
                    expression.text = format!("\"{name}\" IN ({})", expression.text);
                }
                let skip = this.emit(Op::JumpUnless { condition, to: 0 });
                this.statements()?;
                ends.push(this.jump());
                this.land(skip);
            }
            if this.words("else") {
                this.statements()?;
            } else {
                this.place = place;
                this.emit(Op::CaseNotFound);
            }
            this.expect_words("end case")?;
            this.expect(";")?;
            ends.into_iter().for_each(|end| this.land(end));
            this.scope = scope;
            Ok(())
        })
    }

    fn return_statement(&mut self, start: usize) -> SqlResult<()> {
        self.begin_statement("RETURN");
        self.step();
        if self.words("next") {
            self.place.what = "RETURN NEXT";
            return self.return_next(start);
        }
        if self.words("query") {
            self.place.what = "RETURN QUERY";
            return self.return_query(start);
        }
        let at = self.start();
        let refuse = |this: &Self, state: SqlState, message: &str| Err(this.error_at(state, message, at));
        let has_value = !self.is_symbol(";");
        let mismatch = SqlState::DatatypeMismatch;
        let is_trigger = self.function.kind == RoutineKind::Trigger;
        let value = if self.function.returns_set {
            if has_value {
                return Err(self
                    .error_at(mismatch, "RETURN cannot have a parameter in function returning set", at)
                    .with_hint("Use RETURN NEXT or RETURN QUERY."));
            }
            Returned::Null
        } else if self.function.kind == RoutineKind::Procedure {
            if has_value {
                return refuse(self, SqlState::SyntaxError, "RETURN cannot have a parameter in a procedure");
            }
            self.implied_return()
        } else if self.function.kind == RoutineKind::Inline
            || (self.function.returns == SqlType::Void && !is_trigger)
        {
            if has_value {
                return refuse(self, mismatch, "RETURN cannot have a parameter in function returning void");
            }
            Returned::Null
        } else if !self.function.outputs.is_empty() {
            if has_value {
                return refuse(
                    self,
                    mismatch,
                    "RETURN cannot have a parameter in function with OUT parameters",
                );
            }
            Returned::Outputs
        } else {
            self.returned()?
        };
        if self.is_symbol(";") {
            self.step();
        }
        self.emit(Op::SetReturn(value));
        self.leave(0);
        self.emit(Op::Return);
        Ok(())
    }

    /// A value up to the semicolon, which stays: a variable alone is taken as it is.
    fn returned(&mut self) -> SqlResult<Returned> {
        let value = self.expression_to(";")?;
        self.at -= 1;
        let expression = self.function.expression(value);
        let variable = self.as_variable(expression);
        if self.function.kind == RoutineKind::Trigger && expression.text.eq_ignore_ascii_case("null") {
            return Ok(Returned::Null);
        }
        Ok(variable.map_or(Returned::Expression(value), Returned::Variable))
    }

    fn return_next(&mut self, start: usize) -> SqlResult<()> {
        if !self.function.returns_set {
            let message = "cannot use RETURN NEXT in a non-SETOF function";
            return Err(self.error_at(SqlState::DatatypeMismatch, message, start));
        }
        let value = if self.function.outputs.is_empty() {
            self.returned()?
        } else if self.is_symbol(";") {
            Returned::Outputs
        } else {
            let message = "RETURN NEXT cannot have a parameter in function with OUT parameters";
            return Err(self.error_at(SqlState::DatatypeMismatch, message, self.start()));
        };
        self.expect(";")?;
        self.emit(Op::ReturnNext(value));
        Ok(())
    }

    fn return_query(&mut self, start: usize) -> SqlResult<()> {
        if !self.function.returns_set {
            let message = "cannot use RETURN QUERY in a non-SETOF function";
            return Err(self.error_at(SqlState::DatatypeMismatch, message, start));
        }
        let source = self.row_source("; or USING")?;
        self.emit(Op::ReturnQuery(source));
        Ok(())
    }

    pub(super) fn begin(&mut self, what: &'static str) {
        self.begin_statement(what);
    }
}

pub(crate) fn unrecognized_condition(name: &str) -> SqlError {
    SqlError::new(SqlState::UndefinedObject, format!("unrecognized exception condition \"{name}\""))
}
