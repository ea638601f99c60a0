//! Row security: the policies of a table, bound where a statement mentions it.
//!
//! ```text
//! read:   table ─▶ Filter(USING) ─▶ Barrier ─▶ what the statement asks for
//! write:  new row ─▶ RowRules::policies (WITH CHECK, or USING) ─▶ its constraints ─▶ stored
//! ```
//! Whose policies they are is the role that the mention stands for: the statement's user, or the owner of the view around.
//! What a policy reads in its turn is read as that role. PostgreSQL's `rowsecurity.c` says which policies have a say in
//! which command, and in which order.
//!
//! **Invariant (decided-now):** what was found out about the role is noted among the plan's needs, so that the plan is not
//! run where the answer is another.

use std::sync::Arc;

use catalog::privilege::{Access, Need, PrivilegeSet};
use catalog::{LiteralSettings, Policy, PolicyCommand, PolicyExpr, RowSecurityState, Table};
use sqlparser::ast;
use types::{Datum, Formatting, SqlError, SqlResult, SqlState, SqlType};

use super::query::filter;
use super::same::same_expr;
use super::target::Target;
use super::{Binder, Clause, as_kept, without_domains};
use crate::PlanContext;
use crate::expr::Expr;
use crate::logical::{Rel, RelNode};
use crate::needs::Mention;
use crate::parse::Body;
use crate::plan::{PolicyCheck, PolicyRules, RowRules};
use crate::scope::Scope;

/// Which of its expressions a policy is asked by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Using,
    /// WITH CHECK, or USING where there is none.
    Check,
}

impl By {
    fn of(self, policy: &Policy) -> Option<&PolicyExpr> {
        match self {
            Self::Using => policy.using.as_ref(),
            Self::Check => policy.check.as_ref().or(policy.using.as_ref()),
        }
    }
}

/// What a statement writes, as far as policies go.
#[derive(Clone, Copy)]
pub(super) enum Writes {
    Insert { may_update: bool },
    Update,
    Merge,
}

/// The policies of a table that are for a role, which stands for a mention of it.
pub(super) struct InForce {
    table: Arc<Table>,
    /// As [`Binder::acting`].
    role: Option<u32>,
    /// Oids.
    policies: Vec<u32>,
}

impl InForce {
    /// Those with a say in a command: permissive ones, then the others by name.
    fn for_command(&self, command: PolicyCommand) -> (Vec<&Policy>, Vec<&Policy>) {
        let own = self.table.policies().iter().filter(|it| self.policies.contains(&it.oid) && it.is_for(command));
        let (mut permissive, restrictive): (Vec<&Policy>, Vec<&Policy>) = own.partition(|policy| policy.permissive);
        // In the order in which PostgreSQL asks them.
        permissive.reverse();
        (permissive, restrictive)
    }
}

fn never() -> Expr {
    Expr::Const(Datum::Bool(false), SqlType::Bool)
}

fn any_of(mut conditions: Vec<Expr>) -> Expr {
    match conditions.pop() {
        Some(only) if conditions.is_empty() => only,
        Some(last) => {
            conditions.push(last);
            Expr::Or(conditions)
        }
        None => never(),
    }
}

/// What [`refused`] begins with.
const AFFECTED: &str = "query would be affected by row-level security policy for table";
pub(crate) const NO_COPY_FROM: &str = "COPY FROM not supported with row-level security";

/// Whether an error is a refusal of row security, which depends on what is granted: a statement that gets it may be planned
/// anew when that is known better.
#[must_use]
pub fn is_row_security_refusal(error: &SqlError) -> bool {
    match error.code() {
        SqlState::InsufficientPrivilege => error.message().starts_with(AFFECTED),
        SqlState::FeatureNotSupported => error.message() == NO_COPY_FROM,
        _ => false,
    }
}

fn refused(table: &Table, is_owner: bool) -> SqlError {
    let message = format!("{AFFECTED} \"{}\"", table.name);
    let error = SqlError::new(SqlState::InsufficientPrivilege, message);
    match is_owner {
        true => error.with_hint(
            "To disable the policy for the table's owner, use ALTER TABLE NO FORCE ROW LEVEL SECURITY.",
        ),
        false => error,
    }
}

