//! Tables for people: no borders, upper-case headers, as wide as the terminal at most.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use windrow_common::time::{Timestamp, wall_clock};

/// A table. The first column holds ids or names and is never cut or wrapped.
#[derive(Debug)]
pub(crate) struct Grid {
    headers: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Grid {
    pub(crate) fn new(headers: &'static [&'static str], rows: Vec<Vec<String>>) -> Self {
        Self { headers, rows }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text, wrapped to `width` columns; no width: nothing is wrapped.
    pub(crate) fn render(&self, width: Option<u16>) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(self.headers.iter().copied());
        table.add_rows(self.rows.iter());
        match width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if let Some(ids) = table.column_mut(0) {
            ids.set_constraint(ColumnConstraint::ContentWidth);
        }
        table.trim_fmt() + "\n"
    }
}

/// Time since `millis` (since the epoch), in its largest unit: `12s`, `5m`, `3h`, `4d`.
pub(crate) fn age(millis: u64) -> String {
    short_duration(wall_clock().since(Timestamp(millis)).as_secs())
}

fn short_duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The value, or `-` where there is none.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// A time in RFC 3339, or `-`.
pub(crate) fn time_or_dash(millis: Option<u64>) -> String {
    or_dash(millis.map(Timestamp))
}

/// The name in an ARN; a name is its own.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The values separated by commas, or `-` for none.
pub(crate) fn list_or_dash(values: &[impl ToString]) -> String {
    let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
    or_dash((!texts.is_empty()).then(|| texts.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01900000-0000-7000-8000-000000000001";

    fn grid() -> Grid {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let reason = "Host i-0 was lost while the job ran on it";
        Grid::new(
            &["ID", "NAME", "REASON"],
            vec![row([ID, "align", reason]), row([ID, "並べる", "-"])],
        )
    }

    #[test]
    fn a_pipe_gets_every_column_in_full() {
        let expected = format!(
            "{:<36}  NAME    REASON\n{ID}  align   Host i-0 was lost while the job ran on it\n{ID}  並べる  -\n",
            "ID"
        );
        assert_eq!(grid().render(None), expected);
    }

    #[test]
    fn a_narrow_terminal_wraps_words_and_keeps_ids_whole() {
        let text = grid().render(Some(60));
        assert!(text.lines().all(|line| line.chars().count() <= 60), "{text}");
        assert_eq!(text.matches(ID).count(), 2, "{text}");
        assert!(text.lines().count() > 3, "{text}");
        assert_eq!(grid().render(Some(200)), grid().render(None));
    }

    #[test]
    fn ages_use_the_largest_unit() {
        let shown = [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(short_duration);
        assert_eq!(shown, ["0s", "119s", "2m", "119m", "2h", "47h", "2d"]);
    }

    #[test]
    fn what_is_absent_is_a_dash() {
        assert_eq!(or_dash(None::<u8>), "-");
        assert_eq!(time_or_dash(Some(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(list_or_dash(&[] as &[&str]), "-");
        assert_eq!(list_or_dash(&["a", "b"]), "a,b");
    }
}
