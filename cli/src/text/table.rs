//! Columns: each padded to its widest cell, with a tab between them.

/// Sets rows of tab-separated cells in columns. Rows may differ in their number of cells.
pub(crate) fn aligned(rows: &[String]) -> String {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split('\t').collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &cells {
        let padded = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(&padded.collect::<Vec<_>>().join("\t"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = ["A\tB".to_owned(), "long\tx".to_owned(), "é\tyy\tz".to_owned()];
        assert_eq!(aligned(&rows), "A   \tB \nlong\tx \né   \tyy\tz\n");
        assert_eq!(aligned(&[]), "");
    }
}
