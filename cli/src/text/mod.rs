//! How things are written for people and scripts: durations, times, tables, templates.

pub(crate) mod elapsed;
pub(crate) mod listing;
pub(crate) mod moment;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod template;

use std::borrow::Cow;

/// A text from elsewhere as it may be shown: control characters would move the cursor, colour the screen or type
/// answers. They are spelled as JSON spells them, so that JSON keeps its meaning. Newlines and tabs stay.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    spell(text, |letter| letter.is_control() && !matches!(letter, '\n' | '\t'))
}

/// The same on one line, and in one cell of a table.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    spell(text, char::is_control)
}

fn spell(text: &str, is_odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_odd) {
        return Cow::Borrowed(text);
    }
    let mut spelled = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\n' if is_odd(letter) => spelled.push_str("\\n"),
            '\t' if is_odd(letter) => spelled.push_str("\\t"),
            '\r' => spelled.push_str("\\r"),
            letter if is_odd(letter) => spelled.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => spelled.push(letter),
        }
    }
    Cow::Owned(spelled)
}

/// The same, cut to `width` letters, of which the last three are then dots.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = one_line(text);
    if text.chars().count() <= width {
        return text.into_owned();
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled() {
        let bad = "a\x1b[2J\u{9b}1m\x07\r\x7f\u{0}é\n\tb";
        assert_eq!(shown(bad), "a\\u001b[2J\\u009b1m\\u0007\\r\\u007f\\u0000é\n\tb");
        assert_eq!(one_line(bad), "a\\u001b[2J\\u009b1m\\u0007\\r\\u007f\\u0000é\\n\\tb");
        assert!(matches!(shown("plain é\n"), Cow::Borrowed(_)));
    }

    /// JSON leaves DEL and the second set of control characters as they are: their spelling here means the same.
    #[test]
    fn json_stays_json() {
        let value = serde_json::json!({ "a\u{7f}": "\u{9b}31m\x1b \n" });
        let text = value.to_string();
        let shown = shown(&text);
        assert!(!shown.contains(char::is_control));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }
}
