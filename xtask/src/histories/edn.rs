//! Reads the notation of recorded histories (EDN) as far as they use it, into JSON's values: keywords and symbols become
//! strings, sets and lists become arrays, and keys of maps become strings.

use std::iter::Peekable;
use std::str::Chars;

use serde_json::{Map, Value};

/// All values of a text, one after the other.
pub fn read_all(text: &str) -> Result<Vec<Value>, String> {
    let mut reader = Reader { rest: text.chars().peekable() };
    let mut values = Vec::new();
    while reader.skip_blanks() {
        values.push(reader.value()?);
    }
    Ok(values)
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
}

impl Reader<'_> {
    /// Skips blanks, commas and comments; whether anything is left.
    fn skip_blanks(&mut self) -> bool {
        while let Some(next) = self.rest.peek() {
            match next {
                ';' => while self.rest.next().is_some_and(|it| it != '\n') {},
                ',' => drop(self.rest.next()),
                blank if blank.is_whitespace() => drop(self.rest.next()),
                _ => return true,
            }
        }
        false
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.rest.peek().copied() {
            Some('[') => self.sequence(']'),
            Some('(') => self.sequence(')'),
            Some('{') => self.map(),
            Some('"') => self.string(),
            Some('#') => {
                self.rest.next();
                match self.rest.peek() {
                    Some('{') => self.sequence('}'),
                    // A tagged value: the tag says nothing here.
                    _ => {
                        self.word();
                        self.skip_blanks();
                        self.value()
                    }
                }
            }
            Some(_) => self.atom(),
            None => Err("the text ends within a value".into()),
        }
    }

    fn sequence(&mut self, end: char) -> Result<Value, String> {
        self.rest.next();
        let mut values = Vec::new();
        loop {
            if !self.skip_blanks() {
                return Err(format!("no {end}"));
            }
            if self.rest.next_if_eq(&end).is_some() {
                return Ok(Value::Array(values));
            }
            values.push(self.value()?);
        }
    }

    fn map(&mut self) -> Result<Value, String> {
        let Value::Array(parts) = self.sequence('}')? else { return Ok(Value::Null) };
        let mut map = Map::new();
        for pair in parts.chunks(2) {
            let [key, value] = pair else { return Err("a key without a value".into()) };
            map.insert(key.as_str().map_or_else(|| key.to_string(), str::to_owned), value.clone());
        }
        Ok(Value::Object(map))
    }

    fn string(&mut self) -> Result<Value, String> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(Value::String(text)),
                Some('\\') => match self.rest.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(other) => text.push(other),
                    None => return Err("a string without an end".into()),
                },
                Some(other) => text.push(other),
                None => return Err("a string without an end".into()),
            }
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(next) = self.rest.next_if(|it| !it.is_whitespace() && !"[](){}\",;".contains(*it)) {
            word.push(next);
        }
        word
    }

    fn atom(&mut self) -> Result<Value, String> {
        let word = self.word();
        Ok(match word.as_str() {
            "" => return Err(format!("unexpected {:?}", self.rest.next())),
            "nil" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            other => match (other.strip_prefix(':'), other.parse::<i64>()) {
                (Some(keyword), _) => keyword.into(),
                (None, Ok(number)) => number.into(),
                (None, Err(_)) => other.into(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_recorded_histories_hold() {
        let text = "{:type :ok, :value [[:r 2 nil] #{1 2}] 0 \"a\\\"b\"} ; said\n (-7 #x.Y{:z true})";
        let read = read_all(text).unwrap();
        assert_eq!(read, [json!({"type": "ok", "value": [["r", 2, null], [1, 2]], "0": "a\"b"}), json!([-7, {"z": true}])]);
        assert!(read_all("[1 2").is_err());
    }
}
