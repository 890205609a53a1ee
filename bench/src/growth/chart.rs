//! A chart as SVG, for light and dark pages: its own white ground, no scripts.
//!
//! A logarithmic axis is a linear one of logarithms with its own labels. Invariant: ticks of x stand at the points that were
//! asked for, and nothing is drawn where nothing was measured.

use anyhow::{Result, anyhow};
use plotters::{
    chart::{ChartBuilder, ChartContext},
    coord::{
        Shift,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    },
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, Rectangle, Text},
    prelude::{Cartesian2d, SVGBackend},
    series::LineSeries,
    style::{BLACK, Color, RGBColor, WHITE},
};

const SIZE: (u32, u32) = (880, 460);
/// Where the legend begins.
const LEGEND_X: u32 = 660;
const FONT: &str = "sans-serif";
/// Those of Okabe and Ito, which most people can tell apart.
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(240, 228, 66),
    RGBColor(120, 120, 120),
];

/// What is drawn.
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Scale,
    pub(super) y: Scale,
    pub(super) series: Vec<Series>,
    /// Bars on top of one another at each x; else lines.
    pub(super) stacked: bool,
}

/// An axis.
pub(super) struct Scale {
    /// With its unit.
    pub(super) label: String,
    pub(super) log: bool,
    /// Where ticks are; none: where it is convenient.
    pub(super) ticks: Vec<f64>,
}

/// What has a name in the legend. Stacked ones have the same x each; a line has a gap where y is NaN.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

type Ground<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Plane<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Places, Places>>;

/// A linear stretch with its ticks.
struct Places {
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    #[expect(clippy::cast_possible_truncation, reason = "a pixel of the chart")]
    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        first + (f64::from(last - first) * share).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        if self.log { value.log10() } else { value }
    }

    fn label_of(&self, place: f64) -> String {
        number(if self.log { 10_f64.powf(place) } else { place })
    }

    fn over(&self, (low, high): (f64, f64)) -> Places {
        Places { low, high, ticks: self.places() }
    }

    fn places(&self) -> Vec<f64> {
        self.ticks.iter().map(|tick| self.at(*tick)).collect()
    }
}

/// With thousands parted, and no more digits than it takes.
fn number(value: f64) -> String {
    let rounded = (value * 1e4).round() / 1e4;
    if rounded.abs() < 1_000.0 {
        return format!("{rounded}");
    }
    let digits = format!("{value:.0}");
    let part = |(at, digit): (usize, char)| {
        let comma = at > 0 && (digits.len() - at).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(part).collect()
}

/// 1, 2 or 5 of a power of ten, about six of them up to `top`.
fn steps(top: f64) -> Vec<f64> {
    let rough = top / 6.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    std::iter::successors(Some(0.0), |at| Some(at + step)).take_while(|at| *at <= top * 1.0001).collect()
}

/// 1, 2 and 5 of each power of ten within.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let powers = std::iter::successors(Some(10_f64.powf(low.log10().floor())), |at| Some(at * 10.0));
    let all = powers.take_while(|power| *power <= high).flat_map(|power| [power, 2.0 * power, 5.0 * power]);
    all.filter(|tick| (low * 0.9999..=high * 1.0001).contains(tick)).collect()
}

impl Chart {
    /// The whole file.
    pub(super) fn svg(mut self) -> Result<String> {
        let mut text = String::new();
        {
            let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw(&root).map_err(|error| anyhow!("draw {}: {error}", self.title))?;
        }
        Ok(text)
    }

