//! EXPLAIN's formats for programs: one tree of names and values as JSON, YAML or XML.

use types::stack::grown;

use crate::statement::ExplainFormat;

pub(super) enum Value<'a> {
    Text(String),
    /// A number.
    Bare(String),
    List(Vec<String>),
    Group(Fields<'a>),
    Groups(Vec<Fields<'a>>),
}

pub(super) type Fields<'a> = Vec<(&'a str, Value<'a>)>;

/// The answer about one query.
pub(super) fn document(query: &Fields<'_>, format: ExplainFormat) -> String {
    let mut out = String::new();
    match format {
        ExplainFormat::Yaml => {
            out.push_str("- ");
            yaml(query, 2, &mut out);
        }
        ExplainFormat::Xml => {
            out.push_str("<explain xmlns=\"http://www.postgresql.org/2009/explain\">\n  <Query>\n");
            xml(query, 4, &mut out);
            out.push_str("  </Query>\n</explain>");
        }
        ExplainFormat::Json | ExplainFormat::Text => {
            out.push_str("[\n  ");
            json(query, 2, &mut out);
            out.push_str("\n]");
        }
    }
    out
}

fn spaces(count: usize) -> String {
    " ".repeat(count)
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn json(fields: &Fields<'_>, indent: usize, out: &mut String) {
    let pad = spaces(indent + 2);
    out.push('{');
    for (at, (name, value)) in fields.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        out.push_str(&format!("{pad}{}: ", quoted(name)));
        match value {
            Value::Text(text) => out.push_str(&quoted(text)),
            Value::Bare(text) => out.push_str(text),
            Value::List(list) => {
                let items: Vec<String> = list.iter().map(|item| quoted(item)).collect();
                out.push_str(&format!("[{}]", items.join(", ")));
            }
            Value::Group(group) => grown(|| json(group, indent + 2, out)),
            Value::Groups(groups) => {
                out.push('[');
                for (at, group) in groups.iter().enumerate() {
                    out.push_str(if at == 0 { "\n" } else { ",\n" });
                    out.push_str(&spaces(indent + 4));
                    grown(|| json(group, indent + 4, out));
                }
                out.push_str(&format!("\n{pad}]"));
            }
        }
    }
    out.push_str(&format!("\n{}}}", spaces(indent)));
}

/// The first line stands where `out` ends.
fn yaml(fields: &Fields<'_>, indent: usize, out: &mut String) {
    let below = format!("\n{}", spaces(indent + 2));
    for (at, (name, value)) in fields.iter().enumerate() {
        if at > 0 {
            out.push_str(&format!("\n{}", spaces(indent)));
        }
        out.push_str(&format!("{name}: "));
        match value {
            Value::Text(text) => out.push_str(&quoted(text)),
            Value::Bare(text) => out.push_str(text),
            Value::List(list) => list.iter().for_each(|item| out.push_str(&format!("{below}- {}", quoted(item)))),
            Value::Group(group) => {
                out.push_str(&below);
                grown(|| yaml(group, indent + 2, out));
            }
            Value::Groups(groups) => {
                for group in groups {
                    out.push_str(&format!("{below}- "));
                    grown(|| yaml(group, indent + 4, out));
                }
            }
        }
    }
}

fn xml(fields: &Fields<'_>, indent: usize, out: &mut String) {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let pad = spaces(indent);
    for (name, value) in fields {
        let tag = name.replace(' ', "-");
        match value {
            Value::Text(text) | Value::Bare(text) => {
                out.push_str(&format!("{pad}<{tag}>{}</{tag}>\n", escaped(text)));
                continue;
            }
            _ => out.push_str(&format!("{pad}<{tag}>\n")),
        }
        match value {
            Value::Text(_) | Value::Bare(_) => {}
            Value::List(list) => {
                list.iter().for_each(|item| out.push_str(&format!("{pad}  <Item>{}</Item>\n", escaped(item))));
            }
            Value::Group(group) => grown(|| xml(group, indent + 2, out)),
            Value::Groups(groups) => {
                for group in groups {
                    out.push_str(&format!("{pad}  <Plan>\n"));
                    grown(|| xml(group, indent + 4, out));
                    out.push_str(&format!("{pad}  </Plan>\n"));
                }
            }
        }
        out.push_str(&format!("{pad}</{tag}>\n"));
    }
}
