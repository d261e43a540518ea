//! Lists: a table, lines by a template, or JSON, according to `--format`.

use serde_json::Value;

use super::{table, template::Template};
use crate::failure::Failure;

/// How each row of a list is printed.
pub(crate) enum Listing {
    Json,
    Rows { template: Template, title: Option<fn(&str) -> String> },
}

impl Listing {
    /// Reads `--format`: `json`, a template, or one behind the word `table`, which has headings. `default` stands in
    /// for an absent one and for `table` alone. An unknown field is refused with the help of `sample`, also when there
    /// will be no row.
    pub(crate) fn new(
        format: Option<&str>,
        default: &str,
        title: fn(&str) -> String,
        sample: &Value,
    ) -> Result<Self, Failure> {
        let format = format.filter(|format| !matches!(format.trim(), "" | "table")).unwrap_or(default);
        if format == "json" {
            return Ok(Self::Json);
        }
        let (title, format) = match format.strip_prefix("table ") {
            Some(rest) => (Some(title), rest.trim_start()),
            None => (None, format),
        };
        let template = Template::parse(format).map_err(|error| Failure::usage(error.to_string()))?;
        template.render(sample).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self::Rows { template, title })
    }

    /// The whole text.
    pub(crate) fn render(&self, rows: impl Iterator<Item = Value>) -> Result<String, Failure> {
        match self {
            Self::Json => Ok(rows.map(|row| format!("{row}\n")).collect()),
            Self::Rows { template, title } => {
                let mut lines: Vec<String> = title.map(|title| template.header(title)).into_iter().collect();
                for row in rows {
                    lines.push(template.render_line(&row).map_err(|error| Failure::usage(error.to_string()))?);
                }
                match title {
                    Some(_) => Ok(table::aligned(&lines)),
                    None => Ok(lines.iter().map(|line| format!("{line}\n")).collect()),
                }
            }
        }
    }
}
