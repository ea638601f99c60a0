//! Statements that are read here, because the parser behind does not know them or knows them in one order only.
//!
//! The problem: ALTER SEQUENCE, ALTER DATABASE, COMMENT ON, LOCK TABLE, most of CREATE ROLE and of COPY's options, and
//! half of ALTER TABLE are PostgreSQL's own. The idea: a [`Reader`] steps over the parser's tokens by their words and
//! hands names, expressions and types back to the parser, so that spans and errors are the same as everywhere.

mod aggregate;
mod backup;
mod domains;
mod grant;
mod reader;
mod sequence;
mod table;
mod object;
mod partition;
mod policy;
mod role;
mod routine;
mod copy;
mod trigger;
mod types;
mod view;
mod zone;

use sqlparser::ast;
use sqlparser::parser::Parser;

use catalog::RoutineKind;

use crate::backup::JobVerb;
use reader::{Read, Reader};
use zone::ZoneWord;

pub(crate) use aggregate::{AggregateValue, CreateAggregate};
pub(crate) use backup::{BackupOption, BackupText, TargetsText};
pub(crate) use domains::DomainChange;
pub(crate) use grant::{Grant, GrantOn, GrantRoles, Privileged};
pub(crate) use copy::{Copy, CopySource, CopyValue};
pub(crate) use object::{Change, ObjectText};
pub(crate) use partition::{BoundText, CreatePartition, EndText, PartitionItem};
pub(crate) use policy::{CreatePolicy, PolicyChange, RowSecurityText};
pub(crate) use role::RoleOption;
pub(crate) use routine::{
    BodyText, CreateRoutine, ParameterText, RoutineChange, RoutineName, RoutineOption, RoutineWord, TypeText,
};
pub(crate) use sequence::SequenceOption;
pub(crate) use table::TableAction;
pub(crate) use trigger::{ConstraintWord, CreateTrigger, Transition, TriggerChange, TriggersText};
pub(crate) use types::{AttributeChange, AttributeText, EnumChange, RangeAttribute, Side};
pub(crate) use zone::{ZoneName, ZoneText, ZoneValue};
pub(crate) use view::{CreateView, Refresh, ViewChange, ViewKind, ViewOption};

