//! Bodies of routines, ready to run: one for each routine and each choice of its polymorphic types.

use std::sync::Arc;

use catalog::Routine;
use exec::NodeReservation;
use parking_lot::Mutex;
use plan::{ParsedStatement, PreparedPlan};
use plpgsql::{Function, PlanCache};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use types::SqlType;

use super::spi::RoutinePlan;
use crate::plan_cache::Scope;

/// So many bodies are kept; all are forgotten when there are more.
const BODIES_MAX: usize = 512;

/// A statement of a function in SQL, and its plan as long as it holds.
pub(crate) struct SqlStatement {
    pub parsed: ParsedStatement,
    pub plan: Mutex<Option<(Arc<PreparedPlan>, Arc<Scope>)>>,
    /// What the statements of a long body take of the node's memory: the first has it.
    pub _memory: Option<NodeReservation>,
}

#[derive(Clone)]
pub(crate) enum Body {
    PlPgSql { function: Arc<Function>, plans: Arc<PlanCache<RoutinePlan>> },
    Sql(Arc<[SqlStatement]>),
}

struct Known {
    /// Of the catalog that its types were looked up in.
    version: u64,
    /// As it was when this was made.
    routine: Arc<Routine>,
    body: Body,
}

/// Which body of a routine it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BodyKey {
    /// Called with arguments of these types, for a result of the last.
    Types(u32, SmallVec<[SqlType; 4]>),
    /// Fired by a trigger, whose names it may use, over rows of this type.
    Trigger(u32, u32, SqlType),
}

#[derive(Default)]
pub(crate) struct RoutineCache {
    bodies: FxHashMap<BodyKey, Known>,
}

impl RoutineCache {
    pub fn get(&self, version: u64, routine: &Arc<Routine>, key: &BodyKey) -> Option<Body> {
        let known = self.bodies.get(key)?;
        let is_same = Arc::ptr_eq(&known.routine, routine) || known.routine == *routine;
        (is_same && known.version == version).then(|| known.body.clone())
    }

    pub fn put(&mut self, version: u64, routine: &Arc<Routine>, key: BodyKey, body: Body) {
        if self.bodies.len() >= BODIES_MAX {
            self.bodies.clear();
        }
        self.bodies.insert(key, Known { version, routine: routine.clone(), body });
    }
}
