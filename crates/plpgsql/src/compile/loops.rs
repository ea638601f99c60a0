//! Loops, and the ways out of them.

use types::{SqlResult, SqlState, SqlType};

use super::reader::Until;
use super::{Around, Compiler};
use crate::function::{
    ExpressionId, Into, Op, Place, RowSource, Target, TextKind,
    VariableId, VariableKind,
};
use crate::lexer::Token;
use crate::names::LabelKind;

/// What a loop runs over.
enum LoopTarget {
    /// Not a variable yet.
    Name(String),
    Into(Into),
}

impl Compiler<'_> {
    /// A loop of any kind.
    pub(super) fn looping(&mut self, label: Option<String>) -> SqlResult<()> {
        self.deeper(|this| {
            let scope = this.scope;
            this.scope = this.function.names.level(this.scope, label.clone(), LabelKind::Loop);
            match this.any_word()?.as_str() {
                "loop" => {
                    this.at -= 1;
                    this.begin_statement("LOOP");
                    this.step();
                    this.around.push(Around::Loop {
                        label,
                        slot: None,
                        exits: Vec::new(),
                        again: Vec::new(),
                    });
                    let head = this.here();
                    this.loop_body(head, None)?;
                }
                "while" => {
                    this.at -= 1;
                    this.begin_statement("WHILE");
                    this.step();
                    let head = this.here();
                    let condition = this.expression_to_word("loop")?;
                    let exit = this.emit(Op::JumpUnless { condition, to: 0 });
                    this.around.push(Around::Loop {
                        label,
                        slot: None,
                        exits: vec![exit],
                        again: Vec::new(),
                    });
                    this.loop_body(head, None)?;
                }
                "for" => this.for_loop(label)?,
                _ => this.foreach(label)?,
            }
            this.scope = scope;
            Ok(())
        })
    }

    /// After LOOP: statements, then back to the head.
    fn loop_body(&mut self, head: super::Pc, slot: Option<usize>) -> SqlResult<()> {
        let place = self.place;
        self.statements()?;
        self.expect_words("end loop")?;
        let Some(Around::Loop { label, exits, again, .. }) = self.around.pop() else {
            unreachable!("loops are closed in order")
        };
        self.end_label(label.as_deref())?;
        self.expect(";")?;
        self.place = place;
        again.into_iter().for_each(|patch| self.aim(patch, head));
        self.emit(Op::Jump(head));
        exits.into_iter().for_each(|exit| self.land(exit));
        if let Some(slot) = slot {
            self.emit(Op::EndLoop { slot });
            self.open_loops -= 1;
        }
        Ok(())
    }

    fn open_slot(&mut self) -> usize {
        let slot = self.open_loops;
        self.open_loops += 1;
        self.function.loop_depth = self.function.loop_depth.max(self.open_loops);
        slot
    }

    /// The variables before IN.
    fn loop_target(&mut self) -> SqlResult<(LoopTarget, usize)> {
        let start = self.start();
        let (names, count) = self.dotted().ok_or_else(|| self.syntax_error())?;
        let parts: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = self.function.names.lookup(self.scope, &parts);
        let is_list = *self.ahead(count) == Token::Symbol(",");
        match found {
            None if is_list || names.len() > 1 => Err(self.not_a_variable(&names)),
            None => {
                self.at += count;
                Ok((LoopTarget::Name(names.into_iter().next().expect("at least one name")), start))
            }
            // An integer loop has a variable of its own, even of the name of a constant.
            Some((id, 1)) if !is_list && names.len() == 1 && self.function.variable(id).constant => {
                let at = self.at;
                self.at += count;
                if self.is_integer_loop() {
                    return Ok((
                        LoopTarget::Name(names.into_iter().next().expect("at least one name")),
                        start,
                    ));
                }
                self.at = at;
                self.target().map(|_| unreachable!("a constant is refused"))
            }
            Some(_) => Ok((LoopTarget::Into(self.into_target()?), start)),
        }
    }

    /// Whether `IN … .. …` is next.
    fn is_integer_loop(&self) -> bool {
        let rest = self.tokens[self.at..].iter().take_while(|it| {
            !matches!(&it.token, Token::Word(word) if word == "loop")
                && !matches!(it.token, Token::Symbol(";") | Token::End)
        });
        rest.into_iter().any(|it| it.token == Token::Symbol(".."))
    }

    fn for_loop(&mut self, label: Option<String>) -> SqlResult<()> {
        let line = self.line_of(self.tokens[self.at - 1].start);
        let (target, target_at) = self.loop_target()?;
        self.expect_words("in")?;
        if self.words("execute") {
            self.place = Place { line, what: "FOR over EXECUTE statement" };
            let into = self.rows_into(target, target_at)?;
            let source = self.dynamic(Until::Word("loop"), "LOOP or USING", ", or LOOP")?;
            return self.rows_loop(label, into, source);
        }
        if let Token::Word(name) | Token::Quoted(name) = self.token().clone()
            && let Some((id, 1)) = self.function.names.lookup(self.scope, &[&name])
            && self.function.variable(id).is_cursor
            && !matches!(self.ahead(1), Token::Symbol(".." | "."))
        {
            return self.cursor_loop(label, target, target_at, id, line);
        }
        let reverse_at = self.start();
        let reverse = self.words("reverse");
        let piece = self.piece(&[Until::Symbol(".."), Until::Word("loop")], "LOOP", TextKind::Expression)?;
        let text = self.body[piece.start..piece.end].to_owned();
        if piece.ended_by == 0 {
            self.check_syntax(&text, TextKind::Expression, piece.start)?;
            let lower = self.expression(text, TextKind::Expression, String::new());
            return self.integer_loop(label, target, target_at, lower, reverse, line);
        }
        if reverse {
            let message = "cannot specify REVERSE in query FOR loop";
            return Err(self.error_at(SqlState::SyntaxError, message, reverse_at));
        }
        self.place = Place { line, what: "FOR over SELECT rows" };
        self.check_syntax(&text, TextKind::Statement, piece.start)?;
        let query = self.expression(text, TextKind::Statement, String::new());
        let into = self.rows_into(target, target_at)?;
        self.rows_loop(label, into, RowSource::Query(query))
    }

    fn integer_loop(
        &mut self,
        label: Option<String>,
        target: LoopTarget,
        target_at: usize,
        lower: ExpressionId,
        reverse: bool,
        line: u32,
    ) -> SqlResult<()> {
        let (upper, ended_by) = self.expression_until(&[Until::Word("loop"), Until::Word("by")], "LOOP")?;
        let step = if ended_by == 1 { Some(self.expression_to_word("loop")?) } else { None };
        let name = self.only_target(target, "integer FOR loop must have only one target variable", target_at)?;
        self.place = Place { line, what: "FOR with integer loop variable" };
        let variable = self.declare(&name, VariableKind::Scalar(SqlType::Int4));
        let slot = self.open_slot();
        self.emit(Op::ForInit { slot, lower, upper, step, reverse });
        let head = self.here();
        let exit = self.emit(Op::ForNext { slot, variable, exit: 0 });
        self.around.push(Around::Loop { label, slot: Some(slot), exits: vec![exit], again: Vec::new() });
        self.loop_body(head, Some(slot))
    }

    /// The name of a loop variable that stands alone.
    fn only_target(&self, target: LoopTarget, otherwise: &str, target_at: usize) -> SqlResult<String> {
        match target {
            LoopTarget::Name(name) => Ok(name),
            LoopTarget::Into(Into::Record(id)) => Ok(self.function.variable(id).name.clone()),
            LoopTarget::Into(Into::Row(targets)) => match &*targets {
                [only] if only.path.is_empty() => Ok(self.function.variable(only.variable).name.clone()),
                _ => Err(self.error_at(SqlState::SyntaxError, otherwise, target_at)),
            },
        }
    }

    fn rows_into(&self, target: LoopTarget, target_at: usize) -> SqlResult<Into> {
        match target {
            LoopTarget::Into(into) => Ok(into),
            LoopTarget::Name(_) => Err(self.error_at(
                SqlState::SyntaxError,
                "loop variable of loop over rows must be a record variable or list of scalar variables",
                target_at,
            )),
        }
    }

    fn rows_loop(&mut self, label: Option<String>, into: Into, source: RowSource) -> SqlResult<()> {
        let slot = self.open_slot();
        self.emit(Op::RowsInit { slot, source });
        let head = self.here();
        let exit = self.emit(Op::RowsNext { slot, into, exit: 0 });
        self.around.push(Around::Loop { label, slot: Some(slot), exits: vec![exit], again: Vec::new() });
        self.loop_body(head, Some(slot))
    }

    fn cursor_loop(
        &mut self,
        label: Option<String>,
        target: LoopTarget,
        target_at: usize,
        cursor: VariableId,
        line: u32,
    ) -> SqlResult<()> {
        self.place = Place { line, what: "FOR over cursor" };
        let cursor_at = self.start();
        let name = self.only_target(target, "cursor FOR loop must have only one target variable", target_at)?;
        if self.function.variable(cursor).cursor.is_none() {
            let message = "cursor FOR loop must use a bound cursor variable";
            return Err(self.error_at(SqlState::SyntaxError, message, cursor_at));
        }
        self.step();
        let arguments = self.cursor_arguments(cursor, "loop")?;
        self.expect_words("loop")?;
        let record = self.declare(&name, VariableKind::Record(SqlType::RECORD));
        self.rows_loop(label, Into::Record(record), RowSource::Cursor { variable: cursor, arguments })
    }

    fn foreach(&mut self, label: Option<String>) -> SqlResult<()> {
        let line = self.line_of(self.tokens[self.at - 1].start);
        self.place = Place { line, what: "FOREACH over array" };
        let (target, target_at) = self.loop_target()?;
        let into = match target {
            LoopTarget::Into(Into::Record(id)) => Target::from(id),
            LoopTarget::Into(Into::Row(targets)) if targets.len() == 1 => targets[0].clone(),
            _ => {
                let message = "loop variable of FOREACH must be a known variable or list of variables";
                return Err(self.error_at(SqlState::SyntaxError, message, target_at));
            }
        };
        let slice = if self.words("slice") {
            let Token::Integer(slice) = *self.token() else { return Err(self.syntax_error()) };
            self.step();
            usize::try_from(slice).unwrap_or(usize::MAX)
        } else {
            0
        };
        self.expect_words("in")?;
        self.expect_words("array")?;
        let array = self.expression_to_word("loop")?;
        let slot = self.open_slot();
        self.emit(Op::EachInit { slot, array, slice, into: into.clone() });
        let head = self.here();
        let exit = self.emit(Op::EachNext { slot, into, exit: 0 });
        self.around.push(Around::Loop { label, slot: Some(slot), exits: vec![exit], again: Vec::new() });
        self.loop_body(head, Some(slot))
    }

    /// Ends what stands between the statement at hand and the place at this depth.
    pub(super) fn leave(&mut self, depth: usize) {
        for at in (depth..self.around.len()).rev() {
            match self.around[at] {
                Around::Loop { slot: Some(slot), .. } => {
                    self.emit(Op::EndLoop { slot });
                }
                Around::Catch => {
                    self.emit(Op::EndCatch);
                }
                Around::Try { .. } => {
                    let patch = self.emit(Op::EndTry);
                    let Around::Try { emitted } = &mut self.around[at] else {
                        unreachable!("looked at before")
                    };
                    emitted.push(patch);
                }
                Around::Block { .. } | Around::Loop { .. } => {}
            }
        }
    }

    pub(super) fn exit(&mut self, what: &'static str) -> SqlResult<()> {
        self.begin_statement(what);
        let (place, start) = (self.place, self.start());
        let is_exit = what == "EXIT";
        self.step();
        let label = if self.is_symbol(";") || self.is_word("when") {
            None
        } else {
            let label_at = self.start();
            let label = self.name()?;
            match self.function.names.label(self.scope, &label) {
                None => {
                    let message = format!(
                        "there is no label \"{label}\" attached to any block or loop enclosing this statement"
                    );
                    return Err(self.error_at(SqlState::SyntaxError, message, label_at));
                }
                Some(LabelKind::Block) if !is_exit => {
                    let message = format!("block label \"{label}\" cannot be used in CONTINUE");
                    return Err(self.error_at(SqlState::SyntaxError, message, label_at));
                }
                Some(_) => Some(label),
            }
        };
        let is_target = |around: &Around| match (around, &label) {
            (Around::Loop { .. }, None) => true,
            (Around::Loop { label: Some(found), .. }, Some(label)) => found == label,
            (Around::Block { label: Some(found), .. }, Some(label)) => is_exit && found == label,
            _ => false,
        };
        let depth = self.around.iter().rposition(is_target);
        if depth.is_none() && label.is_none() {
            let message = if is_exit {
                "EXIT cannot be used outside a loop, unless it has a label"
            } else {
                "CONTINUE cannot be used outside a loop"
            };
            return Err(self.error_at(SqlState::SyntaxError, message, start));
        }
        let skip = if self.words("when") {
            let condition = self.expression_to(";")?;
            Some(self.emit(Op::JumpUnless { condition, to: 0 }))
        } else {
            self.expect(";")?;
            None
        };
        self.place = place;
        match depth {
            Some(depth) => {
                self.leave(depth + 1);
                let jump = self.jump();
                match &mut self.around[depth] {
                    Around::Loop { again, .. } if !is_exit => again.push(jump),
                    Around::Loop { exits, .. } | Around::Block { exits, .. } => exits.push(jump),
                    Around::Try { .. } | Around::Catch => unreachable!("neither has a label"),
                }
            }
            // The label of the function itself.
            None => {
                self.leave(0);
                self.end();
            }
        }
        if let Some(skip) = skip {
            self.land(skip);
        }
        Ok(())
    }
}
