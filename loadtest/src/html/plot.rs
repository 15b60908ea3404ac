//! Line charts as SVG: no script, colours from style variables, so that they follow the page.

use std::fmt::Write;

use super::axis::{Axis, Scale};

/// Size of a chart in its own units.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Room for labels.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 38.0;
/// Marks closer than this share a place, and only the first is named.
const MARK_ROOM: f64 = 64.0;

/// One line.
#[derive(Debug, Clone)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Points from left to right; where a value is missing the line is broken.
    pub points: Vec<(f64, Option<f64>)>,
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Unit of the values; empty where the title says what is counted.
    pub unit: &'static str,
    /// What the horizontal axis is.
    pub across: &'static str,
    /// How that axis is laid out.
    pub across_scale: Scale,
    /// How the values are laid out.
    pub scale: Scale,
    /// The lines.
    pub series: Vec<Series>,
    /// Named places on the horizontal axis.
    pub marks: Vec<(f64, String)>,
    /// The part of it that counts.
    pub span: Option<(f64, f64)>,
    /// A value that must not be exceeded.
    pub limit: Option<f64>,
}

impl Chart {
    /// A chart over the seconds of a run.
    #[must_use]
    pub fn over_time(title: &str, unit: &'static str, series: Vec<Series>) -> Self {
        Self {
            title: title.to_owned(),
            unit,
            across: "s",
            across_scale: Scale::Linear,
            scale: Scale::Linear,
            series,
            marks: Vec::new(),
            span: None,
            limit: None,
        }
    }

    /// Title and unit.
    #[must_use]
    pub fn caption(&self) -> String {
        if self.unit.is_empty() {
            return self.title.clone();
        }
        format!("{}, {}", self.title, self.unit)
    }

    /// The chart as an `svg` element.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // Writing into memory cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let points = || self.series.iter().flat_map(|line| &line.points);
        let values = points().filter_map(|(_, value)| *value).chain(self.limit);
        let down = Axis::new(self.scale, values, HEIGHT - BOTTOM, TOP);
        let across = points().map(|(x, _)| *x);
        let across = Axis::new(self.across_scale, across, LEFT, WIDTH - RIGHT);
        let title = escape(&self.title);
        write!(
            out,
            r#"<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">"#
        )?;
        if let Some((from, to)) = self.span {
            let (from, to) = (across.place(from), across.place(to));
            let (width, height) = ((to - from).max(0.0), HEIGHT - BOTTOM - TOP);
            write!(
                out,
                r#"<rect class="span" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
            )?;
        }
        self.write_grid(out, &across, &down)?;
        if let Some(limit) = self.limit {
            let y = down.place(limit);
            let right = WIDTH - RIGHT;
            write!(
                out,
                r#"<line class="limit" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/>"#
            )?;
        }
        for (number, line) in self.series.iter().enumerate() {
            let path = path(line, &across, &down);
            let class = number % COLOURS;
            write!(out, r#"<path class="line c{class}" d="{path}"/>"#)?;
        }
        // Above the lines, which often run where the names are.
        self.write_marks(out, &across)?;
        out.push_str("</svg>");
        Ok(())
    }

    fn write_grid(&self, out: &mut String, across: &Axis, down: &Axis) -> std::fmt::Result {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in down.ticks() {
            let (y, label) = (down.place(value), short(value));
            write!(
                out,
                r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/><text class="tick end" x="{x}" y="{text:.1}">{label}</text>"#,
                x = LEFT - 6.0,
                text = y + 4.0,
            )?;
        }
        for value in across.ticks() {
            let (x, label) = (across.place(value), short(value));
            let y = bottom + 16.0;
            write!(
                out,
                r#"<text class="tick mid" x="{x:.1}" y="{y}">{label}</text>"#
            )?;
        }
        let name = escape(self.across);
        write!(
            out,
            r#"<text class="tick end" x="{right}" y="{y}">{name}</text>"#,
            y = HEIGHT - 4.0,
        )
    }

