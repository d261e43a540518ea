//! The part of Go's templates that people use with `--format`: text, `{{.A.B}}`, `{{json .A}}`, `{{index .A "key"}}`.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use super::one_line;

/// How a value's text is written.
type Spell<'a> = &'a dyn Fn(&str) -> Cow<'_, str>;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("template parsing error: '{{{{' is not closed")]
    Open,
    #[error(
        "template parsing error: '{action}' is not understood; known are .Field, json .Field, index .Field \"key\""
    )]
    Action { action: String },
    #[error("template error: there is no field {field}")]
    Field { field: String },
}

/// A parsed template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Action { json: bool, path: Vec<String> },
}

impl Template {
    /// Parses. `\t`, `\n` and `\\` have their meaning of Go strings, because shells pass them on as they are.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, tail) = after.split_once("}}").ok_or(TemplateError::Open)?;
            parts.push(Part::Text(unescape(before)));
            parts.push(parse_action(action)?);
            rest = tail;
        }
        parts.push(Part::Text(unescape(rest)));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        Ok(Self { parts })
    }

    /// Fills it in.
    pub(crate) fn render(&self, data: &Value) -> Result<String, TemplateError> {
        self.fill(data, &|text| Cow::Borrowed(text))
    }

    /// Fills it in for a list, where each object has a line: its values have none of their own.
    pub(crate) fn render_line(&self, data: &Value) -> Result<String, TemplateError> {
        self.fill(data, &|text| one_line(text))
    }

    fn fill(&self, data: &Value, spell: Spell<'_>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Action { json: true, path } => text.push_str(&resolve(data, path)?.to_string()),
                Part::Action { json: false, path } => show(resolve(data, path)?, spell, &mut text),
            }
        }
        Ok(text)
    }

    /// The same with the last name of each field in its place: the header of a table.
    pub(crate) fn header(&self, title: impl Fn(&str) -> String) -> String {
        let heading = |part: &Part| match part {
            Part::Text(literal) => literal.clone(),
            Part::Action { path, .. } => title(path.last().map_or("", String::as_str)),
        };
        self.parts.iter().map(heading).collect()
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let meant = match (letter, letters.peek()) {
            ('\\', Some('t')) => '\t',
            ('\\', Some('n')) => '\n',
            ('\\', Some('\\')) => '\\',
            _ => {
                out.push(letter);
                continue;
            }
        };
        letters.next();
        out.push(meant);
    }
    out
}

fn parse_action(text: &str) -> Result<Part, TemplateError> {
    let bad = || TemplateError::Action { action: format!("{{{{{text}}}}}") };
    let words = split_words(text).ok_or_else(bad)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (json, words) = match words[..] {
        ["json", ref rest @ ..] => (true, rest.to_vec()),
        _ => (false, words),
    };
    let path = match words[..] {
        [path] => fields(path),
        ["index", path, ref keys @ ..] if !json && !keys.is_empty() => fields(path).and_then(|mut path| {
            for key in keys {
                path.push(key.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            }
            Some(path)
        }),
        _ => None,
    };
    Ok(Part::Action { json, path: path.ok_or_else(bad)? })
}

/// Splits at blanks outside of quotes; the quotes stay.
fn split_words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        quoted ^= letter == '"';
        if letter.is_whitespace() && !quoted {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(letter);
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    (!quoted).then_some(words)
}

/// `.` is the whole, `.A.B` a field in a field.
fn fields(path: &str) -> Option<Vec<String>> {
    let path = path.strip_prefix('.')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    let name = |part: &str| !part.is_empty() && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    path.split('.').all(name).then(|| path.split('.').map(str::to_owned).collect())
}

fn resolve<'a>(data: &'a Value, path: &[String]) -> Result<&'a Value, TemplateError> {
    let mut value = data;
    for (depth, name) in path.iter().enumerate() {
        let next = match value {
            Value::Array(items) => name.parse::<usize>().ok().and_then(|at| items.get(at)),
            _ => value.get(name),
        };
        value = next.ok_or_else(|| TemplateError::Field { field: format!(".{}", path[..=depth].join(".")) })?;
    }
    Ok(value)
}

