//! Calls over the toy database: what runs, in which order, and what errors say.

use types::{Datum, ParameterMode, RowType, SqlError, SqlType};

use super::Trigger;
use crate::function::{Declaration, Parameter, RaiseLevel, RoutineKind, VariableConflict};
use crate::testing::{Fixture, block_on, declaration, inline, input, output, run};

fn notices(body: &str) -> Vec<String> {
    run(body).unwrap_or_else(|error| panic!("{body}: {error:?} {:?}", error.context))
}

fn check(body: &str, expected: &[&str]) {
    assert_eq!(notices(body), expected, "{body}");
}

fn error(body: &str) -> SqlError {
    match run(body) {
        Ok(found) => panic!("{body} did not fail: {found:?}"),
        Err(error) => error,
    }
}

/// State, message and context, the last without the function's name.
fn fails(body: &str, state: &str, message: &str, context: &str) {
    let error = error(body);
    assert_eq!((error.code().code(), error.message()), (state, message), "{body}");
    let found = error.context.clone().unwrap_or_default();
    assert_eq!(found.replace("PL/pgSQL function inline_code_block ", ""), context, "{body}");
}

#[test]
fn if_and_case_choose_one_branch() {
    let of = |x: i64, cases: &str| notices(&format!("declare x int := {x}; begin {cases} end"));
    let branches = "if x = 1 then raise notice 'one'; elsif x = 2 then raise notice 'two'; elseif x is null then \
                    raise notice 'null'; else raise notice 'else'; end if;";
    assert_eq!([of(1, branches), of(2, branches), of(3, branches)].concat(), ["one", "two", "else"]);
    let simple = "case x when 1, 2 then raise notice 'few'; when 3 then raise notice 'three'; else raise notice 'many'; end case;";
    assert_eq!([of(2, simple), of(3, simple), of(4, simple)].concat(), ["few", "three", "many"]);
    let searched = "case when x < 2 then raise notice 'low'; when x < 4 then null; end case;";
    assert_eq!([of(1, searched), of(3, searched)].concat(), ["low"]);
    let missing = "begin case when false then null; end case; end";
    fails(missing, "20000", "case not found", "line 1 at CASE");
    assert_eq!(error(missing).hint.as_deref(), Some("CASE statement is missing ELSE part."));
    // NULL is not true.
    check("begin if null then raise notice 'yes'; else raise notice 'no'; end if; end", &["no"]);
}

#[test]
fn loops_run_as_often_as_they_say() {
    check(
        "declare i int := 3; begin for i in 1..2 loop raise notice '%', i; end loop; raise notice '% %', i, found; end",
        &["1", "2", "3 t"],
    );
    check("begin for i in reverse 5..1 by 2 loop raise notice '%', i; end loop; end", &["5", "3", "1"]);
    check("begin for i in 2..1 loop raise notice '%', i; end loop; raise notice '%', found; end", &["f"]);
    check(
        "declare i int := 0; begin while i < 2 loop i := i + 1; end loop; raise notice '%', i; end",
        &["2"],
    );
    check(
        "declare i int := 0; begin loop i := i + 1; exit when i > 4; end loop; raise notice '%', i; end",
        &["5"],
    );
    check(
        "begin for i in 2147483646..2147483647 loop raise notice '%', i; end loop; end",
        &["2147483646", "2147483647"],
    );
    check(
        "begin <<a>> for i in 1..3 loop <<b>> for j in 1..3 loop continue a when j = 2; exit a when i = 2; \
         raise notice '% %', i, j; end loop; end loop; end",
        &["1 1"],
    );
    check("begin <<l>> begin exit l; raise notice 'no'; end; raise notice 'yes'; end", &["yes"]);
    fails(
        "begin for i in 1 .. null loop null; end loop; end",
        "22004",
        "upper bound of FOR loop cannot be null",
        "line 1 at FOR with integer loop variable",
    );
    fails(
        "begin for i in 1 .. 2 by 0 loop null; end loop; end",
        "22023",
        "BY value of FOR loop must be greater than zero",
        "line 1 at FOR with integer loop variable",
    );
}