    fn write_marks(&self, out: &mut String, across: &Axis) -> std::fmt::Result {
        let mut free = f64::MIN;
        for (at, name) in &self.marks {
            let (x, bottom) = (across.place(*at), HEIGHT - BOTTOM);
            let name = escape(name);
            write!(
                out,
                r#"<line class="mark" x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{bottom}"><title>{name}</title></line>"#
            )?;
            if x >= free {
                let is_last = x > WIDTH - RIGHT - MARK_ROOM;
                let (text, side) = if is_last {
                    (x - 3.0, " end")
                } else {
                    (x + 3.0, "")
                };
                let y = TOP + 10.0;
                write!(
                    out,
                    r#"<text class="name{side}" x="{text:.1}" y="{y}">{name}</text>"#
                )?;
                free = x + MARK_ROOM;
            }
        }
        Ok(())
    }

    /// The chart as a file of its own, with title, legend and colours.
    #[must_use]
    pub fn file(&self) -> String {
        let (title, height) = (escape(&self.caption()), HEIGHT + 48.0);
        let mut legend = String::new();
        let mut x = LEFT;
        for (number, line) in self.series.iter().enumerate() {
            let (class, name) = (number % COLOURS, escape(&line.name));
            let _ = write!(
                legend,
                r#"<line class="line c{class}" x1="{x:.1}" y1="36" x2="{to:.1}" y2="36"/><text class="tick" x="{text:.1}" y="40">{name}</text>"#,
                to = x + 16.0,
                text = x + 20.0,
            );
            #[expect(clippy::cast_precision_loss, reason = "the length of a name")]
            let room = name.len() as f64 * 6.6 + 40.0;
            x += room;
        }
        let plot = self.svg();
        let plot = plot.replacen("<svg ", r#"<svg y="48" height="240" "#, 1);
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"><title>{title}</title><style>{COLOUR_STYLE}{PLOT_STYLE}text{{font-family:system-ui,sans-serif}}</style><rect class="paper" width="{WIDTH}" height="{height}"/><text class="head" x="4" y="18">{title}</text>{legend}{plot}</svg>
"#
        )
    }
}

/// Colours of lines.
pub const COLOURS: usize = 6;
/// Colours of pages and charts, light and dark.
pub const COLOUR_STYLE: &str = include_str!("colours.css");
/// How charts look.
pub const PLOT_STYLE: &str = include_str!("plot.css");

fn path(line: &Series, across: &Axis, down: &Axis) -> String {
    let mut out = String::new();
    let mut pen = 'M';
    for (x, value) in &line.points {
        let Some(value) = value else {
            pen = 'M';
            continue;
        };
        let (x, y) = (across.place(*x), down.place(*value));
        let _ = write!(out, "{pen}{x:.1} {y:.1}");
        if pen == 'M' {
            // A lone point is a line of no length, which has round ends.
            let _ = write!(out, "L{x:.1} {y:.1}");
        }
        pen = 'L';
    }
    out
}

/// A number in a few characters: `0.25`, `1.5k`, `20M`.
#[must_use]
pub fn short(value: f64) -> String {
    // Nothing has a sign: a sum of no numbers is -0.
    let value = value + 0.0;
    let size = value.abs();
    let (value, unit) = match size {
        1e9.. => (value / 1e9, "G"),
        1e6.. => (value / 1e6, "M"),
        1e4.. => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        0.0 => 0,
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        0.001.. => 3,
        _ => 6,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Text that may stand in an element or in quotes.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.25, "0.25"),
            (5.0, "5"),
            (1_500.0, "1500"),
            (15_500.0, "15.5k"),
            (20_000_000.0, "20M"),
            (100.0, "100"),
            (0.0001, "0.0001"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_chart_breaks_its_line_where_there_is_no_value_and_escapes_names() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(2.0))];
        let mut chart = Chart::over_time(
            "a < b",
            "ms",
            vec![Series {
                name: "p50".into(),
                points,
            }],
        );
        chart.marks = vec![(1.0, "cut & gone".into())];
        let svg = chart.svg();
        assert_eq!(svg.matches('M').count(), 2, "{svg}");
        assert!(
            svg.contains("a &lt; b") && svg.contains("cut &amp; gone"),
            "{svg}"
        );
        assert!(chart.file().starts_with("<svg xmlns="));
    }
}