/// The expression of a policy from its text.
fn parse_condition(text: &str) -> SqlResult<ast::Expr> {
    let damaged = || SqlError::internal("the stored expression of a policy is none");
    let statement = crate::parse::parse(&format!("SELECT {text}"))?.into_iter().next().ok_or_else(damaged)?;
    let Body::Standard(ast::Statement::Query(query)) = statement.body else { return Err(damaged()) };
    let ast::SetExpr::Select(select) = *query.body else { return Err(damaged()) };
    match select.projection.into_iter().next() {
        Some(ast::SelectItem::UnnamedExpr(expr)) => Ok(expr),
        _ => Err(damaged()),
    }
}

/// What the expression of a policy is bound with; `formatting` is of [`as_kept`].
fn of_policy<'a>(expr: &'a PolicyExpr, formatting: &'a Formatting, context: &PlanContext<'a>) -> PlanContext<'a> {
    PlanContext {
        search_path: &expr.path,
        names: &expr.names,
        depends_on: Some(&expr.depends_on),
        formatting,
        variables: None,
        transitions: &[],
        ..*context
    }
}

impl Binder<'_> {
    /// The policies that are in force for a role where it mentions a table; none where it may see and write all rows.
    ///
    /// # Errors
    /// 42501 where `row_security` is off.
    pub(super) fn in_force(&self, table: &Arc<Table>, role: Option<u32>) -> SqlResult<Option<InForce>> {
        if !table.has_row_security() {
            return Ok(None);
        }
        let Some(security) = self.context.security else { return Ok(None) };
        let access = Access { roles: security.roles, ..self.context.catalog.access(self.context.database) };
        let state = access.row_security(role.unwrap_or(security.user), table);
        self.context.notes.needs.add(Need::RowSecurity { relation: table.id, role, state: state.clone() });
        match state {
            RowSecurityState::Off | RowSecurityState::Exempt => Ok(None),
            RowSecurityState::Subject { is_owner, .. } if !security.is_on => Err(refused(table, is_owner)),
            RowSecurityState::Subject { policies, .. } => Ok(Some(InForce { table: table.clone(), role, policies })),
        }
    }

    /// A table's rows as the role that is acting may see them; with `locks`, also change them.
    pub(super) fn visible_rows(&mut self, rel: Rel, table: &Arc<Table>, locks: bool) -> SqlResult<Rel> {
        let Some(policies) = self.in_force(table, self.acting)? else { return Ok(rel) };
        let mut conditions = Vec::new();
        if locks {
            self.add_using(&policies, PolicyCommand::Update, &mut conditions)?;
        }
        self.add_using(&policies, PolicyCommand::Select, &mut conditions)?;
        self.guarded(rel, conditions)
    }

    /// The rows of the table that UPDATE or DELETE changes, first of all that is joined: those that the role may change and,
    /// where the statement reads, see. To be called when all of the statement is bound.
    pub(super) fn changeable_rows(&mut self, rel: &mut Rel, target: &Target, command: PolicyCommand) -> SqlResult<()> {
        if target.table.is_view() {
            return Ok(());
        }
        let Some(policies) = self.in_force(&target.table, target.role())? else { return Ok(()) };
        let mut conditions = Vec::new();
        self.add_using(&policies, command, &mut conditions)?;
        if target.needs_select() {
            self.add_using(&policies, PolicyCommand::Select, &mut conditions)?;
        }
        self.guard_first(rel, conditions)
    }

    /// The rows of MERGE's target that the role may see, where the statement reads it.
    pub(super) fn merged_rows(&mut self, rel: Rel, target: &Target) -> SqlResult<Rel> {
        let Some(policies) = self.in_force(&target.table, target.role())? else { return Ok(rel) };
        if !target.needs_select() {
            return Ok(rel);
        }
        let mut conditions = Vec::new();
        self.add_using(&policies, PolicyCommand::Select, &mut conditions)?;
        self.guarded(rel, conditions)
    }

    fn guarded(&mut self, rel: Rel, conditions: Vec<Expr>) -> SqlResult<Rel> {
        self.above(1)?;
        let rel = filter(rel, super::operators::conjunction(conditions));
        self.barrier(rel)
    }

    fn guard_first(&mut self, rel: &mut Rel, conditions: Vec<Expr>) -> SqlResult<()> {
        let Some(first) = first_table(rel) else { return Err(SqlError::internal("what is changed is no table")) };
        let unit = Rel { node: RelNode::Unit, columns: Vec::new() };
        let table = std::mem::replace(first, unit);
        *first = self.guarded(table, conditions)?;
        Ok(())
    }

    /// What new rows must pass.
    pub(super) fn policy_rules(&mut self, target: &Target, writes: Writes) -> SqlResult<Option<Arc<PolicyRules>>> {
        if target.table.is_view() {
            return Ok(None);
        }
        let Some(policies) = self.in_force(&target.table, target.role())? else { return Ok(None) };
        let reads = target.needs_select();
        let mut rules = PolicyRules { table: target.table.name.clone(), ..PolicyRules::default() };
        match writes {
            Writes::Insert { may_update } => {
                self.add_checks(&policies, PolicyCommand::Insert, By::Check, &mut rules.insert)?;
                if reads {
                    self.add_checks(&policies, PolicyCommand::Select, By::Using, &mut rules.insert)?;
                }
                if may_update {
                    self.add_checks(&policies, PolicyCommand::Update, By::Using, &mut rules.conflict)?;
                    if reads {
                        self.add_checks(&policies, PolicyCommand::Select, By::Using, &mut rules.conflict)?;
                    }
                    self.add_checks(&policies, PolicyCommand::Update, By::Check, &mut rules.update)?;
                    if reads {
                        self.add_checks(&policies, PolicyCommand::Select, By::Using, &mut rules.update)?;
                    }
                }
            }
            Writes::Update => {
                self.add_checks(&policies, PolicyCommand::Update, By::Check, &mut rules.update)?;
                if reads {
                    self.add_checks(&policies, PolicyCommand::Select, By::Using, &mut rules.update)?;
                }
            }
            Writes::Merge => {
                self.add_checks(&policies, PolicyCommand::Update, By::Using, &mut rules.merge_update)?;
                self.add_checks(&policies, PolicyCommand::Update, By::Check, &mut rules.update)?;
                if reads {
                    self.add_checks(&policies, PolicyCommand::Select, By::Using, &mut rules.update)?;
                }
                self.add_checks(&policies, PolicyCommand::Delete, By::Using, &mut rules.merge_delete)?;
                self.add_checks(&policies, PolicyCommand::Insert, By::Check, &mut rules.insert)?;
            }
        }
        Ok(Some(Arc::new(rules)))
    }

    /// Rows of the table are visible to a command that pass all of what is added.
    fn add_using(&mut self, policies: &InForce, command: PolicyCommand, out: &mut Vec<Expr>) -> SqlResult<()> {
        let (permissive, restrictive) = policies.for_command(command);
        let mut any = Vec::with_capacity(permissive.len());
        for expr in permissive.into_iter().filter_map(|policy| policy.using.as_ref()) {
            any.push(self.policy_condition(policies, expr)?);
        }
        if any.is_empty() {
            out.push(never());
            return Ok(());
        }
        let mut add = |condition: Expr| {
            if !out.iter().any(|known| same_expr(known, &condition)) {
                out.push(condition);
            }
        };
        for expr in restrictive.into_iter().filter_map(|policy| policy.using.as_ref()) {
            add(self.policy_condition(policies, expr)?);
        }
        add(any_of(any));
        Ok(())
    }

    fn add_checks(
        &mut self,
        policies: &InForce,
        command: PolicyCommand,
        by: By,
        out: &mut Vec<PolicyCheck>,
    ) -> SqlResult<()> {
        let (permissive, restrictive) = policies.for_command(command);
        let mut any = Vec::with_capacity(permissive.len());
        for expr in permissive.into_iter().filter_map(|policy| by.of(policy)) {
            any.push(self.stored_check(policies, expr)?);
        }
        if any.is_empty() {
            out.push(PolicyCheck { policy: None, condition: never() });
            return Ok(());
        }
        let mut add = |policy: Option<&str>, condition: Expr| {
            let is_same = |known: &PolicyCheck| known.policy.as_deref() == policy && same_expr(&known.condition, &condition);
            if !out.iter().any(is_same) {
                out.push(PolicyCheck { policy: policy.map(str::to_owned), condition });
            }
        };
        add(None, any_of(any));
        for policy in restrictive {
            if let Some(expr) = by.of(policy) {
                let condition = self.stored_check(policies, expr)?;
                add(Some(&policy.name), condition);
            }
        }
        Ok(())
    }

    fn stored_check(&mut self, policies: &InForce, expr: &PolicyExpr) -> SqlResult<Expr> {
        let mut condition = self.policy_condition(policies, expr)?;
        without_domains(&mut condition);
        Ok(condition)
    }

    /// A condition over the table's columns, as the role has it.
    fn policy_condition(&mut self, policies: &InForce, expr: &PolicyExpr) -> SqlResult<Expr> {
        let table = &policies.table;
        if expr.has_subquery && self.policies.contains(&table.id) {
            let message = format!("infinite recursion detected in policy for relation \"{}\"", table.name);
            return Err(SqlError::new(SqlState::InvalidObjectDefinition, message));
        }
        self.policies.push(table.id);
        let acting = std::mem::replace(&mut self.acting, policies.role);
        let bound = self.apart(expr, |binder| binder.policy_expr(table, expr, None));
        self.acting = acting;
        self.policies.pop();
        bound
    }

    /// Binds what is in an expression of a policy. It sees no names of the statement.
    fn apart<T>(&mut self, expr: &PolicyExpr, bind: impl FnOnce(&mut Binder<'_>) -> SqlResult<T>) -> SqlResult<T> {
        let formatting = as_kept(expr.literals.as_ref(), self.context)?;
        let noted = self.context.notes.needs.mark();
        let (locks, overriding) = (std::mem::take(&mut self.row_locks), self.overriding.take());
        let hidden = self.ctes.hide_names();
        let (depends_on, names) = (self.depends_on.len(), self.names.take());
        let bound = self.in_context(&of_policy(expr, &formatting, self.context), bind);
        self.depends_on.truncate(depends_on);
        self.names = names;
        self.ctes.show_names(hidden);
        (self.row_locks, self.overriding) = (locks, overriding);
        self.context.notes.needs.forget_lookups_since(noted);
        bound
    }

    /// `reads`: the mention that is to know which columns of the table itself are read.
    fn policy_expr(&mut self, table: &Arc<Table>, expr: &PolicyExpr, reads: Option<&Mention>) -> SqlResult<Expr> {
        let tree = parse_condition(&expr.text)?;
        // By the name that it had.
        let own = expr.names.iter().find(|named| named.id == table.id);
        let shown = own.map_or(table.name.as_str(), |named| &named.name);
        let (_, range) = self.table_rel(table.clone(), shown, None, None, None)?;
        let level = self.level();
        let mut scope = Scope::of_range(&level, range);
        scope.reads.extend(reads.map(|mention| mention.of_table(table)));
        self.with_frame(Clause::Policy, |binder| binder.boolean(&tree, &scope, "POLICY"))
    }
}

