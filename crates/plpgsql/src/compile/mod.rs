//! A body's text to a compiled function, in one pass: a statement's names are resolved, its rules checked and its ops
//! written while it is read, so that an error has the position at which PostgreSQL finds it.

mod declare;
mod loops;
mod reader;
mod sql;
mod statement;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use sql::diagnostic_type;
pub(crate) use statement::unrecognized_condition;
use types::{SqlError, SqlResult, SqlState, SqlType};

use crate::function::{
    Declaration, Expression, ExpressionId, Function, Op, Pc, Place, RoutineKind, TextKind, TriggerVariables,
    Variable, VariableConflict, VariableId, VariableKind,
};
use crate::lexer::{Lexed, Token, lex};
use crate::names::{LabelKind, Names, ScopeId};

/// What a body asks of the catalog while it is compiled.
pub trait CompileCatalog {
    /// A type by its text: `numeric(10,2)`, `s.t[]`.
    ///
    /// # Errors
    /// 42704.
    fn data_type(&self, text: &str) -> SqlResult<SqlType>;

    /// `table.column%TYPE`.
    ///
    /// # Errors
    /// 42P01, 42703.
    fn column_type(&self, names: &[String]) -> SqlResult<SqlType>;

    /// `table%ROWTYPE`: a record with known fields.
    ///
    /// # Errors
    /// 42P01.
    fn row_type(&self, names: &[String]) -> SqlResult<SqlType>;

    /// Whether a text can be parsed; names in it are not looked up.
    ///
    /// # Errors
    /// 42601 with a position in the text.
    fn check_syntax(&self, text: &str, kind: TextKind) -> SqlResult<()>;
}

/// How deep statements may be nested.
const DEPTH_MAX: usize = 1000;

/// Compiles a body. `check`: its texts are parsed as well, as CREATE FUNCTION does.
///
/// # Errors
/// With a position inside of the body, or the line in their context.
pub fn compile(
    declaration: &Declaration<'_>,
    catalog: &dyn CompileCatalog,
    check: bool,
) -> SqlResult<Arc<Function>> {
    let tokens = lex(declaration.body).map_err(|error| error.into_sql(declaration.body))?;
    let mut compiler = Compiler::new(declaration, catalog, check, tokens);
    match types::stack::deep(|| compiler.function()) {
        Ok(()) => Ok(Arc::new(compiler.finish())),
        Err(error) if error.internal_position.is_some() => Err(error),
        Err(error) => {
            let line = compiler.line_of(compiler.tokens[compiler.at.saturating_sub(1)].start);
            let name = compiler.declaration.name;
            Err(error.with_context(&format!("compilation of PL/pgSQL function \"{name}\" near line {line}")))
        }
    }
}

/// A jump whose end is not known yet.
type Patch = usize;

/// What stands around the statement at hand, for what EXIT and RETURN leave.
enum Around {
    Block {
        label: Option<String>,
        exits: Vec<Patch>,
    },
    /// A loop; with a slot if it has a state that ends with it.
    Loop {
        label: Option<String>,
        slot: Option<usize>,
        exits: Vec<Patch>,
        again: Vec<Patch>,
    },
    /// A block that has handlers, if EXCEPTION follows: the ops that leave it.
    Try {
        emitted: Vec<Patch>,
    },
    Catch,
}

struct Compiler<'a> {
    declaration: &'a Declaration<'a>,
    catalog: &'a dyn CompileCatalog,
    check: bool,
    body: &'a str,
    /// Where its lines end.
    line_ends: Vec<usize>,
    tokens: Vec<Lexed>,
    at: usize,
    scope: ScopeId,
    around: Vec<Around>,
    place: Place,
    open_loops: usize,
    depth: usize,
    case_count: usize,
    function: Function,
}