#[test]
fn foreach_takes_elements_and_slices() {
    check(
        "declare x int; begin foreach x in array array[3, 1] loop raise notice '%', x; end loop; end",
        &["3", "1"],
    );
    check(
        "declare a int[]; x int[]; begin a := '{{1,2},{3,4}}'; foreach x slice 1 in array a loop raise notice '%', x; end loop; end",
        &["{1,2}", "{3,4}"],
    );
    let at = "line 1 at FOREACH over array";
    fails(
        "declare x int; begin foreach x in array 1 loop end loop; end",
        "42804",
        "FOREACH expression must yield an array, not type integer",
        at,
    );
    fails(
        "declare x int; a int[]; begin foreach x in array a loop end loop; end",
        "22004",
        "FOREACH expression must not be null",
        at,
    );
    fails(
        "declare x int; begin foreach x slice 1 in array array[1] loop end loop; end",
        "42804",
        "FOREACH ... SLICE loop variable must be of an array type",
        at,
    );
    fails(
        "declare x int[]; begin foreach x slice 3 in array array[1] loop end loop; end",
        "2202E",
        "slice dimension (3) is out of the valid range 0..1",
        at,
    );
    fails(
        "declare x int[]; begin foreach x in array array[1] loop end loop; end",
        "42804",
        "FOREACH loop variable must not be of an array type",
        at,
    );
}

#[test]
fn loops_over_rows() {
    check(
        "declare r record; begin for r in select n as q from series(3) loop raise notice '%', r.q; end loop; raise notice '%', r; end",
        &["1", "2", "3", "(3)"],
    );
    // More than are fetched at once.
    check(
        "declare r record; t int := 0; begin for r in select n from series(200) loop t := t + r.n; end loop; raise notice '%', t; end",
        &["20100"],
    );
    check(
        "declare a int; b int; begin for a, b in execute 'select n, n * $1 from series(2)' using 10 loop raise notice '% %', a, b; end loop; end",
        &["1 10", "2 20"],
    );
    check(
        "declare r record; begin for r in select n from series(0) loop null; end loop; raise notice '% %', found, r.n is null; end",
        &["f t"],
    );
    let closed = |body: &str| {
        let mut fixture = Fixture::new(&inline(body)).unwrap();
        fixture.call(Vec::new()).unwrap();
        fixture.db.open_portals()
    };
    assert_eq!(
        closed(
            "declare r record; begin for r in select n from series(30) loop exit when r.n = 2; end loop; end"
        ),
        0
    );
    assert_eq!(
        closed("declare r record; begin for r in select n from series(30) loop return; end loop; end"),
        0
    );
}

#[test]
fn cursors_move_and_close() {
    check(
        "declare c cursor(k int) for select n * k as v from series(3); begin for r in c(k := 5) loop raise notice '%', r.v; end loop; end",
        &["5", "10", "15"],
    );
    check(
        "declare c cursor for select n from series(5); x int; k int; begin open c; fetch c into x; raise notice '% %', x, found; \
         move forward 2 from c; get diagnostics k = row_count; fetch next from c into x; raise notice '% %', k, x; \
         fetch prior from c into x; raise notice '%', x; fetch last from c into x; raise notice '%', x; \
         fetch absolute 1 + 1 from c into x; raise notice '%', x; fetch relative -1 from c into x; raise notice '%', x; \
         move all from c; fetch c into x; raise notice '% %', x, found; close c; end",
        &["1 t", "2 4", "3", "5", "2", "1", "<NULL> f"],
    );
    check(
        "declare c refcursor; x int; begin open c scroll for execute 'select n + $1 from series(1)' using 6; raise notice '%', c; \
         fetch c into x; raise notice '%', x; close c; end",
        &["<unnamed portal 1>", "7"],
    );
    fails(
        "declare c cursor for select 1; begin open c; open c; end",
        "42P03",
        "cursor \"c\" already in use",
        "line 1 at OPEN",
    );
    fails(
        "declare c refcursor; q int; begin fetch c into q; end",
        "22004",
        "cursor variable \"c\" is null",
        "line 1 at FETCH",
    );
    fails(
        "declare c refcursor := 'zz'; q int; begin fetch c into q; end",
        "34000",
        "cursor \"zz\" does not exist",
        "line 1 at FETCH",
    );
    fails(
        "declare c refcursor; begin open c for insert into log values (1); end",
        "42P11",
        "cannot open INSERT query as cursor",
        "line 1 at OPEN",
    );
}

#[test]
fn variables_are_scoped_and_initialized() {
    check(
        "<<o>> declare x int := 1; begin declare x int := o.x + 1; begin raise notice '% %', x, o.x; o.x := 7; end; raise notice '%', x; end",
        &["2 1", "7"],
    );
    // On every entry of the block.
    check(
        "begin for i in 1..2 loop declare x int := 5; begin x := x + 1; raise notice '%', x; end; end loop; end",
        &["6", "6"],
    );
    check("declare x t.b%type := 'a'; y x%type := x || 'b'; begin raise notice '%', y; end", &["ab"]);
    check("declare r t%rowtype; begin r.a := '4'; raise notice '% %', r, r.b is null; end", &["(4,) t"]);
    check("declare x int := 1; y alias for x; begin y := 2; raise notice '%', x; end", &["2"]);
    check(
        "declare x constant int := 3; y int default 4; z int = 5; begin raise notice '% % %', x, y, z; end",
        &["3 4 5"],
    );
    check("declare v varchar(3) := 'abc'; begin raise notice '%', v; end", &["abc"]);
    fails(
        "declare v varchar(2); begin v := 'abc'; end",
        "22001",
        "value too long for type character varying(2)",
        "line 1 at assignment",
    );
    fails(
        "declare x int not null := 1; begin x := null; end",
        "22004",
        "null value cannot be assigned to variable \"x\" declared NOT NULL",
        "line 1 at assignment",
    );
    fails(
        "declare x int not null := null; begin null; end",
        "22004",
        "null value cannot be assigned to variable \"x\" declared NOT NULL",
        "line 1 during statement block local variable initialization",
    );
    fails(
        "\ndeclare\n  a int := 0;\n  b int := 1 / a;\nbegin\n  null;\nend",
        "22012",
        "division by zero",
        "line 4 during statement block local variable initialization",
    );
}

