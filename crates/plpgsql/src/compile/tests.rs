//! Bodies that are refused: messages, states and positions as PostgreSQL 15 gives them.

use types::{SqlError, SqlType};

use crate::function::{Declaration, RoutineKind};
use crate::testing::{Fixture, declaration, inline, output, run};

/// The state, the message, and the rest of the body from the position, if there is one.
fn shown(body: &str, error: &SqlError) -> (String, String, Option<String>) {
    let rest = error.internal_position.map(|position| {
        assert_eq!(error.internal_query.as_deref(), Some(body));
        body.chars().skip(position - 1).collect()
    });
    (error.code().code().to_owned(), error.message().to_owned(), rest)
}

fn refused(declaration: &Declaration<'_>) -> (String, String, Option<String>) {
    match Fixture::new(declaration) {
        Ok(_) => panic!("{} was compiled", declaration.body),
        Err(error) => shown(declaration.body, &error),
    }
}

fn check(body: &str, state: &str, message: &str, at: &str) {
    let (found_state, found_message, rest) = refused(&inline(body));
    assert_eq!((found_state.as_str(), found_message.as_str()), (state, message), "{body}");
    let rest = rest.unwrap_or_else(|| panic!("{body}: no position"));
    assert!(rest.starts_with(at), "{body}: at {rest:?} instead of {at:?}");
}

#[test]
fn blocks_and_labels() {
    let error = "42601";
    check("begin null; ", error, "syntax error at end of input", "");
    check("begin null; end; end", error, "syntax error at or near \"end\"", "end");
    check("begin null; end loop", error, "syntax error at or near \"loop\"", "loop");
    check("begin if true then null; end", error, "syntax error at end of input", "");
    check("begin loop null; end; end", error, "syntax error at or near \";\"", "; end");
    check(
        "begin if true then null; elsif false then null; else null; end if end",
        error,
        "syntax error at or near \"end\"",
        "end",
    );
    check("begin elsif; end", error, "syntax error at or near \"elsif\"", "elsif");
    check(
        "begin for i in 1 .. 2 loop null; end loop x; end",
        error,
        "end label \"x\" specified for unlabeled block",
        "x;",
    );
    check(
        "<<l>> declare a int; begin <<k>> begin end l; end",
        error,
        "end label \"l\" differs from block's label \"k\"",
        "l;",
    );
    check("<<a>> begin continue a; end", error, "block label \"a\" cannot be used in CONTINUE", "a; end");
    check("begin exit; end", error, "EXIT cannot be used outside a loop, unless it has a label", "exit;");
    check(
        "begin <<l>> begin exit l; end; exit; end",
        error,
        "EXIT cannot be used outside a loop, unless it has a label",
        "exit; end",
    );
    check("begin continue; end", error, "CONTINUE cannot be used outside a loop", "continue;");
    check(
        "begin loop exit b; end loop; end",
        error,
        "there is no label \"b\" attached to any block or loop enclosing this statement",
        "b; end",
    );
    check(
        "begin while true null; end loop; end",
        error,
        "missing \"LOOP\" at end of SQL expression",
        "; end loop",
    );
    check("begin if 1 loop; end", error, "missing \"THEN\" at end of SQL expression", "; end");
    check(" #variable_conflict foo\nbegin end", error, "syntax error at or near \"foo\"", "foo");
    check(" #option foo\nbegin end", error, "syntax error at or near \"foo\"", "foo");
}

#[test]
fn declarations() {
    let error = "42601";
    check(
        "declare x int not null; begin end",
        "22004",
        "variable \"x\" must have a default value, since it's declared NOT NULL",
        "not null",
    );
    check("declare x alias for z; begin end", "42704", "variable \"z\" does not exist", "z;");
    check(
        "declare x int collate \"C\"; begin end",
        "42804",
        "collations are not supported by type integer",
        "collate",
    );
    check("declare x ; begin end", error, "missing data type declaration at or near \";\"", "; begin");
    check("declare x nosuch; begin null; end", "42704", "type \"nosuch\" does not exist", "nosuch");
    check("declare x int; x int; begin end", error, "duplicate declaration at or near \"x\"", "x int; begin");
    check("declare c cursor select 1; begin end", error, "syntax error at or near \"select\"", "select");
    check(
        "declare x constant int := 1; begin x := 2; end",
        "22005",
        "variable \"x\" is declared CONSTANT",
        "x := 2",
    );
    check(
        "declare a constant int; begin select 1 into a; end",
        "22005",
        "variable \"a\" is declared CONSTANT",
        "a; end",
    );
}

