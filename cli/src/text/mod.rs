//! How things are written for people and scripts: durations, times, tables, templates.

pub(crate) mod elapsed;
pub(crate) mod listing;
pub(crate) mod moment;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod template;

/// A text from elsewhere on one line: what would move the cursor or break a table is spelled out.
pub(crate) fn one_line(text: &str) -> String {
    let spelled = |letter: char| {
        if letter.is_control() { letter.escape_default().collect() } else { String::from(letter) }
    };
    text.chars().map(spelled).collect()
}

/// The same, cut to `width` letters, of which the last three are then dots.
pub(crate) fn cut(text: &str, width: usize) -> String {
    let text = one_line(text);
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(3)).chain("...".chars()).collect()
}