#[test]
fn records_and_arrays_are_assigned_in_part() {
    check(
        "declare a record; begin a := row(1,2); raise notice '%', a; a.f2 := 5; raise notice '% %', a, a.f2; end",
        &["(1,2)", "(1,5) 5"],
    );
    check(
        "declare a record; begin select 1 as x, 2 as y into a; a.x := '44'; raise notice '%', a; a := null; raise notice '%', a; end",
        &["(44,2)", "<NULL>"],
    );
    check(
        "declare a int[]; begin a[2:3] := '{1,2}'; raise notice '%', a; a[0]:=4; raise notice '%', a; a[6]:=4; raise notice '%', a; \
         a[6] := a[6] + 1; raise notice '%', a[6]; end",
        &["[2:3]={1,2}", "[0:3]={4,NULL,1,2}", "[0:6]={4,NULL,1,2,NULL,NULL,4}", "5"],
    );
    check("declare r record; begin raise notice '%', r; end", &["<NULL>"]);
    check(
        "declare x int[]; begin x[1:2] := null; raise notice '%', x; x := '{1,2}'; x[2:2] := null; raise notice '%', x; end",
        &["{}", "{1,2}"],
    );
    // A record of another shape is another text.
    check(
        "declare r record; begin for i in 1..2 loop if i = 1 then select 1 as a, 2 as b into r; else select 'x' as b, 'y' as a into r; end if; \
         raise notice '%', r.a; end loop; end",
        &["1", "y"],
    );
    let at = "line 1 at assignment";
    fails(
        "declare a int[]; begin a[null] := 4; end",
        "22004",
        "array subscript in assignment must not be null",
        at,
    );
    fails(
        "declare a int[]; begin a := '{1}'; a[1][1] := 3; end",
        "2202E",
        "wrong number of array subscripts",
        at,
    );
    fails(
        "declare r record; begin r.a := 1; end",
        "55000",
        "record \"r\" is not assigned yet",
        &format!("PL/pgSQL assignment \"r.a := 1\"\n{at}"),
    );
    fails(
        "declare y record; begin y := row(1,2); y.f3 = 4; end",
        "42703",
        "record \"y\" has no field \"f3\"",
        &format!("PL/pgSQL assignment \"y.f3 = 4\"\n{at}"),
    );
    fails(
        "declare r record; begin raise notice '%', r.a; end",
        "55000",
        "record \"r\" is not assigned yet",
        "SQL expression \"r.a\"\nline 1 at RAISE",
    );
    fails(
        "declare a record; begin a := 3; end",
        "42804",
        "cannot assign non-composite value to a record variable",
        at,
    );
}

#[test]
fn a_literal_is_read_as_the_variables_type() {
    let error = error("declare x int; begin x = 'abc'; end");
    assert_eq!(error.message(), "invalid input syntax for type integer: \"abc\"");
    assert_eq!((error.internal_query.as_deref(), error.internal_position), (Some("x = 'abc'"), Some(5)));
    assert_eq!(error.context.as_deref(), Some("PL/pgSQL function inline_code_block line 1 at assignment"));
}