#[test]
fn names_and_expressions() {
    let error = "42601";
    check("begin foo; end", error, "syntax error at or near \"foo\"", "foo;");
    check("begin x := 1; end", error, "\"x\" is not a known variable", "x := 1");
    check("begin \"a b\" := 1; end", error, "\"a b\" is not a known variable", "\"a b\"");
    check("declare a int; begin a.x := 1; end", error, "\"a.x\" is not a known variable", "a.x");
    check("declare a int; begin a := 1 + ; end", error, "syntax error at end of input", " ; end");
    check("declare a int; begin assert ; end", error, "missing expression at or near \";\"", "; end");
    check("begin assert (1; end", error, "mismatched parentheses at or near \";\"", "; end");
    check("begin assert 1); end", error, "mismatched parentheses at or near \")\"", "); end");
    check("begin select 1 + ; end", error, "syntax error at end of input", " ; end");
    check("begin select 1 into y; end", error, "\"y\" is not a known variable", "y; end");
    check("declare x int; begin select 1 into x, ; end", error, "syntax error at or near \";\"", "; end");
    check(
        "declare x int; begin select 1 into x into x; end",
        error,
        "INTO specified more than once at or near \"into\"",
        "into x; end",
    );
    check(
        "declare r record; x int; begin select 1,2 into r, x; end",
        error,
        "record variable cannot be part of multiple-item INTO list",
        "r, x",
    );
}

#[test]
fn returns() {
    let body = |body, returns| Declaration { returns, ..declaration(&[], SqlType::Int4, body) };
    let parts = |declaration: &Declaration<'_>| {
        let (state, message, rest) = refused(declaration);
        format!("{state} {message} @{}", rest.unwrap_or_default())
    };
    assert_eq!(
        parts(&body("begin return; end", SqlType::Int4)),
        "42601 missing expression at or near \";\" @; end"
    );
    assert_eq!(
        parts(&body("begin return 1 +; end", SqlType::Int4)),
        "42601 syntax error at end of input @; end"
    );
    assert_eq!(
        parts(&body("begin return 1; end", SqlType::Void)),
        "42804 RETURN cannot have a parameter in function returning void @1; end"
    );
    assert_eq!(
        parts(&inline("begin return 1; end")),
        "42804 RETURN cannot have a parameter in function returning void @1; end"
    );
    let procedure =
        Declaration { kind: RoutineKind::Procedure, ..body("begin return 1; end", SqlType::Void) };
    assert_eq!(parts(&procedure), "42601 RETURN cannot have a parameter in a procedure @1; end");
    let parameters = [output("a", SqlType::Int4)];
    let with_output = declaration(&parameters, SqlType::Int4, "begin return 1; end");
    assert_eq!(
        parts(&with_output),
        "42804 RETURN cannot have a parameter in function with OUT parameters @1; end"
    );
    let set = Declaration { returns_set: true, ..body("begin return 1; end", SqlType::Int4) };
    assert_eq!(parts(&set), "42804 RETURN cannot have a parameter in function returning set @1; end");
    assert_eq!(
        parts(&body("begin return next 1; end", SqlType::Int4)),
        "42804 cannot use RETURN NEXT in a non-SETOF function @return next 1; end"
    );
    let next = Declaration {
        returns_set: true,
        ..declaration(&parameters, SqlType::Int4, "begin return next 1; end")
    };
    assert_eq!(
        parts(&next),
        "42804 RETURN NEXT cannot have a parameter in function with OUT parameters @1; end"
    );
}

#[test]
fn loops() {
    let error = "42601";
    check(
        "declare x int; begin for r in select 1 loop null; end loop; end",
        error,
        "loop variable of loop over rows must be a record variable or list of scalar variables",
        "r in",
    );
    check(
        "begin for i in reverse select 1 loop null; end loop; end",
        error,
        "cannot specify REVERSE in query FOR loop",
        "reverse",
    );
    check(
        "declare a int; b int; begin for a,b in 1..2 loop null; end loop; end",
        error,
        "integer FOR loop must have only one target variable",
        "a,b",
    );
    check(
        "declare c refcursor; begin for r in c loop null; end loop; end",
        error,
        "cursor FOR loop must use a bound cursor variable",
        "c loop",
    );
    check(
        "declare a constant int = 3; begin for a in select 1 loop end loop; end",
        "22005",
        "variable \"a\" is declared CONSTANT",
        "a in",
    );
    check(
        "declare x int; begin foreach x in 1 loop end loop; end",
        error,
        "syntax error at or near \"1\"",
        "1 loop",
    );
    check(
        "begin foreach y in array array[1] loop end loop; end",
        error,
        "loop variable of FOREACH must be a known variable or list of variables",
        "y in",
    );
}

