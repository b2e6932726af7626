//! Columns of text, as kubectl prints them. Pure.

/// Blanks between two columns.
pub const GAP: usize = 3;

/// Lines of a table: each column as wide as its widest cell, nothing cut.
pub fn lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    lines_apart(GAP, head, rows)
}

/// The same with as many blanks between two columns.
pub fn lines_apart(gap: usize, head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let widest = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|column| widest(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<0$}", width + gap));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Text without control characters: what others wrote must not move the cursor.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// A time as kubectl prints ages: `42s`, `5m`, `3h`, `2d`.
pub fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec!["├─ b".to_owned(), "1".to_owned()],
            vec!["c\u{1b}[2J".to_owned(), String::new()],
        ];
        assert_eq!(lines(&["A", "LONG"], &rows), ["A       LONG", "├─ b    1", "c [2J"]);
    }

    #[test]
    fn ages_are_short() {
        let ages = [(-5, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (172_800, "2d")];
        for (seconds, text) in ages {
            assert_eq!(age(seconds), text);
        }
    }
}