/// As Go prints values: strings bare, lists as `[a b]`, maps as `map[k:v]` in the order of keys.
fn show(value: &Value, spell: Spell<'_>, text: &mut String) {
    match value {
        Value::Null => text.push_str("<no value>"),
        Value::String(string) => text.push_str(&spell(string)),
        Value::Bool(_) | Value::Number(_) => {
            let _ = write!(text, "{value}");
        }
        Value::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(' ');
                }
                show(item, spell, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            text.push_str("map[");
            for (at, (key, item)) in entries.into_iter().enumerate() {
                if at > 0 {
                    text.push(' ');
                }
                let _ = write!(text, "{}:", spell(key));
                show(item, spell, text);
            }
            text.push(']');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn filled(template: &str) -> Result<String, TemplateError> {
        let data = json!({
            "Id": "abc", "State": {"Pid": 42, "Running": true, "Error": null}, "Args": ["a", "b"],
            "Labels": {"z": "1", "com.x": "two words"}
        });
        Template::parse(template)?.render(&data)
    }

    #[test]
    fn fields_and_text() {
        for (template, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("{{.Id}}", "abc"),
            ("{{ .State.Pid }} {{.Id}}!", "42 abc!"),
            ("{{.State.Running}}", "true"),
            ("{{.State.Error}}", "<no value>"),
            ("{{json .State}}", r#"{"Pid":42,"Running":true,"Error":null}"#),
            ("{{json .Id}}", "\"abc\""),
            ("{{.Args}}", "[a b]"),
            ("{{index .Args \"1\"}}", "b"),
            ("{{.Labels}}", "map[com.x:two words z:1]"),
            ("{{index .Labels \"com.x\"}}", "two words"),
            (r"{{.Id}}\t{{.Id}}\n\\x\q", "abc\tabc\n\\x\\q"),
        ] {
            assert_eq!(filled(template).as_deref(), Ok(wanted), "{template}");
        }
        assert!(filled("{{json .}}").unwrap().starts_with("{\"Id\":\"abc\""));
    }

    #[test]
    fn complaints() {
        for (template, wanted) in [
            ("{{.Id", "template parsing error: '{{' is not closed"),
            ("{{.Bogus}}", "template error: there is no field .Bogus"),
            ("{{.State.Bogus.X}}", "template error: there is no field .State.Bogus"),
            ("{{.Id.X}}", "template error: there is no field .Id.X"),
        ] {
            assert_eq!(filled(template).unwrap_err().to_string(), wanted, "{template}");
        }
        for bad in [
            "{{}}",
            "{{Id}}",
            "{{.A..B}}",
            "{{range .Args}}",
            "{{json}}",
            "{{index .Labels}}",
            "{{index .L x}}",
            "{{.A \"}}",
        ] {
            assert!(matches!(filled(bad), Err(TemplateError::Action { .. })), "{bad}");
        }
    }

    #[test]
    fn in_a_list_a_value_stays_on_its_line() {
        let data = json!({"Labels": {"a\nb": "c\td"}, "Name": "x\ny"});
        let template = Template::parse("{{.Name}}\t{{.Labels}}\n{{json .Name}}").unwrap();
        assert_eq!(template.render(&data).unwrap(), "x\ny\tmap[a\nb:c\td]\n\"x\\ny\"");
        assert_eq!(template.render_line(&data).unwrap(), "x\\ny\tmap[a\\nb:c\\td]\n\"x\\ny\"");
    }

    #[test]
    fn headers() {
        let template = Template::parse("{{.ID}}\\t{{json .Names}}").unwrap();
        assert_eq!(template.header(str::to_uppercase), "ID\tNAMES");
    }

    proptest! {
        #[test]
        fn nothing_panics(template in "(\\PC{0,4}|\\{\\{|\\}\\}|\\.[A-Z][a-z]{0,5}|json |\"|\\\\){0,8}") {
            let _ = filled(&template);
        }
    }
}