    fn draw(&mut self, root: &Ground) -> Result<(), Box<dyn std::error::Error>> {
        root.fill(&WHITE)?;
        let (left, right) = root.split_horizontally(LEGEND_X);
        let (xs, ys) = (self.x_range(), self.y_range());
        let mut plane = ChartBuilder::on(&left)
            .caption(&self.title, (FONT, 17))
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(70)
            .build_cartesian_2d(self.x.over(xs), self.y.over(ys))?;
        plane
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.15))
            .x_desc(&self.x.label)
            .y_desc(&self.y.label)
            .x_label_formatter(&|place| self.x.label_of(*place))
            .y_label_formatter(&|place| self.y.label_of(*place))
            .label_style((FONT, 13))
            .axis_desc_style((FONT, 14))
            .draw()?;
        if self.stacked {
            self.bars(&mut plane, xs)?;
        } else {
            self.lines(&mut plane)?;
        }
        self.legend(&right)?;
        root.present()?;
        Ok(())
    }

    fn bars(&self, plane: &mut Plane, xs: (f64, f64)) -> Result<(), Box<dyn std::error::Error>> {
        // Half of the room between two of them.
        let half = (xs.1 - xs.0) / 4.0 / f64::from(u32::try_from(self.x.ticks.len().max(1))?);
        for tick in &self.x.ticks {
            let (at, mut below) = (self.x.at(*tick), 0.0);
            for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
                let height: f64 =
                    series.points.iter().filter(|(x, _)| x.total_cmp(tick).is_eq()).map(|(_, y)| y).sum();
                let corners = [(at - half, below), (at + half, below + height)];
                if height > 0.0 {
                    plane.draw_series([Rectangle::new(corners, color.filled())])?;
                }
                below += height;
            }
        }
        Ok(())
    }

    fn lines(&self, plane: &mut Plane) -> Result<(), Box<dyn std::error::Error>> {
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            let at = |(x, y): &(f64, f64)| (self.x.at(*x), self.y.at(*y));
            let points: Vec<(f64, f64)> = series.points.iter().map(at).collect();
            for stretch in points.split(|(_, y)| y.is_nan()) {
                plane.draw_series(LineSeries::new(stretch.iter().copied(), color.stroke_width(2)))?;
                plane.draw_series(stretch.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
            }
        }
        Ok(())
    }

    /// As the bars lie: the last one on top.
    fn legend(&self, area: &Ground) -> Result<(), Box<dyn std::error::Error>> {
        let mut entries: Vec<_> = self.series.iter().zip(COLORS.iter().cycle()).collect();
        if self.stacked {
            entries.reverse();
        }
        for (y, (series, color)) in (48..).step_by(22).zip(entries) {
            area.draw(&Rectangle::new([(4, y), (18, y + 12)], color.filled()))?;
            area.draw(&Text::new(series.name.clone(), (26, y), (FONT, 13)))?;
        }
        Ok(())
    }

    fn x_range(&mut self) -> (f64, f64) {
        if self.x.ticks.is_empty() {
            self.x.ticks = self.series.iter().flat_map(|series| &series.points).map(|(x, _)| *x).collect();
        }
        self.x.ticks.sort_by(f64::total_cmp);
        self.x.ticks.dedup();
        let places = self.x.places();
        let (first, last) = (places.first().copied().unwrap_or(0.0), places.last().copied().unwrap_or(1.0));
        let room = ((last - first) / 12.0).max(0.1);
        (first - room, last + room)
    }

    fn y_range(&mut self) -> (f64, f64) {
        let ys = self.series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
        let (low, high) = ys.fold((f64::INFINITY, 0.0_f64), |(low, high), y| (low.min(y), high.max(y)));
        let high = if high > 0.0 { high } else { 1.0 };
        if self.y.log {
            let low = if low.is_finite() && low > 0.0 { low } else { high / 10.0 };
            self.y.ticks = decades(low / 2.0, high * 2.0);
            return (self.y.at(low / 2.0), self.y.at(high * 2.0));
        }
        // The top of the highest bar.
        let stack = |tick: &f64| -> f64 {
            let here = |(x, _): &&(f64, f64)| x.total_cmp(tick).is_eq();
            self.series.iter().flat_map(|series| &series.points).filter(here).map(|(_, y)| y).sum()
        };
        let top = if self.stacked { self.x.ticks.iter().map(stack).fold(0.0, f64::max) } else { high };
        let top = if top > 0.0 { top * 1.08 } else { 1.0 };
        self.y.ticks = steps(top);
        (0.0, top)
    }
}

#[cfg(test)]
mod tests;
