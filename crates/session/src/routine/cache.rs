//! Bodies of routines, ready to run: one for each routine and each choice of its polymorphic types.

use std::sync::Arc;

use catalog::Routine;
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

#[derive(Default)]
pub(crate) struct RoutineCache {
    bodies: FxHashMap<(u32, SmallVec<[SqlType; 4]>), Known>,
}

impl RoutineCache {
    pub fn get(&self, version: u64, routine: &Arc<Routine>, types: &SmallVec<[SqlType; 4]>) -> Option<Body> {
        let known = self.bodies.get(&(routine.id, types.clone()))?;
        let is_same = Arc::ptr_eq(&known.routine, routine) || known.routine == *routine;
        (is_same && known.version == version).then(|| known.body.clone())
    }

    pub fn put(&mut self, version: u64, routine: &Arc<Routine>, types: &SmallVec<[SqlType; 4]>, body: Body) {
        if self.bodies.len() >= BODIES_MAX {
            self.bodies.clear();
        }
        self.bodies.insert((routine.id, types.clone()), Known { version, routine: routine.clone(), body });
    }
}
