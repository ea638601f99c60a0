//! Writes paths as PostgreSQL does.

use super::{Arithmetic, Item, JsonPath, LEVEL_MAX, Method, Node, Step};
use crate::json::Json;
use crate::stack::deep;

impl JsonPath {
    pub fn write(&self, out: &mut Vec<u8>) {
        if !self.is_lax {
            out.extend_from_slice(b"strict ");
        }
        deep(|| write_node(&self.root, true, out));
    }
}

/// Higher binds tighter.
fn priority(item: &Item) -> u8 {
    match item {
        Item::Or(..) => 0,
        Item::And(..) => 1,
        Item::Compare(..) | Item::StartsWith(..) => 2,
        Item::Arithmetic(Arithmetic::Add | Arithmetic::Subtract, ..) => 3,
        Item::Arithmetic(Arithmetic::Multiply | Arithmetic::Divide | Arithmetic::Modulo, ..) => 4,
        Item::Plus(_) | Item::Minus(_) => 5,
        Item::Null | Item::Bool(_) | Item::Number(_) | Item::String(_) | Item::Root | Item::Current | Item::Variable(_)
        | Item::Last | Item::Not(_) | Item::IsUnknown(_) | Item::Exists(_) | Item::LikeRegex(..) => 6,
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    Json::String(text.into()).write(out);
}

fn write_node(node: &Node, is_grouped: bool, out: &mut Vec<u8>) {
    let is_grouped = is_grouped || !node.steps.is_empty();
    let has_group = is_grouped
        && (matches!(node.item, Item::LikeRegex(..)) || priority(&node.item) < 6)
        || !node.steps.is_empty() && matches!(node.item, Item::Number(_));
    if has_group {
        out.push(b'(');
    }
    write_item(&node.item, out);
    if has_group {
        out.push(b')');
    }
    node.steps.iter().for_each(|step| write_step(step, out));
}

fn write_operands(item: &Item, left: &Node, operator: &str, right: &Node, out: &mut Vec<u8>) {
    let of = priority(item);
    write_node(left, priority(&left.item) <= of, out);
    out.extend_from_slice(format!(" {operator} ").as_bytes());
    write_node(right, priority(&right.item) <= of, out);
}

fn write_item(item: &Item, out: &mut Vec<u8>) {
    match item {
        Item::Null => out.extend_from_slice(b"null"),
        Item::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Item::Number(number) => number.write(out),
        Item::String(text) => write_string(text, out),
        Item::Root => out.push(b'$'),
        Item::Current => out.push(b'@'),
        Item::Variable(name) => {
            out.push(b'$');
            write_string(name, out);
        }
        Item::Last => out.extend_from_slice(b"last"),
        Item::Plus(inner) | Item::Minus(inner) => {
            out.push(if matches!(item, Item::Plus(_)) { b'+' } else { b'-' });
            write_node(inner, priority(&inner.item) <= priority(item), out);
        }
        Item::Arithmetic(operator, left, right) => write_operands(item, left, operator.symbol(), right, out),
        Item::Compare(operator, left, right) => write_operands(item, left, operator.symbol(), right, out),
        Item::And(left, right) => write_operands(item, left, "&&", right, out),
        Item::Or(left, right) => write_operands(item, left, "||", right, out),
        Item::StartsWith(left, right) => write_operands(item, left, "starts with", right, out),
        Item::Not(inner) => {
            out.extend_from_slice(b"!(");
            write_node(inner, false, out);
            out.push(b')');
        }
        Item::IsUnknown(inner) => {
            out.push(b'(');
            write_node(inner, false, out);
            out.extend_from_slice(b") is unknown");
        }
        Item::Exists(inner) => {
            out.extend_from_slice(b"exists (");
            write_node(inner, false, out);
            out.push(b')');
        }
        Item::LikeRegex(inner, pattern, flags) => {
            write_node(inner, priority(&inner.item) <= 6 && priority(&inner.item) != 6, out);
            out.extend_from_slice(b" like_regex ");
            write_string(pattern, out);
            let letters = [('i', flags.ignores_case), ('s', flags.dot_all), ('m', flags.multiline), ('q', flags.is_literal)];
            let letters: String = letters.iter().filter(|(_, is_set)| *is_set).map(|(letter, _)| *letter).collect();
            if !letters.is_empty() {
                out.extend_from_slice(format!(" flag \"{letters}\"").as_bytes());
            }
        }
    }
}

fn write_step(step: &Step, out: &mut Vec<u8>) {
    match step {
        Step::Key(key) => {
            out.push(b'.');
            write_string(key, out);
        }
        Step::AnyKey => out.extend_from_slice(b".*"),
        Step::AnyElement => out.extend_from_slice(b"[*]"),
        Step::Elements(list) => {
            out.push(b'[');
            for (at, (first, last)) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_node(first, false, out);
                if let Some(last) = last {
                    out.extend_from_slice(b" to ");
                    write_node(last, false, out);
                }
            }
            out.push(b']');
        }
        Step::AnyLevel { first, last } => out.extend_from_slice(
            match (*first, *last) {
                (0, LEVEL_MAX) => ".**".to_owned(),
                (LEVEL_MAX, LEVEL_MAX) => ".**{last}".to_owned(),
                (first, last) if first == last => format!(".**{{{first}}}"),
                (LEVEL_MAX, last) => format!(".**{{last to {last}}}"),
                (first, LEVEL_MAX) => format!(".**{{{first} to last}}"),
                (first, last) => format!(".**{{{first} to {last}}}"),
            }
            .as_bytes(),
        ),
        Step::Filter(inner) => {
            out.extend_from_slice(b"?(");
            write_node(inner, false, out);
            out.push(b')');
        }
        Step::Method(Method::Datetime(template)) => {
            out.extend_from_slice(b".datetime(");
            if let Some(template) = template {
                write_string(template, out);
            }
            out.push(b')');
        }
        Step::Method(method) => out.extend_from_slice(format!(".{}()", method.name()).as_bytes()),
    }
}