impl<'a> Compiler<'a> {
    fn new(
        declaration: &'a Declaration<'a>,
        catalog: &'a dyn CompileCatalog,
        check: bool,
        tokens: Vec<Lexed>,
    ) -> Self {
        let function = Function {
            name: declaration.name.to_owned(),
            signature: declaration.signature.to_owned(),
            kind: declaration.kind,
            returns: declaration.returns,
            returns_set: declaration.returns_set,
            positional: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            variables: Vec::new(),
            names: Names::default(),
            expressions: Vec::new(),
            code: Vec::new(),
            places: Vec::new(),
            loop_depth: 0,
            found: VariableId(0),
            trigger: None,
            variable_conflict: declaration.variable_conflict,
            print_strict_params: declaration.print_strict_params,
        };
        Self {
            declaration,
            catalog,
            check,
            body: declaration.body,
            line_ends: declaration
                .body
                .bytes()
                .enumerate()
                .filter(|(_, byte)| *byte == b'\n')
                .map(|(at, _)| at)
                .collect(),
            tokens,
            at: 0,
            scope: ScopeId::EMPTY,
            around: Vec::new(),
            place: Place::default(),
            open_loops: 0,
            depth: 0,
            case_count: 0,
            function,
        }
    }

    fn finish(self) -> Function {
        self.function
    }

    fn function(&mut self) -> SqlResult<()> {
        self.check_declaration()?;
        self.scope =
            self.function.names.level(self.scope, Some(self.declaration.name.to_owned()), LabelKind::Block);
        self.parameters()?;
        self.function.found = self.declare("found", VariableKind::Scalar(SqlType::Bool));
        if self.declaration.kind == RoutineKind::Trigger {
            self.trigger_variables();
        }
        self.options()?;
        let label = self.block_label()?;
        if !self.is_word("declare") && !self.is_word("begin") {
            return Err(self.syntax_error());
        }
        self.block(label)?;
        self.accept(";");
        if *self.token() != Token::End {
            return Err(self.syntax_error());
        }
        self.place = Place::default();
        self.end();
        Ok(())
    }

    /// Where the text of the function ends.
    fn end(&mut self) {
        let implied = match self.declaration.kind {
            RoutineKind::Procedure | RoutineKind::Inline => true,
            RoutineKind::Trigger => false,
            RoutineKind::Function => {
                !self.function.outputs.is_empty()
                    || self.function.returns_set
                    || self.function.returns == SqlType::Void
            }
        };
        if implied {
            self.emit(Op::SetReturn(self.implied_return()));
            self.emit(Op::Return);
        } else {
            self.emit(Op::End);
        }
    }

    fn check_declaration(&self) -> SqlResult<()> {
        let error = |what: &str, ty: &SqlType| {
            SqlError::not_supported(format!("PL/pgSQL functions cannot {what} type {}", ty.base_name()))
        };
        let is_pseudo = |ty: &SqlType| matches!(ty, SqlType::Any | SqlType::Unknown);
        if self.declaration.kind == RoutineKind::Trigger {
            if self.declaration.parameters.is_empty() {
                return Ok(());
            }
            return Err(SqlError::new(
                SqlState::InvalidFunctionDefinition,
                "trigger functions cannot have declared arguments",
            )
            .with_hint(
                "The arguments of the trigger can be accessed through TG_NARGS and TG_ARGV instead.",
            ));
        }
        if is_pseudo(&self.declaration.returns) {
            return Err(error("return", &self.declaration.returns));
        }
        match self
            .declaration
            .parameters
            .iter()
            .find(|parameter| is_pseudo(&parameter.ty) || parameter.ty == SqlType::Void)
        {
            Some(parameter) => Err(error("accept", &parameter.ty)),
            None => Ok(()),
        }
    }

    fn parameters(&mut self) -> SqlResult<()> {
        for (at, parameter) in self.declaration.parameters.iter().enumerate() {
            let number = format!("${}", at + 1);
            let name = parameter.name.clone().filter(|name| !name.is_empty());
            let id = self.variable(name.as_deref().unwrap_or(&number), kind_of(parameter.ty));
            self.function.variables[id.index()].is_cursor = parameter.is_cursor;
            self.scope = self.function.names.variable(self.scope, number, id);
            if let Some(name) = name {
                if self.function.names.in_level(self.scope, &name).is_some() {
                    return Err(SqlError::new(
                        SqlState::InvalidFunctionDefinition,
                        format!("parameter name \"{name}\" used more than once"),
                    ));
                }
                self.scope = self.function.names.variable(self.scope, name, id);
            }
            self.function.positional.push(id);
            if parameter.is_input() {
                self.function.inputs.push(id);
            }
            if parameter.is_output() {
                self.function.outputs.push(id);
            }
        }
        Ok(())
    }