/// A statement that was read here.
#[derive(Clone, Debug)]
pub(crate) enum Own {
    CreateSequence { name: ast::ObjectName, if_not_exists: bool, temporary: bool, options: Vec<SequenceOption> },
    AlterSequence { name: ast::ObjectName, if_exists: bool, options: Vec<SequenceOption> },
    CreateView(Box<CreateView>),
    Refresh { name: ast::ObjectName, refresh: Refresh },
    DropMaterializedViews { names: Vec<ast::ObjectName>, if_exists: bool, cascade: bool },
    CreatePartition(Box<CreatePartition>),
    AttachIndex { name: ast::ObjectName, if_exists: bool, partition: ast::ObjectName },
    /// ONLY: not its partitions.
    AlterTable { name: ast::ObjectName, if_exists: bool, only: bool, actions: Vec<TableAction> },
    /// RENAME TO, SET SCHEMA, OWNER TO of anything with a name.
    Alter { kind: Kind, name: ast::ObjectName, if_exists: bool, change: Change },
    CreateEnum { name: ast::ObjectName, labels: Vec<String> },
    CreateRange { name: ast::ObjectName, attributes: Vec<(ast::Ident, RangeAttribute)> },
    AlterEnum { name: ast::ObjectName, change: EnumChange },
    CreateComposite { name: ast::ObjectName, attributes: Vec<AttributeText> },
    AlterComposite { name: ast::ObjectName, changes: Vec<AttributeChange> },
    CreateDomain { name: ast::ObjectName, ty: ast::DataType, options: Vec<ast::ColumnOptionDef> },
    AlterDomain { name: ast::ObjectName, change: DomainChange },
    DropDomains { names: Vec<ast::ObjectName>, if_exists: bool, cascade: bool },
    CreateDatabase { name: ast::Ident, owner: Option<ast::Ident> },
    CreateRole { name: ast::Ident, options: Vec<RoleOption>, login: bool },
    AlterRole { name: ast::Ident, options: Vec<RoleOption> },
    /// ALTER GROUP … ADD USER and DROP USER.
    AlterGroup(Box<GrantRoles>),
    DropGroup { names: Vec<ast::Ident>, if_exists: bool },
    RenameRole { name: ast::Ident, to: ast::Ident },
    /// None: what a cluster begins with.
    SetCluster { name: ast::ObjectName, value: Option<String> },
    /// None: DEFAULT.
    SetAuthorization { user: Option<String>, local: bool },
    /// REINDEX and CLUSTER, which have nothing to do: the owner's all the same.
    Maintain { tag: &'static str, kind: Kind, name: ast::ObjectName },
    Comment { kind: Kind, name: ast::ObjectName, text: Option<String> },
    LargeObject { oid: u32, change: ObjectText },
    Grant(Box<Grant>),
    GrantRoles(Box<GrantRoles>),
    DefaultPrivileges { roles: Vec<ast::Ident>, schemas: Vec<ast::Ident>, grant: Box<Grant> },
    ReassignOwned { roles: Vec<ast::Ident>, to: ast::Ident },
    DropOwned { roles: Vec<ast::Ident>, cascade: bool },
    LockTable { names: Vec<ast::ObjectName>, mode: LockMode },
    /// Empty: all constraints.
    SetConstraints { names: Vec<ast::ObjectName>, deferred: bool },
    Copy(Box<Copy>),
    CreateRoutine(Box<CreateRoutine>),
    CreateAggregate(Box<CreateAggregate>),
    AlterRoutine { word: RoutineWord, name: RoutineName, change: RoutineChange },
    DropRoutines { word: RoutineWord, names: Vec<RoutineName>, if_exists: bool, cascade: bool },
    CommentRoutine { word: RoutineWord, name: RoutineName, text: Option<String> },
    CreateTrigger(Box<CreateTrigger>),
    AlterTrigger { name: ast::Ident, table: ast::ObjectName, change: TriggerChange },
    DropTrigger { name: ast::Ident, table: ast::ObjectName, if_exists: bool },
    CommentTrigger { name: ast::Ident, table: ast::ObjectName, text: Option<String> },
    CreatePolicy(Box<CreatePolicy>),
    /// IF EXISTS is of the table.
    AlterPolicy { name: ast::Ident, table: ast::ObjectName, if_exists: bool, change: PolicyChange },
    DropPolicy { name: ast::Ident, table: ast::ObjectName, if_exists: bool },
    CommentPolicy { name: ast::Ident, table: ast::ObjectName, text: Option<String> },
    Do { language: Option<ast::Ident>, body: BodyText },
    /// PREPARE TRANSACTION, with its name.
    PrepareTransaction(String),
    /// COMMIT PREPARED and ROLLBACK PREPARED.
    EndPrepared { gid: String, commit: bool },
    ShowRanges(ast::ObjectName),
    Zone(Box<ZoneText>),
    Listen(ast::Ident),
    /// None: from all.
    Unlisten(Option<ast::Ident>),
    Notify { channel: ast::Ident, payload: String },
    /// BACKUP, RESTORE, and jobs.
    Backup(Box<BackupText>),
    /// Refused, under this name.
    Unsupported(&'static str),
    /// Nothing to do here; the tag that answers it.
    Accepted(&'static str),
}

/// How strongly LOCK TABLE locks, as far as privileges are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LockMode {
    AccessShare,
    RowExclusive,
    Stronger,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    View,
    MaterializedView,
    Sequence,
    Index,
    Schema,
    Database,
    Role,
    Column,
    /// The name of the table, then its own.
    Constraint,
    Type,
    Domain,
    /// The name of the domain, then its own.
    DomainConstraint,
    /// Functions, constraints and others that have no place in the catalog yet.
    Other,
}

/// Configurations and dictionaries are the built-in ones.
const TEXT_SEARCH: [(&str, &str); 3] = [
    ("create text search", "CREATE TEXT SEARCH"),
    ("alter text search", "ALTER TEXT SEARCH"),
    ("drop text search", "DROP TEXT SEARCH"),
];

/// Reads a statement that is this module's; `None` leaves it to the parser.
pub(super) fn read(parser: &mut Parser<'_>) -> Option<Read<Own>> {
    let mut reader = Reader { parser };
    for (words, what) in TEXT_SEARCH {
        if reader.words(words) {
            return Some(reader.rest(what).map(|_| Own::Unsupported(what)));
        }
    }
    let own = if reader.words("create") {
        match reader.create_view() {
            Ok(Some(own)) => return Some(Ok(own)),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
        let temporary = reader.words("temp") || reader.words("temporary");
        match reader.create_partition(temporary) {
            Ok(Some(own)) => return Some(Ok(own)),
            Ok(None) => {}
            Err(error) => return Some(Err(error)),
        }
        match () {
            () if reader.words("sequence") => reader.create_sequence(temporary),
            // Tables are the parser's, which takes the word before anything else as well.
            () if temporary => match ["database", "role", "group", "user"].iter().any(|word| reader.words(word)) {
                true => reader.refuse(),
                false => return None,
            },
            () if reader.words("or replace function") => reader.create_routine(RoutineKind::Function, true),
            () if reader.words("or replace procedure") => reader.create_routine(RoutineKind::Procedure, true),
            () if reader.words("function") => reader.create_routine(RoutineKind::Function, false),
            () if reader.words("aggregate") => reader.create_aggregate(false),
            () if reader.words("or replace aggregate") => reader.create_aggregate(true),
            () if reader.words("procedure") => reader.create_routine(RoutineKind::Procedure, false),
            () if reader.words("trigger") => reader.create_trigger(false, false),
            () if reader.words("constraint trigger") => reader.create_trigger(false, true),
            () if reader.words("or replace trigger") => reader.create_trigger(true, false),
            () if reader.words("or replace constraint trigger") => reader.create_trigger(true, true),
            () if reader.words("policy") => reader.create_policy(),
            () if reader.words("database") => reader.create_database(),
            () if reader.words("domain") => reader.create_domain(),
            () if reader.words("type") => match reader.create_type() {
                Ok(Some(own)) => Ok(own),
                Ok(None) => return None,
                Err(error) => Err(error),
            },
            () if reader.words("role") || reader.words("group") => reader.create_role(false),
            () if reader.words("user") => reader.create_role(true),
            () => return None,
        }
    } else if reader.words("alter") {
        let word = reader.routine_word();
        match () {
            () if word.is_some() => reader.alter_routine(word.unwrap_or(RoutineWord::Routine)),
            () if reader.words("aggregate") => reader.alter_routine(RoutineWord::Aggregate),
            () if reader.words("table") => match reader.configure_zone(ZoneWord::Table) {
                Some(read) => read,
                None => reader.alter_table(),
            },
            () if reader.words("sequence") => reader.alter_sequence(),
            () if reader.words("materialized view") => reader.alter_view(Kind::MaterializedView),
            () if reader.words("view") => reader.alter_view(Kind::View),
            () if reader.words("index") => match reader.configure_zone(ZoneWord::Index) {
                Some(read) => read,
                None => reader.alter_index(),
            },
            () if reader.words("range") => reader.only_configure_zone(ZoneWord::Range),
            () if reader.words("partition") => reader.only_configure_zone(ZoneWord::Partition),
            () if reader.words("type") => reader.alter_type(),
            () if reader.words("domain") => reader.alter_domain(),
            () if reader.words("trigger") => reader.alter_trigger(),
            () if reader.words("policy") => reader.alter_policy(),
            () if reader.words("schema") => reader.alter(Kind::Schema),
            () if reader.words("database") => match reader.configure_zone(ZoneWord::Database) {
                Some(read) => read,
                None => reader.alter(Kind::Database),
            },
            () if reader.words("group") => reader.alter_group(),
            () if reader.words("role") || reader.words("user") => reader.alter_role(),
            () if reader.words("large object") => reader.alter_large_object(),
            () if reader.words("default privileges") => reader.default_privileges(),
            () => return None,
        }
    } else if reader.words("refresh materialized view") {
        reader.refresh()
    } else if reader.words("drop materialized view") {
        reader.drop_materialized_views()
    } else if reader.words("drop group") {
        reader.drop_group()
    } else if reader.words("drop domain") {
        reader.drop_domain()
    } else if reader.words("drop trigger") {
        reader.drop_trigger()
    } else if reader.words("drop policy") {
        reader.drop_policy()
    } else if reader.words("drop function") {
        reader.drop_routines(RoutineWord::Function)
    } else if reader.words("drop procedure") {
        reader.drop_routines(RoutineWord::Procedure)
    } else if reader.words("drop aggregate") {
        reader.drop_routines(RoutineWord::Aggregate)
    } else if reader.words("drop routine") {
        reader.drop_routines(RoutineWord::Routine)
    } else if reader.words("comment on") {
        reader.comment()
    } else if reader.words("grant") {
        reader.grant()
    } else if reader.words("revoke") {
        reader.revoke()
    } else if reader.words("reassign owned by") {
        reader.reassign_owned()
    } else if reader.words("drop owned by") {
        reader.drop_owned()
    } else if reader.words("set constraints") {
        reader.set_constraints()
    } else if reader.words("set local session authorization") {
        reader.authorization(true)
    } else if reader.words("set session session authorization") {
        reader.authorization(false)
    } else if reader.words("set cluster setting") {
        reader.cluster_setting(false)
    } else if reader.words("reset cluster setting") {
        reader.cluster_setting(true)
    } else if reader.words("lock") {
        reader.lock()
    } else if reader.words("copy") {
        reader.copy()
    } else if reader.words("do") {
        reader.do_block()
    } else if reader.words("prepare transaction") {
        match reader.constant() {
            Ok(gid) => Ok(Own::PrepareTransaction(gid)),
            // A statement may have that name.
            Err(_) if reader.is_name_of_prepared() => return None,
            Err(error) => Err(error),
        }
    } else if reader.words("commit prepared") {
        reader.constant().map(|gid| Own::EndPrepared { gid, commit: true })
    } else if reader.words("rollback prepared") {
        reader.constant().map(|gid| Own::EndPrepared { gid, commit: false })
    } else if reader.words("show ranges from table") {
        reader.name().map(Own::ShowRanges)
    } else if reader.words("show zone configuration") {
        reader.show_zone()
    } else if reader.words("show all zone configurations") || reader.words("show zone configurations") {
        Ok(Own::Zone(Box::new(ZoneText::Show(None))))
    } else if reader.words("listen") {
        reader.channel().map(Own::Listen)
    } else if reader.words("unlisten") {
        reader.unlisten()
    } else if reader.words("notify") {
        reader.notify()
    } else if reader.words("backup") {
        reader.backup()
    } else if reader.words("restore") {
        reader.restore()
    } else if reader.words("show backups in") {
        reader.show_backups()
    } else if reader.words("show backup") {
        reader.show_backup()
    } else if reader.words("verify backup") {
        reader.verify_backup()
    } else if reader.words("show jobs") {
        Ok(Own::Backup(Box::new(BackupText::ShowJobs(None))))
    } else if reader.words("show job") {
        reader.show_job()
    } else if reader.words("pause job") {
        reader.control_job(JobVerb::Pause)
    } else if reader.words("resume job") {
        reader.control_job(JobVerb::Resume)
    } else if reader.words("cancel job") {
        reader.control_job(JobVerb::Cancel)
    } else if reader.words("checkpoint") {
        Ok(Own::Accepted("CHECKPOINT"))
    } else if reader.words("reindex") {
        reader.reindex()
    } else if reader.words("cluster") {
        reader.cluster()
    } else {
        return None;
    };
    Some(own)
}