impl Target {
    /// The role that the table is changed as: the user's, or that of the owner of the view above it.
    fn role(&self) -> Option<u32> {
        self.mentions.last().and_then(|last| last.mention.role())
    }

    /// Whether the statement reads columns of what it changes, RETURNING included.
    fn needs_select(&self) -> bool {
        self.mentions.first().is_some_and(|first| first.mention.has(PrivilegeSet::SELECT))
    }
}

/// The table that is changed: the first of all that is joined, below conditions.
fn first_table(rel: &mut Rel) -> Option<&mut Rel> {
    if matches!(rel.node, RelNode::Table { .. }) {
        return Some(rel);
    }
    match &mut rel.node {
        RelNode::Join { left: input, .. } | RelNode::Filter { input, .. } | RelNode::Barrier(input) => first_table(input),
        _ => None,
    }
}

/// Puts the policies that new rows must pass among the rules.
pub(super) fn with_policies(rules: &mut Arc<RowRules>, policies: Option<Arc<PolicyRules>>) {
    if policies.is_some() {
        Arc::make_mut(rules).policies = policies;
    }
}

/// Binds a condition of a policy that is being made; what it is kept as, save for its text.
///
/// # Errors
/// As for any expression.
pub(crate) fn new_policy_expr(
    tree: &ast::Expr,
    table: &Arc<Table>,
    source: Option<Arc<str>>,
    context: &PlanContext<'_>,
) -> SqlResult<PolicyExpr> {
    let bind = |binder: &mut Binder<'_>| {
        binder.names = Some(Vec::new());
        // Under a schema that no name has: a bare name in it may mean another table.
        binder.note_named(Some(""), &table.name, &catalog::Relation::Table(table.clone()));
        let (_, range) = binder.table_rel(table.clone(), &table.name, None, None, None)?;
        let level = binder.level();
        let scope = Scope::of_range(&level, range);
        let bound = binder.with_frame(Clause::Policy, |binder| binder.boolean(tree, &scope, "POLICY"))?;
        match binder.params.is_empty() {
            true => Ok(bound),
            false => Err(SqlError::new(SqlState::UndefinedParameter, "there is no parameter $1")),
        }
    };
    let context = PlanContext { variables: None, transitions: &[], security: None, ..*context };
    let (bound, mut binder) = Binder::bind_with(&context, source, crate::optimize_rel, bind)?;
    let role = |name: &String| if name == "$user" { context.user.to_owned() } else { name.clone() };
    let mut depends_on = std::mem::take(&mut binder.depends_on);
    depends_on.retain(|id| *id != table.id);
    depends_on.sort_unstable();
    depends_on.dedup();
    Ok(PolicyExpr {
        text: String::new(),
        path: context.search_path.iter().map(role).collect(),
        names: binder.names.take().unwrap_or_default(),
        depends_on,
        has_subquery: bound.has_subquery(),
        literals: Some(LiteralSettings::of(context.formatting)),
    })
}