#[test]
fn cursors() {
    let error = "42601";
    let one = "declare c cursor(a int) for select a; begin ";
    check(&format!("{one}open c; end"), error, "cursor \"c\" has arguments", "; end");
    check(&format!("{one}open c(1,2); end"), error, "too many arguments for cursor \"c\"", ",2");
    check(&format!("{one}open c(b := 2); end"), error, "cursor \"c\" has no argument named \"b\"", "b := 2");
    let two = "declare c cursor(a int, b int) for select a; begin ";
    check(
        &format!("{two}open c(a := 2, a:=4); end"),
        error,
        "value for parameter \"a\" of cursor \"c\" specified more than once",
        "a:=4",
    );
    check(&format!("{two}open c(a := 2); end"), error, "not enough arguments for cursor \"c\"", "); end");
    let none = "declare c cursor for select 1; begin ";
    check(&format!("{none}open c(2); end"), error, "cursor \"c\" has no arguments", "(2)");
    check(
        &format!("{none}open c for select 2; end"),
        error,
        "syntax error at or near \"for\"",
        "for select 2",
    );
    check(
        "declare c int; begin open c for select 2; end",
        "42804",
        "variable \"c\" must be of type cursor or refcursor",
        "c for",
    );
    check(
        "declare c refcursor; begin open c; end",
        error,
        "syntax error, expected \"FOR\" at or near \";\"",
        "; end",
    );
    check("begin open d; end", error, "\"d\" is not a known variable", "d; end");
    let many = "declare c refcursor; x int; begin ";
    check(
        &format!("{many}fetch all from c into x; end"),
        "0A000",
        "FETCH statement cannot return multiple rows",
        "all from",
    );
    check(
        &format!("{many}fetch next c into x; end"),
        error,
        "expected FROM or IN at or near \"c\"",
        "c into",
    );
    check(
        &format!("{many}fetch foo bar c into x; end"),
        error,
        "missing \"FROM or IN\" at end of SQL expression",
        "; end",
    );
}

#[test]
fn messages_and_diagnostics() {
    let error = "42601";
    let x = "declare r record; x int; begin ";
    check(
        &format!("{x}get diagnostics x = foo; end"),
        error,
        "unrecognized GET DIAGNOSTICS item at or near \"foo\"",
        "foo",
    );
    check(
        &format!("{x}get diagnostics x = message_text; end"),
        error,
        "diagnostics item MESSAGE_TEXT is not allowed in GET CURRENT DIAGNOSTICS",
        "get",
    );
    check(
        &format!("{x}get stacked diagnostics x = row_count; end"),
        error,
        "diagnostics item ROW_COUNT is not allowed in GET STACKED DIAGNOSTICS",
        "get",
    );
    check(&format!("{x}get diagnostics r = row_count; end"), error, "\"r\" is not a scalar variable", "r =");
    check(
        &format!("{x}raise notice 'x' using foo = 1; end"),
        error,
        "unrecognized RAISE statement option at or near \"foo\"",
        "foo",
    );
    check(&format!("{x}raise sqlstate 'x'; end"), error, "invalid SQLSTATE code at or near \"'x'\"", "'x'");
    check(&format!("{x}raise info 'a' || 'b'; end"), error, "syntax error at or near \"||\"", "|| 'b'");
    check(
        "begin null; exception when sqlstate 'xx' then null; end",
        error,
        "invalid SQLSTATE code at or near \"'xx'\"",
        "'xx'",
    );
}

/// What has no position has its line in the context.
#[test]
fn errors_without_a_position() {
    for (body, state, message) in [
        (
            "begin null; exception when no_data then null; end",
            "42704",
            "unrecognized exception condition \"no_data\"",
        ),
        ("begin raise foo; end", "42704", "unrecognized exception condition \"foo\""),
        ("begin raise notice '% %'; end", "42601", "too few parameters specified for RAISE"),
        ("begin raise notice '%', 1, 2; end", "42601", "too many parameters specified for RAISE"),
    ] {
        let error = run(body).unwrap_err();
        assert_eq!((error.code().code(), error.message()), (state, message), "{body}");
        let context = "compilation of PL/pgSQL function \"inline_code_block\" near line 1";
        assert_eq!(error.context.as_deref(), Some(context), "{body}");
    }
}

#[test]
fn what_is_nested_too_deeply_is_refused() {
    let body = format!("{}null; {} end", "begin ".repeat(3000), "end; ".repeat(2999));
    let error = run(&body).unwrap_err();
    assert_eq!(error.code().code(), "54001");
    let body = format!("begin {} null; {} end", "if true then ".repeat(900), "end if; ".repeat(900));
    run(&body).unwrap();
}
