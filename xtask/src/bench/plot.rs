//! Plots, as SVG: bars for sides, lines for what grows. What varies from round to round is drawn from min to max.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::coord::{Shift, types::RangedCoordf64};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::statistics::Summary;

type DrawError<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const FONT: &str = "sans-serif";
/// Width and height in pixels.
const PANEL: (u32, u32) = (860, 420);
/// The width of a legend.
const LEGEND: u32 = 160;
/// Distinguishable also to who sees few colours (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 86, 86),
];

/// One panel of a plot.
pub(super) enum Plot {
    Bars(Bars),
    Lines(Lines),
}

/// A bar for each side.
pub(super) struct Bars {
    pub(super) title: String,
    /// Name, figures, and what is written beside the bar.
    pub(super) bars: Vec<(String, Summary, String)>,
}

/// A line for each series of (x, figures).
pub(super) struct Lines {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<(String, Vec<(f64, Summary)>)>,
}

/// What an axis shows.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) logarithmic: bool,
}

/// Draws the panels one under the other into one file.
pub(super) fn draw(path: &Path, plots: &[Plot]) -> Result<()> {
    let root = SVGBackend::new(path, (PANEL.0, PANEL.1 * plots.len() as u32)).into_drawing_area();
    let drawn = root.fill(&WHITE).map_err(|error| anyhow!("{error}")).and_then(|()| {
        let panels = root.split_evenly((plots.len(), 1));
        plots.iter().zip(&panels).try_for_each(|(plot, panel)| match plot {
            Plot::Bars(bars) => bars.draw(panel),
            Plot::Lines(lines) => lines.draw(panel),
        })
    });
    drawn
        .and_then(|()| root.present().map_err(|error| anyhow!("{error}")))
        .map_err(|error| error.context(format!("cannot draw {}", path.display())))
}

impl Bars {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let area = area.titled(&self.title, (FONT, 20)).map_err(|error| anyhow!("{error}"))?;
        let (width, height) = area.dim_in_pixel();
        let (left, right) = (150, width as i32 - 200);
        let row = height as i32 / self.bars.len().max(1) as i32;
        let most =
            self.bars.iter().map(|(_, figures, _)| figures.max).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let x = |value: f64| left + (value / most * f64::from(right - left)) as i32;
        let text = |anchor| (FONT, 15).into_font().color(&BLACK).pos(anchor);
        for (place, (name, figures, note)) in self.bars.iter().enumerate() {
            let middle = row * place as i32 + row / 2;
            let half = (row / 3).min(14);
            let bar = [(left, middle - half), (x(figures.median), middle + half)];
            let whisker = [(x(figures.min), middle), (x(figures.max), middle)];
            let drawn = area
                .draw(&Rectangle::new(bar, COLOURS[0].mix(0.7).filled()))
                .and_then(|()| area.draw(&PathElement::new(whisker, BLACK.stroke_width(1))))
                .and_then(|()| {
                    let style = text(Pos::new(HPos::Right, VPos::Center));
                    area.draw(&Text::new(name.clone(), (left - 8, middle), style))
                })
                .and_then(|()| {
                    let style = text(Pos::new(HPos::Left, VPos::Center));
                    area.draw(&Text::new(note.clone(), (right + 8, middle), style))
                });
            drawn.map_err(|error| anyhow!("{error}"))?;
        }
        Ok(())
    }
}

impl Lines {
    fn draw(&self, area: &Area<'_>) -> Result<()> {
        let (x, y) = (self.x_range(), self.y_range());
        match (self.x.logarithmic, self.y.logarithmic) {
            (false, false) => self.chart(area, RangedCoordf64::from(x), RangedCoordf64::from(y)),
            (true, false) => self.chart(area, x.log_scale(), RangedCoordf64::from(y)),
            (false, true) => self.chart(area, RangedCoordf64::from(x), y.log_scale()),
            (true, true) => self.chart(area, x.log_scale(), y.log_scale()),
        }
    }

    fn chart<X, Y>(&self, area: &Area<'_>, x: X, y: Y) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        self.draw_chart(area, x, y).map_err(|error| anyhow!("{error}"))
    }

    fn draw_chart<'a, X, Y>(&self, area: &Area<'a>, x: X, y: Y) -> Result<(), DrawError<'a>>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let (area, legend) = if self.series.len() > 1 {
            area.split_horizontally(PANEL.0 - LEGEND)
        } else {
            area.split_horizontally(PANEL.0)
        };
        self.draw_legend(&legend)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, (FONT, 20))
            .margin(12)
            .margin_right(28)
            .x_label_area_size(48)
            .y_label_area_size(72)
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        if self.x.logarithmic {
            mesh.x_labels(4);
        }
        mesh.light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15))
            .x_desc(self.x.label)
            .y_desc(self.y.label)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()?;
        for ((_, points), colour) in self.series.iter().zip(COLOURS.iter().cycle().copied()) {
            let medians = points.iter().map(|(x, y)| (*x, y.median));
            chart.draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2)))?;
            chart.draw_series(medians.map(|point| Circle::new(point, 3, colour.filled())))?;
            let spans = points.iter().map(|(x, y)| [(*x, y.min), (*x, y.max)]);
            chart.draw_series(spans.map(|span| PathElement::new(span, colour.mix(0.6))))?;
        }
        Ok(())
    }

    /// Beside the chart, where no line runs through it.
    fn draw_legend<'a>(&self, area: &Area<'a>) -> Result<(), DrawError<'a>> {
        if self.series.len() < 2 {
            return Ok(());
        }
        let style = (FONT, 15).into_font().color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
        for (place, ((name, _), colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let y = 60 + 24 * place as i32;
            area.draw(&PathElement::new([(0, y), (22, y)], colour.stroke_width(3)))?;
            area.draw(&Text::new(name.clone(), (30, y), style.clone()))?;
        }
        Ok(())
    }

    fn points(&self) -> impl Iterator<Item = &(f64, Summary)> {
        self.series.iter().flat_map(|(_, points)| points)
    }

    fn x_range(&self) -> Range<f64> {
        let xs = || self.points().map(|(x, _)| *x);
        let (low, high) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
        if self.x.logarithmic { low.max(1.0) * 0.8..high.max(2.0) * 1.25 } else { 0.0..high.max(1.0) * 1.05 }
    }

    fn y_range(&self) -> Range<f64> {
        let low = self.points().map(|(_, y)| y.min).fold(f64::INFINITY, f64::min);
        let high = self.points().map(|(_, y)| y.max).fold(0.0, f64::max);
        if !self.y.logarithmic {
            return 0.0..high.max(0.1) * 1.15;
        }
        // Whole decades: ticks stand at powers of ten.
        let (low, high) = (low.max(0.1).log10().floor(), high.max(1.0).log10().ceil());
        10f64.powf(low)..10f64.powf(high.max(low + 1.0))
    }
}

/// As short as it can be told apart: 0.5, 20, 10k, 1M.
fn number(value: f64) -> String {
    let digits = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match value {
        _ if value >= 1e6 => digits(value / 1e6) + "M",
        _ if value >= 1e4 => digits(value / 1e3) + "k",
        _ => digits(value),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_is_as_short_as_it_can_be() {
        for (value, expected) in
            [(0.0, "0"), (0.5, "0.5"), (20.0, "20"), (1000.0, "1000"), (1e4, "10k"), (2.5e6, "2.5M")]
        {
            assert_eq!(number(value), expected);
        }
    }
}
