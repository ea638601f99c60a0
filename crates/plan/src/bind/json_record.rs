//! `json_to_record` and its kin in FROM: the columns that their definition list wants, out of JSON.
//!
//! `jsonb_to_recordset(j) AS x(a int, b text)` is the query
//! `SELECT (e.value ->> 'a')::int AS a, (e.value ->> 'b')::text AS b FROM jsonb_array_elements(j) e(value)`. A member that
//! is missing or null is NULL; an array of the type's elements is made of a JSON array.

use sqlparser::ast;
use types::{SqlError, SqlResult, SqlState};

use crate::parse::{Body, parse};

#[derive(Clone, Copy)]
pub(super) struct JsonRecord {
    /// `json` or `jsonb`.
    family: &'static str,
    is_set: bool,
}

impl JsonRecord {
    pub fn named(function: &str) -> Option<Self> {
        let (family, is_set) = match function {
            "json_to_record" => ("json", false),
            "jsonb_to_record" => ("jsonb", false),
            "json_to_recordset" => ("json", true),
            "jsonb_to_recordset" => ("jsonb", true),
            _ => return None,
        };
        Some(Self { family, is_set })
    }

    fn name(self) -> String {
        format!("{}_to_record{}", self.family, if self.is_set { "set" } else { "" })
    }

    /// The query that the call stands for.
    pub fn query(self, args: &[ast::FunctionArg], alias: Option<&ast::TableAlias>) -> SqlResult<ast::Query> {
        let columns = alias.map_or(&[][..], |alias| alias.columns.as_slice());
        if columns.is_empty() || columns.iter().any(|column| column.data_type.is_none()) {
            let message = "a column definition list is required for functions returning \"record\"";
            return Err(SqlError::new(SqlState::SyntaxError, message));
        }
        let [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(argument))] = args else {
            return Err(SqlError::new(SqlState::UndefinedFunction, format!("function {} takes one argument", self.name())));
        };
        let items: Vec<String> = columns.iter().filter_map(|column| Some(self.item(column, column.data_type.as_ref()?))).collect();
        let family = self.family;
        let from = if self.is_set {
            format!("{family}_array_elements(({argument})::{family}) AS e(value)")
        } else {
            format!("(SELECT ({argument})::{family} AS value) AS e")
        };
        let sql = format!("SELECT {} FROM {from}", items.join(", "));
        let statement = parse(&sql)?.into_iter().next();
        match statement.map(|statement| statement.body) {
            Some(Body::Standard(ast::Statement::Query(query))) => Ok(*query),
            _ => Err(SqlError::internal(format!("{} was not read as a query", self.name()))),
        }
    }

    fn item(self, column: &ast::TableAliasColumnDef, ty: &ast::DataType) -> String {
        let name = super::fold(&column.name);
        let key = name.replace('\'', "''");
        let family = self.family;
        let (member, text) = (format!("(e.value -> '{key}')"), format!("(e.value ->> '{key}')"));
        let value = match ty {
            ast::DataType::JSON | ast::DataType::JSONB => {
                format!("CASE WHEN {family}_typeof({member}) <> 'null' THEN {member}::{ty} END")
            }
            ast::DataType::Array(ast::ArrayElemTypeDef::SquareBracket(element, _)) => format!(
                "CASE {family}_typeof({member}) WHEN 'array' THEN \
                 ARRAY(SELECT i::{element} FROM {family}_array_elements_text({member}) AS i) ELSE {text}::{ty} END"
            ),
            _ => format!("{text}::{ty}"),
        };
        format!("{value} AS \"{}\"", name.replace('"', "\"\""))
    }
}