/// Whether the user of a statement is subject to the policies of a table.
///
/// # Errors
/// 42501 where `row_security` is off.
pub(crate) fn row_security_is_active(table: &Arc<Table>, context: &PlanContext<'_>) -> SqlResult<bool> {
    Binder::new(context, None).in_force(table, None).map(|policies| policies.is_some())
}

/// A condition of a policy, bound to be shown and not run.
pub(crate) fn policy_as_written(table: &Arc<Table>, expr: &PolicyExpr, context: &PlanContext<'_>) -> SqlResult<Expr> {
    let formatting = as_kept(expr.literals.as_ref(), context)?;
    let context = of_policy(expr, &formatting, context);
    let mut binder = Binder::new(&context, None);
    binder.keeps_form = true;
    types::stack::deep(|| binder.policy_expr(table, expr, None))
}

/// Whether a condition of a policy names a column of a relation: of its table, or of one in a subquery.
///
/// # Errors
/// What binding it fails with.
pub fn policy_reads(
    table: &Arc<Table>,
    expr: &PolicyExpr,
    (relation, column): (u32, u32),
    context: &PlanContext<'_>,
) -> SqlResult<bool> {
    let needs = &context.notes.needs;
    let formatting = as_kept(expr.literals.as_ref(), context)?;
    let noted = needs.mark();
    let of_policy = of_policy(expr, &formatting, context);
    let mut binder = Binder::new(&of_policy, None);
    let mention = binder.mention(table.id, PrivilegeSet::NONE);
    let bound = types::stack::deep(|| binder.policy_expr(table, expr, Some(&mention)));
    let reads = needs.reads_since(noted, relation, column);
    needs.forget_since(noted);
    bound.map(|_| reads)
}
