//! What compiling a body asks of the catalog.

use std::sync::Arc;

use plan::PlanContext;
use plpgsql::{CompileCatalog, Declaration, Function, TextKind};
use types::{SqlResult, SqlType};

use crate::session::Session;

struct Names<'a>(&'a PlanContext<'a>);

impl CompileCatalog for Names<'_> {
    fn data_type(&self, text: &str) -> SqlResult<SqlType> {
        plan::routine::type_named(text, self.0)
    }

    fn column_type(&self, names: &[String]) -> SqlResult<SqlType> {
        plan::routine::column_type(names, self.0)
    }

    fn row_type(&self, names: &[String]) -> SqlResult<SqlType> {
        plan::routine::row_type(names, self.0)
    }

    fn check_syntax(&self, text: &str, kind: TextKind) -> SqlResult<()> {
        plan::routine::check_syntax(text, kind != TextKind::Statement)
    }
}

impl Session {
    /// Compiles a body. `check`: its texts are parsed as well.
    ///
    /// # Errors
    /// As [`plpgsql::compile`].
    pub(crate) fn compiled(&self, declaration: &Declaration<'_>, check: bool) -> SqlResult<Arc<Function>> {
        self.planning(&[], None, |context| plpgsql::compile(declaration, &Names(context), check))
    }
}