    fn trigger_variables(&mut self) {
        let new = self.declare("new", VariableKind::Record(SqlType::RECORD));
        let old = self.declare("old", VariableKind::Record(SqlType::RECORD));
        let mut first = None;
        for (name, ty) in [
            ("tg_name", SqlType::Name),
            ("tg_when", SqlType::Text),
            ("tg_level", SqlType::Text),
            ("tg_op", SqlType::Text),
            ("tg_relid", SqlType::Oid),
            ("tg_relname", SqlType::Name),
            ("tg_table_name", SqlType::Name),
            ("tg_table_schema", SqlType::Name),
            ("tg_nargs", SqlType::Int4),
            ("tg_argv", SqlType::TEXT_ARRAY),
        ] {
            let id = self.declare(name, VariableKind::Scalar(ty));
            first.get_or_insert(id);
        }
        let first = first.expect("there are such variables");
        self.function.trigger = Some(TriggerVariables { new, old, first });
    }

    /// `#option value` lines before the block.
    fn options(&mut self) -> SqlResult<()> {
        while self.accept("#") {
            let name = self.any_word()?;
            match name.as_str() {
                "option" => {
                    let what = self.any_word()?;
                    if what != "dump" {
                        self.at -= 1;
                        return Err(self.syntax_error());
                    }
                }
                "print_strict_params" => {
                    let value = self.any_word()?;
                    self.function.print_strict_params = match value.as_str() {
                        "on" => true,
                        "off" => false,
                        _ => {
                            let message = format!("unrecognized print_strict_params option {value}");
                            return Err(SqlError::internal(message));
                        }
                    };
                }
                "variable_conflict" => {
                    self.function.variable_conflict = match self.any_word()?.as_str() {
                        "error" => VariableConflict::Error,
                        "use_variable" => VariableConflict::UseVariable,
                        "use_column" => VariableConflict::UseColumn,
                        _ => {
                            self.at -= 1;
                            return Err(self.syntax_error());
                        }
                    };
                }
                _ => {
                    self.at -= 1;
                    return Err(self.syntax_error());
                }
            }
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, kind: VariableKind) -> VariableId {
        let id = VariableId(
            u32::try_from(self.function.variables.len()).expect("a body has fewer than 2^32 names"),
        );
        self.function.variables.push(Variable {
            name: name.to_owned(),
            kind,
            constant: false,
            not_null: false,
            default: None,
            is_cursor: false,
            cursor: None,
        });
        id
    }

    fn declare(&mut self, name: &str, kind: VariableKind) -> VariableId {
        let id = self.variable(name, kind);
        self.scope = self.function.names.variable(self.scope, name, id);
        id
    }

    fn expression(&mut self, text: String, kind: TextKind, prefix: String) -> ExpressionId {
        let id = ExpressionId(
            u32::try_from(self.function.expressions.len()).expect("fewer than 2^32 expressions"),
        );
        self.function.expressions.push(Expression { text, kind, scope: self.scope, prefix });
        id
    }

    fn emit(&mut self, op: Op) -> Patch {
        self.function.code.push(op);
        self.function.places.push(self.place);
        self.function.code.len() - 1
    }

    fn here(&self) -> Pc {
        Pc::try_from(self.function.code.len()).expect("a body has fewer than 2^32 ops")
    }

    fn jump(&mut self) -> Patch {
        self.emit(Op::Jump(Pc::MAX))
    }

    /// Lets a jump go to the op that comes next.
    fn land(&mut self, patch: Patch) {
        let here = self.here();
        self.aim(patch, here);
    }

    fn aim(&mut self, patch: Patch, target: Pc) {
        match &mut self.function.code[patch] {
            Op::Jump(to)
            | Op::JumpUnless { to, .. }
            | Op::ForNext { exit: to, .. }
            | Op::RowsNext { exit: to, .. }
            | Op::EachNext { exit: to, .. }
            | Op::Try { handler: to, .. }
            | Op::When { next: to, .. } => *to = target,
            other => unreachable!("{other:?} does not jump"),
        }
    }

    fn implied_return(&self) -> crate::function::Returned {
        match self.function.outputs.is_empty() || self.function.returns_set {
            true => crate::function::Returned::Null,
            false => crate::function::Returned::Outputs,
        }
    }
}

/// The kind of a variable of this type.
fn kind_of(ty: SqlType) -> VariableKind {
    match ty {
        ty if ty.is_row() => VariableKind::Record(ty),
        ty => VariableKind::Scalar(ty),
    }
}
