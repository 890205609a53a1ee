//! A data file: what was measured and how, in lines that begin with `#`, then columns parted by commas.
//!
//! Invariant: a row has as many cells as there are columns; an empty cell was not measured. No cell has a comma.

use std::fmt::Write;

/// Columns and rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    comments: Vec<String>,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A number's cell: four significant digits at least, none for what is not a number.
pub(super) fn cell(value: f64) -> String {
    match value.abs() {
        _ if !value.is_finite() => String::new(),
        size if size >= 1_000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

impl Table {
    /// With these columns.
    pub(super) fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { columns, ..Self::default() }
    }

    /// What is to be known of it.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// One more row.
    ///
    /// # Panics
    /// When it has not as many cells as there are columns.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.replace([',', '\n'], ";")).collect();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// The file, under a comment more.
    pub(super) fn text(&self, comment: &str) -> String {
        let mut text = String::new();
        let comments = self.comments.iter().map(String::as_str);
        for line in std::iter::once(comment).chain(comments).flat_map(str::lines) {
            let _ = writeln!(text, "# {line}");
        }
        for cells in std::iter::once(&self.columns).chain(&self.rows) {
            let _ = writeln!(text, "{}", cells.join(","));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_with_commas_stays_in_its_cell() {
        let mut table = Table::new(["x", "note"]);
        table.comment("of two\nlines");
        table.row([cell(12.345), "void, of course".to_owned()]);
        assert_eq!(table.text("head"), "# head\n# of two\n# lines\nx,note\n12.35,void; of course\n");
    }

    #[test]
    fn what_is_no_number_is_empty() {
        assert_eq!([cell(f64::NAN), cell(4.0), cell(12_345.6), cell(0.5)], ["", "4", "12346", "0.5000"]);
    }
}
