//! WHEN of triggers, over the old row and the new one.

use super::{render, with_context};
use crate::bind::{mentions, trigger_columns, trigger_condition};

/// `u(a int, x int8, y text)`, whose fourth column is hidden.
#[test]
fn a_condition_is_over_the_old_row_and_then_the_new_one() {
    with_context(|context| {
        let table = context.catalog.table_by_id(101).unwrap();
        let bound = |text: &str| trigger_condition(table, text, context).map(|it| it.columns_used());
        assert_eq!(bound("old.x = new.a").unwrap(), [1, 4]);
        assert_eq!(bound("new.y IS NULL").unwrap(), [6]);
        assert_eq!(bound("old.* IS DISTINCT FROM new.*").unwrap(), [0, 1, 2, 4, 5, 6], "the hidden column is in no row");
        assert_eq!(bound("old IS DISTINCT FROM new").unwrap(), [0, 1, 2, 4, 5, 6]);
        assert_eq!(bound("a = 1").unwrap_err().message(), "column reference \"a\" is ambiguous");
        assert_eq!(bound("new.rowid = 1").unwrap_err().message(), "column new.rowid does not exist");
        assert_eq!(bound("new.a = (SELECT 1)").unwrap_err().message(), "cannot use subquery in trigger WHEN condition");
        let folded = trigger_condition(table, "false AND old.a = 1", context).unwrap();
        assert_eq!(trigger_columns(table, "false AND old.a = 1", context).unwrap(), [0], "{}", render::list(&[folded]));
    });
}

#[test]
fn a_row_as_a_whole_names_no_column() {
    with_context(|context| {
        let table = context.catalog.table_by_id(101).unwrap();
        let found = mentions(table, "old.* IS DISTINCT FROM new.* AND new.y = 'x'", context).unwrap();
        assert_eq!((found.old, found.new, found.whole_old, found.whole_new), (vec![], vec![2], true, true));
        assert_eq!(trigger_columns(table, "old IS NULL OR old.a = new.x", context).unwrap(), [0, 1]);
    });
}