#[test]
fn sql_into() {
    check("declare a int; b text; begin select 1, 'x' into a, b; raise notice '% %', a, b; end", &["1 x"]);
    check(
        "declare a int; b int; begin select n into a from series(2); raise notice '% %', a, found; end",
        &["1 t"],
    );
    check(
        "declare a int := 3; begin select n into a from series(0); raise notice '% %', a, found; end",
        &["<NULL> f"],
    );
    check(
        "declare a int; begin insert into log values (7) returning 7 + 1 into a; raise notice '% %', a, logged(); end",
        &["8 1"],
    );
    check(
        "declare a int; k int; begin insert into log values (7); get diagnostics k = row_count; raise notice '% %', k, found; end",
        &["1 t"],
    );
    check(
        "declare k int; begin perform n from series(4); get diagnostics k = row_count; raise notice '% %', k, found; perform; end",
        &["4 t"],
    );
    let at = "line 1 at SQL statement";
    let strict = "declare x int; begin select n into strict x from series(2); end";
    fails(strict, "P0003", "query returned more than one row", at);
    assert_eq!(
        error(strict).hint.as_deref(),
        Some("Make sure the query returns a single row, or use LIMIT 1.")
    );
    fails(
        "declare x int; begin select n into strict x from series(0); end",
        "P0002",
        "query returned no rows",
        at,
    );
    let nowhere = "begin select 1; end";
    fails(nowhere, "42601", "query has no destination for result data", at);
    assert_eq!(
        error(nowhere).hint.as_deref(),
        Some("If you want to discard the results of a SELECT, use PERFORM instead.")
    );
    fails(
        "begin insert into log values (1) returning 2; end",
        "42601",
        "query has no destination for result data",
        at,
    );
    fails(
        "declare x int; begin create table zz() into x; end",
        "42601",
        "INTO used with a command that cannot return data",
        at,
    );
    fails("begin copy pg_class to stdout; end", "0A000", "cannot COPY to/from client in PL/pgSQL", at);
    let unknown = error("begin perform 1; select nosuch; end");
    assert_eq!(
        (unknown.internal_query.as_deref(), unknown.internal_position),
        (Some("select nosuch"), Some(8))
    );
}

#[test]
fn strict_parameters_are_shown() {
    let parameters = [input("q", SqlType::Int4)];
    let body = "\n#print_strict_params on\ndeclare x int; t text = 'a''b'; begin\n select n into strict x from series(q - q) where_is(t); end";
    let body = body.replace(" where_is(t)", "");
    let mut fixture = Fixture::new(&declaration(&parameters, SqlType::Int4, &body)).unwrap();
    let error = fixture.call(vec![Datum::Int(7)]).unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("parameters: q = '7'"));
    assert_eq!(error.context.as_deref(), Some("PL/pgSQL function f(integer) line 4 at SQL statement"));
}

#[test]
fn execute_runs_what_it_is_given() {
    check(
        "declare a int; begin execute 'select 1,2' into a; raise notice '%', a; execute 'insert into log values (' || a || ')'; raise notice '%', logged(); end",
        &["1", "1"],
    );
    check(
        "declare a int; b int; begin execute 'select $1 + $2, $1' using 3, 4 into a, b; raise notice '% %', a, b; execute 'select 1' into a, b; raise notice '% %', a, b; end",
        &["7 3", "1 <NULL>"],
    );
    // FOUND stays.
    check("begin perform 1; execute 'select n from series(0)'; raise notice '%', found; end", &["t"]);
    let at = "line 1 at EXECUTE";
    fails("begin execute null; end", "22004", "query string argument of EXECUTE is null", at);
    fails("begin execute 'begin'; end", "0A000", "EXECUTE of transaction commands is not implemented", at);
    fails(
        "declare a int; begin execute 'insert into log values (1)' into a; end",
        "42601",
        "INTO used with a command that cannot return data",
        at,
    );
    fails(
        "declare a int; begin execute 'select n from series(2)' into strict a; end",
        "P0003",
        "query returned more than one row",
        at,
    );
    fails(
        "begin execute 'select 1/0'; end",
        "22012",
        "division by zero",
        &format!("SQL statement \"select 1/0\"\n{at}"),
    );
    let wrong = error("begin execute 'selec 1/0'; end");
    assert_eq!((wrong.internal_query.as_deref(), wrong.internal_position), (Some("selec 1/0"), Some(1)));
    assert_eq!(wrong.context.as_deref(), Some("PL/pgSQL function inline_code_block line 1 at EXECUTE"));
}

#[test]
fn an_error_rolls_the_block_back_and_finds_its_handler() {
    let body = "declare s text; begin insert into log values (1); begin insert into log values (2); s := 'set'; perform 1/0; \
                raise notice 'no'; exception when no_data_found then raise notice 'no'; \
                when numeric_value_out_of_range or division_by_zero then raise notice '% % %', sqlstate, sqlerrm, s; \
                insert into log values (3); end; raise notice '%', logged(); end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    fixture.call(Vec::new()).unwrap();
    assert_eq!(fixture.db.notice_texts(), ["22012 division by zero set", "2"]);
    assert_eq!(fixture.db.log, [Datum::Int(1), Datum::Int(3)]);
    assert_eq!(fixture.db.events, ["begin", "roll back"]);
    // Classes and states.
    check("begin perform 1/0; exception when data_exception then raise notice 'class'; end", &["class"]);
    check("begin perform 1/0; exception when sqlstate '22012' then raise notice 'state'; end", &["state"]);
    // Of names that two states have, both.
    check(
        "begin raise sqlstate '38002'; exception when modifying_sql_data_not_permitted then raise notice 'both'; end",
        &["both"],
    );
    // No handler wants it.
    fails(
        "begin perform 1/0; exception when unique_violation then null; end",
        "22012",
        "division by zero",
        "SQL statement \"SELECT 1/0\"\nline 1 at PERFORM",
    );
}

#[test]
fn others_leaves_cancellation_and_assertions_alone() {
    check("begin raise 'x'; exception when others then raise notice '%', sqlerrm; end", &["x"]);
    fails(
        "begin assert false; exception when others then null; end",
        "P0004",
        "assertion failed",
        "line 1 at ASSERT",
    );
    check(
        "begin assert 1 = 2, 'bad' || 7; exception when assert_failure then raise notice '%', sqlerrm; end",
        &["bad7"],
    );
    let body = "begin loop null; end loop; exception when others then null; end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    fixture.db.cancelled = true;
    assert_eq!(fixture.call(Vec::new()).unwrap_err().code().code(), "57014");
    // An error that the transaction does not survive finds no handler.
    let error = error("begin raise serialization_failure; exception when others then null; end");
    assert_eq!(error.code().code(), "40001");
}

/// **balanced-unwinding**, **subtransaction-per-handler**: whichever way a block is left.
#[test]
fn every_way_out_of_a_block_ends_its_subtransaction() {
    let events = |body: &str| {
        let mut fixture = Fixture::new(&inline(body)).unwrap();
        fixture.call(Vec::new()).unwrap_or_else(|error| panic!("{body}: {error:?}"));
        (fixture.db.events.join(" "), fixture.db.notice_texts().join(" "))
    };
    let handler = "exception when others then raise notice 'h';";
    for (body, expected, said) in [
        (format!("begin null; {handler} end"), "begin release", ""),
        (format!("begin return; {handler} end"), "begin release", ""),
        (format!("begin loop begin exit; {handler} end; end loop; end"), "begin release", ""),
        (
            format!("begin for i in 1..2 loop begin continue; {handler} end; end loop; end"),
            "begin release begin release",
            "",
        ),
        (
            format!("<<a>> begin begin begin exit a; {handler} end; {handler} end; end"),
            "begin begin release release",
            "",
        ),
        (format!("begin begin raise 'x'; {handler} return; end; end"), "begin roll back", "h"),
        (
            format!(
                "begin for i in 1..2 loop begin raise 'x'; exception when others then continue; end; end loop; begin null; {handler} end; end"
            ),
            "begin roll back begin roll back begin release",
            "",
        ),
        // A handler's own error is the outer block's.
        (
            format!(
                "begin begin raise 'a'; exception when others then raise 'b'; end; exception when others then raise notice '%', sqlerrm; end"
            ),
            "begin begin roll back roll back",
            "b",
        ),
        (
            format!(
                "begin begin perform 1; begin raise 'a'; {handler} end; raise notice 'after'; {handler} end; end"
            ),
            "begin begin roll back release",
            "h after",
        ),
    ] {
        assert_eq!(events(&body), (expected.to_owned(), said.to_owned()), "{body}");
    }
}

/// A block without EXCEPTION has no subtransaction, even where a block around it has one.
#[test]
fn plain_blocks_have_no_subtransaction() {
    let body = "begin begin <<b>> begin exit b; end; return; end; exception when others then null; end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    fixture.call(Vec::new()).unwrap();
    assert_eq!(fixture.db.events, ["begin", "release"]);
}

#[test]
fn errors_are_raised_again_as_they_were() {
    let body = "begin begin raise exception 'a' using detail='d'; exception when others then raise notice '% %', sqlstate, sqlerrm; raise; end; end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    let error = fixture.call(Vec::new()).unwrap_err();
    assert_eq!((error.message(), error.detail.as_deref()), ("a", Some("d")));
    assert_eq!(error.context.as_deref(), Some("PL/pgSQL function inline_code_block line 1 at RAISE"));
    // Around a handler that has ended, the error of the outer handler is at hand again.
    check(
        "begin raise 'outer'; exception when others then begin raise 'inner'; exception when others then null; end; \
         begin raise; exception when others then raise notice '%', sqlerrm; end; end",
        &["outer"],
    );
    fails(
        "begin raise; end",
        "0Z002",
        "RAISE without parameters cannot be used outside an exception handler",
        "line 1 at RAISE",
    );
}

#[test]
fn raise_in_all_forms() {
    let full = error(
        "begin raise exception 'x % y %%', 7 using hint='h', detail='d', errcode='division_by_zero', column='c', constraint='k', \
         table='t', schema='s', datatype='dt'; end",
    );
    let fields = full.into_fields();
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    assert_eq!((fields.code.code(), fields.message.as_str()), ("22012", "x 7 y %"));
    let all = [
        &fields.detail,
        &fields.hint,
        &fields.column,
        &fields.constraint,
        &fields.table,
        &fields.schema,
        &fields.datatype,
    ];
    assert_eq!(all.map(text).join(" "), "d h c k t s dt");
    for (statement, state, message) in [
        ("raise 'a'", "P0001", "a"),
        ("raise division_by_zero", "22012", "division_by_zero"),
        ("raise sqlstate 'U0001'", "U0001", "U0001"),
        ("raise using errcode = '22012'", "22012", "22012"),
        ("raise using message = 'm'", "P0001", "m"),
        ("raise exception sqlstate '99999' using message = 'm'", "99999", "m"),
        ("raise unique_violation using message = 'a' || 'b'", "23505", "ab"),
        ("raise 'x' using message = 'y'", "42601", "RAISE option already specified: MESSAGE"),
        ("raise 'x' using hint = 'a', hint = 'b'", "42601", "RAISE option already specified: HINT"),
        (
            "raise division_by_zero using errcode = '22012'",
            "42601",
            "RAISE option already specified: ERRCODE",
        ),
        ("raise 'x' using hint = null", "22004", "RAISE statement option cannot be null"),
        ("raise using errcode = 'zz'", "42704", "unrecognized exception condition \"zz\""),
    ] {
        fails(&format!("begin {statement}; end"), state, message, "line 1 at RAISE");
    }
    let body = "begin raise debug 'd'; raise log 'l'; raise info 'i'; raise notice '%%%', 3; raise warning '%', null; raise warning division_by_zero; end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    fixture.call(Vec::new()).unwrap();
    let told = fixture
        .db
        .notices
        .iter()
        .map(|(level, notice)| (*level, notice.code().code().to_owned(), notice.message().to_owned()));
    let expected = [
        (RaiseLevel::Debug, "00000", "d"),
        (RaiseLevel::Log, "00000", "l"),
        (RaiseLevel::Info, "00000", "i"),
        (RaiseLevel::Notice, "00000", "%3"),
        (RaiseLevel::Warning, "01000", "<NULL>"),
        (RaiseLevel::Warning, "22012", "division_by_zero"),
    ];
    let expected = expected.map(|(level, state, message)| (level, state.to_owned(), message.to_owned()));
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn diagnostics() {
    check(
        "declare a text; b text; c text; d text; e text; begin raise 'm' using detail='d', hint='h', errcode='22012', table='t'; \
         exception when others then get stacked diagnostics a = message_text, b := returned_sqlstate, c = pg_exception_detail, \
         d = table_name, e = pg_exception_context; raise notice '% % % % | %', a, b, c, d, e; end",
        &["m 22012 d t | PL/pgSQL function inline_code_block line 1 at RAISE"],
    );
    check(
        "declare s text; begin get current diagnostics s = pg_context; raise notice '%', s; end",
        &["PL/pgSQL function inline_code_block line 1 at GET DIAGNOSTICS"],
    );
    fails(
        "declare a text; begin get stacked diagnostics a = message_text; end",
        "0Z002",
        "GET STACKED DIAGNOSTICS cannot be used outside an exception handler",
        "line 1 at GET STACKED DIAGNOSTICS",
    );
}

#[test]
fn functions_return_values_of_their_type() {
    let parameters = [input("q", SqlType::Int4)];
    let call = |returns, body: &str| {
        Fixture::new(&declaration(&parameters, returns, body)).unwrap().call(vec![Datum::Int(7)])
    };
    assert_eq!(call(SqlType::Int4, "begin return q + $1; end").unwrap(), Datum::Int(14));
    assert_eq!(call(SqlType::Text, "begin return f.q; end").unwrap(), Datum::text("7"));
    assert_eq!(call(SqlType::Void, "begin perform 1; end").unwrap(), Datum::Null);
    let context = |returns, body: &str| {
        let error = call(returns, body).unwrap_err();
        format!("{} {} @{}", error.code().code(), error.message(), error.context.clone().unwrap_or_default())
    };
    assert_eq!(
        context(SqlType::Int4, "begin null; end"),
        "2F005 control reached end of function without RETURN @PL/pgSQL function f(integer)"
    );
    assert_eq!(
        context(SqlType::Int4, "begin\n return 'abc'; end"),
        "22P02 invalid input syntax for type integer: \"abc\" @PL/pgSQL function f(integer) while casting return value to \
         function's return type"
    );
    assert_eq!(
        context(SqlType::Int4, "\nbegin\n  return q / 0;\nend"),
        "22012 division by zero @PL/pgSQL function f(integer) line 3 at RETURN"
    );
    let two = SqlType::record_of(RowType::unnamed([SqlType::Int4, SqlType::Int4]));
    assert_eq!(
        call(two, "begin return row(q, 2); end").unwrap(),
        Datum::Record([Datum::Int(7), Datum::Int(2)].into())
    );
    assert_eq!(
        call(two, "begin return row(q, 'x'); end").unwrap_err().detail.as_deref(),
        Some("Returned type text does not match expected type integer in column 2.")
    );
    assert_eq!(
        call(two, "begin return 3; end").unwrap_err().message(),
        "cannot return non-composite value from function returning composite type"
    );
    // The subtransaction is over when the value is made one of the function's type.
    assert_eq!(
        call(SqlType::Int4, "begin return 'abc'; exception when others then return 1; end")
            .unwrap_err()
            .code()
            .code(),
        "22P02"
    );
}

#[test]
fn output_parameters_are_the_result() {
    let one = [input("q", SqlType::Int4), output("o", SqlType::Text)];
    let mut fixture = Fixture::new(&declaration(&one, SqlType::Text, "begin o := q; return; end")).unwrap();
    assert_eq!(fixture.call(vec![Datum::Int(4)]).unwrap(), Datum::text("4"));
    let inout = Parameter { mode: ParameterMode::InOut, ..input("p", SqlType::Int4) };
    let two = [inout, output("o", SqlType::Text)];
    let returns = SqlType::record_of(RowType {
        table: None,
        fields: vec![("p".into(), SqlType::Int4), ("o".into(), SqlType::Text)],
    });
    let body = "begin p := p * 2; o := 'x'; end";
    let mut fixture = Fixture::new(&declaration(&two, returns, body)).unwrap();
    let row = Datum::Record([Datum::Int(8), Datum::text("x")].into());
    assert_eq!(fixture.call(vec![Datum::Int(4)]).unwrap(), row);
    let procedure = Declaration { kind: RoutineKind::Procedure, ..declaration(&two, returns, body) };
    assert_eq!(Fixture::new(&procedure).unwrap().call(vec![Datum::Int(4)]).unwrap(), row);
}

#[test]
fn sets_are_returned_row_by_row() {
    let rows = |returns, body: &str| {
        let declaration = Declaration { returns_set: true, ..declaration(&[], returns, body) };
        let mut fixture = Fixture::new(&declaration).unwrap();
        fixture.call(Vec::new()).map(|_| fixture.db.rows)
    };
    let ints = |values: &[i64]| values.iter().map(|value| vec![Datum::Int(*value)]).collect::<Vec<_>>();
    assert_eq!(
        rows(SqlType::Int4, "begin return next 1; for i in 2..3 loop return next i; end loop; return query select n + 10 from series(2); return; end").unwrap(),
        ints(&[1, 2, 3, 11, 12])
    );
    assert_eq!(
        rows(SqlType::Int4, "begin return query execute 'select n * $1 from series(2)' using 3; end")
            .unwrap(),
        ints(&[3, 6])
    );
    let two = SqlType::record_of(RowType::unnamed([SqlType::Int4, SqlType::Text]));
    assert_eq!(
        rows(
            two,
            "declare r record; begin for r in select n, 'x' from series(1) loop return next r; end loop; end"
        )
        .unwrap(),
        [vec![Datum::Int(1), Datum::text("x")]]
    );
    let refused = |body: &str| rows(SqlType::Int4, body).unwrap_err();
    let error = refused("begin return query select 1, 2; end");
    assert_eq!(error.message(), "structure of query does not match function result type");
    assert_eq!(
        error.detail.as_deref(),
        Some("Number of returned columns (2) does not match expected column count (1).")
    );
    assert_eq!(
        error.context.as_deref(),
        Some("SQL statement \"select 1, 2\"\nPL/pgSQL function f(integer) line 1 at RETURN QUERY")
    );
    let error = refused("begin return query select 'a'; end");
    assert_eq!(
        error.detail.as_deref(),
        Some("Returned type text does not match expected type integer in column 1.")
    );
    let error = refused("begin return query insert into log values (1); end");
    assert_eq!((error.code().code(), error.message()), ("42601", "INSERT query does not return tuples"));
    // RETURNS TABLE: RETURN NEXT takes the output parameters.
    let table = [Parameter { mode: ParameterMode::Table, ..input("a", SqlType::Int4) }];
    let body = "begin a := 3; return next; a := 4; return next; end";
    let declaration = Declaration { returns_set: true, ..declaration(&table, SqlType::Int4, body) };
    let mut fixture = Fixture::new(&declaration).unwrap();
    fixture.call(Vec::new()).unwrap();
    assert_eq!(fixture.db.rows, ints(&[3, 4]));
}

#[test]
fn procedures_are_called_and_end_transactions() {
    check("declare x int := 4; begin call twice(x); raise notice '%', x; end", &["8"]);
    check("declare r record; begin r := row(4, 1); call twice(r.f1); raise notice '%', r; end", &["(8,1)"]);
    fails(
        "begin call twice(4); end",
        "42601",
        "procedure parameter \"x\" is an output parameter but corresponding argument is not writable",
        "line 1 at CALL",
    );
    let body = "begin insert into log values (1); commit; rollback and chain; commit and no chain; commit and chain; end";
    let mut fixture = Fixture::new(&inline(body)).unwrap();
    fixture.db.may_commit = true;
    fixture.call(Vec::new()).unwrap();
    assert_eq!(fixture.db.events, ["commit", "rollback and chain", "commit", "commit and chain"]);
    fails("begin commit; end", "2D000", "invalid transaction termination", "line 1 at COMMIT");
    let handled = "begin begin commit; exception when unique_violation then null; end; end";
    fails(handled, "2D000", "cannot commit while a subtransaction is active", "line 1 at COMMIT");
}

#[test]
fn a_name_that_is_a_variable_and_a_column() {
    let body = "declare n int := 100; t int; begin select n into t from series(1); raise notice '%', t; end";
    let error = error(body);
    assert_eq!((error.code().code(), error.message()), ("42702", "column reference \"n\" is ambiguous"));
    assert_eq!(error.internal_query.as_deref(), Some("select n        from series(1)"));
    check(&format!("#variable_conflict use_variable\n{body}"), &["100"]);
    check(&format!("#variable_conflict use_column\n{body}"), &["1"]);
    let by_setting = Declaration { variable_conflict: VariableConflict::UseVariable, ..inline(body) };
    let mut fixture = Fixture::new(&by_setting).unwrap();
    fixture.call(Vec::new()).unwrap();
    assert_eq!(fixture.db.notice_texts(), ["100"]);
}

#[test]
fn triggers_see_and_change_their_row() {
    let row_type = SqlType::record_of(RowType {
        table: Some("t".into()),
        fields: vec![("a".into(), SqlType::Int4), ("b".into(), SqlType::Text)],
    });
    let row = |a: i64, b: &str| Datum::Record([Datum::Int(a), Datum::text(b)].into());
    let call = |body: &str, level: &'static str| {
        let declaration = Declaration { kind: RoutineKind::Trigger, ..declaration(&[], SqlType::Void, body) };
        let mut fixture = Fixture::new(&declaration).unwrap();
        let trigger = Trigger {
            row_type,
            new: Some(row(1, "x")),
            old: None,
            name: "tr".into(),
            when: "BEFORE",
            level,
            operation: "INSERT",
            table_id: 42,
            table: "t".into(),
            schema: "public".into(),
            arguments: vec!["one".into()],
        };
        let outcome =
            block_on(super::call_trigger(&fixture.function, &fixture.plans, &mut fixture.db, trigger));
        outcome.map(|row| (row, fixture.db.notice_texts().join(" ")))
    };
    let (found, told) = call(
        "begin new.a := new.a + 1; raise notice '% % % % % % % %', tg_name, tg_when, tg_level, tg_op, tg_table_name, tg_nargs, tg_argv[0], \
         old.a is null; return new; end",
        "ROW",
    )
    .unwrap();
    assert_eq!(found, Some(row(2, "x")));
    assert_eq!(told, "tr BEFORE ROW INSERT t 1 one t");
    assert_eq!(call("begin return null; end", "ROW").unwrap().0, None);
    assert_eq!(call("begin return old; end", "ROW").unwrap().0, None);
    assert_eq!(call("begin return new; end", "STATEMENT").unwrap().0, None);
    let error = call("begin null; end", "ROW").unwrap_err();
    assert_eq!(
        (error.code().code(), error.message()),
        ("2F005", "control reached end of trigger procedure without RETURN")
    );
    let error = call("begin return row(1); end", "ROW").unwrap_err();
    assert_eq!(
        error.message(),
        "returned row structure does not match the structure of the triggering table"
    );
}

/// A text is prepared once, whatever loops over it and however often the function is called.
#[test]
fn texts_are_prepared_once() {
    let parameters = [input("q", SqlType::Int4)];
    let body = "declare s int := 0; begin for i in 1..100 loop s := s + i; insert into log values (s); end loop; return s; end";
    let mut fixture = Fixture::new(&declaration(&parameters, SqlType::Int4, body)).unwrap();
    for _ in 0..3 {
        assert_eq!(fixture.call(vec![Datum::Int(1)]).unwrap(), Datum::Int(5050));
    }
    // Default, bounds, sum, INSERT. RETURN of a variable needs none.
    assert_eq!(fixture.db.prepared, 5);
    assert_eq!(fixture.db.log.len(), 300);
}
