//! One chart as SVG: curves over whole numbers, a grid, a legend.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::{Axis, Kind};
use super::curve::{Point, unbroken};
use crate::error::RunError;

/// The size on a page, in CSS pixels.
pub(super) const SIZE: (u32, u32) = (720, 420);
/// Plotters draws at whole pixels; a canvas four times as large puts curves at quarters of one.
const SCALE: f64 = 4.0;
/// Where the plotting area starts and ends, in CSS pixels; long labels move its left edge.
const TOP: f64 = 58.0;
const LEFT: f64 = 66.0;
const BOTTOM: f64 = 366.0;

/// Nearly black and two greys: text, axes, grid.
const INK: RGBColor = RGBColor(0x26, 0x26, 0x26);
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const GRID: RGBColor = RGBColor(0xe4, 0xe4, 0xe4);

const FONT: &str = "Helvetica, Arial, sans-serif";

/// Okabe and Ito's colours, which colour-blind readers can tell apart; their yellow, too pale for
/// a line on white, is left out.
pub(super) const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x26, 0x26, 0x26),
];

/// What stands at a curve's points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// Nothing, for curves of many points.
    None,
    Dot,
    Ring,
    Square,
    Diamond,
}

/// A curve.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
    pub(super) color: RGBColor,
    /// In CSS pixels.
    pub(super) width: f64,
    pub(super) marker: Marker,
}

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: String,
    /// A second, smaller line under the title.
    pub(super) subtitle: String,
    pub(super) x_label: String,
    pub(super) y_label: String,
    pub(super) y_kind: Kind,
    /// Drawn in order, the last one on top.
    pub(super) series: Vec<Series>,
    /// A place on the horizontal axis that is pointed out.
    pub(super) mark: Option<(f64, String)>,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

impl Chart {
    /// The chart as an SVG document. The same chart gives the same bytes.
    pub(super) fn svg(&self) -> Result<String, RunError> {
        let mut svg = String::new();
        let size = (canvas(f64::from(SIZE.0)) as u32, canvas(f64::from(SIZE.1)) as u32);
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = self.draw(&root).and_then(|()| Ok(root.present()?));
        drop(root);
        drawn.map_err(|e| RunError::Plot { title: self.title.clone(), reason: e.to_string() })?;
        Ok(finish(&svg, size, &self.title))
    }

    fn draw(&self, root: &Canvas) -> Drawn {
        root.fill(&WHITE)?;
        let points = || self.series.iter().flat_map(|series| &series.points);
        let frame = Frame::new(
            Axis::horizontal(points().map(|p| p.0)),
            Axis::vertical(points().map(|p| p.1), self.y_kind),
            f64::from(SIZE.0) - self.legend_width() - 22.0,
        );
        text(root, &self.title, (frame.left, 24.0), Style::TITLE)?;
        text(root, &self.subtitle, (frame.left, 43.0), Style::SMALL)?;
        self.draw_axes(root, &frame)?;
        self.draw_mark(root, &frame)?;
        for series in &self.series {
            series.draw(root, &frame)?;
        }
        if points().all(|(_, y)| y.is_nan()) {
            let middle = (f64::midpoint(frame.left, frame.right), f64::midpoint(TOP, BOTTOM));
            text(root, "nothing recorded", middle, Style::LABEL.at(HPos::Center))?;
        }
        self.draw_legend(root, frame.right + 16.0)
    }

    fn draw_axes(&self, root: &Canvas, frame: &Frame) -> Drawn {
        for &tick in frame.y.ticks() {
            let y = frame.y(tick);
            line(root, &[(frame.left, y), (frame.right, y)], GRID, 0.75)?;
            let label = frame.y.label(tick);
            text(root, &label, (frame.left - 9.0, y), Style::TICK.at(HPos::Right))?;
        }
        for &tick in frame.x.ticks() {
            let x = frame.x(tick);
            line(root, &[(x, TOP), (x, BOTTOM)], GRID, 0.75)?;
            line(root, &[(x, BOTTOM), (x, BOTTOM + 4.0)], GREY, 1.0)?;
            let label = frame.x.label(tick);
            text(root, &label, (x, BOTTOM + 15.0), Style::TICK.at(HPos::Center))?;
        }
        line(root, &[(frame.left, BOTTOM), (frame.right, BOTTOM)], GREY, 1.0)?;
        let middle = f64::midpoint(frame.left, frame.right);
        text(root, &self.x_label, (middle, BOTTOM + 37.0), Style::LABEL.at(HPos::Center))?;
        let y_label = format!("{}{}", self.y_label, frame.y.factor());
        let place = (17.0, f64::midpoint(TOP, BOTTOM));
        text(root, &y_label, place, Style::LABEL.at(HPos::Center).upwards())
    }

    fn draw_mark(&self, root: &Canvas, frame: &Frame) -> Drawn {
        let Some((x, name)) = &self.mark else { return Ok(()) };
        if !(0.0..=1.0).contains(&frame.x.share(*x)) {
            return Ok(());
        }
        let x = frame.x(*x);
        // Dashes, as segments.
        for dash in 0..((BOTTOM - TOP) / 7.0) as u32 {
            let y = TOP + 7.0 * f64::from(dash);
            line(root, &[(x, y), (x, y + 3.5)], GREY, 1.0)?;
        }
        // On the side that has more room.
        let (place, side) = if x > f64::midpoint(frame.left, frame.right) {
            (x - 5.0, HPos::Right)
        } else {
            (x + 5.0, HPos::Left)
        };
        text(root, name, (place, BOTTOM - 9.0), Style::SMALL.at(side))
    }

    /// A curve alone needs no legend.
    fn has_legend(&self) -> bool {
        self.series.len() > 1
    }

    fn legend_width(&self) -> f64 {
        if !self.has_legend() {
            return 0.0;
        }
        let longest = self.series.iter().map(|series| series.name.chars().count()).max();
        // Helvetica's letters are about half as wide as high.
        (46.0 + 6.4 * longest.unwrap_or(0) as f64).min(240.0)
    }

    fn draw_legend(&self, root: &Canvas, left: f64) -> Drawn {
        if !self.has_legend() {
            return Ok(());
        }
        let row = ((BOTTOM - TOP) / self.series.len() as f64).min(19.0);
        for (i, series) in self.series.iter().enumerate() {
            let y = TOP + row * (i as f64 + 0.5);
            line(root, &[(left, y), (left + 20.0, y)], series.color, series.width.max(1.5))?;
            series.draw_marker(root, (left + 10.0, y))?;
            text(root, &series.name, (left + 27.0, y), Style::TICK)?;
        }
        Ok(())
    }
}

impl Series {
    fn draw(&self, root: &Canvas, frame: &Frame) -> Drawn {
        for stretch in unbroken(&self.points) {
            let places: Vec<_> = stretch.iter().map(|&(x, y)| (frame.x(x), frame.y(y))).collect();
            match places.as_slice() {
                // A point between gaps would be a line without length.
                [place] => disc(root, *place, self.width.max(2.0), self.color)?,
                places => line(root, places, self.color, self.width)?,
            }
            for &place in &places {
                self.draw_marker(root, place)?;
            }
        }
        Ok(())
    }

    fn draw_marker(&self, root: &Canvas, (x, y): (f64, f64)) -> Drawn {
        let polygon = |corners: [(f64, f64); 4]| {
            let corners = corners.map(|(dx, dy)| pixel((x + dx, y + dy))).to_vec();
            root.draw(&Polygon::new(corners, self.color.filled()))
        };
        match self.marker {
            Marker::None => {}
            Marker::Dot => disc(root, (x, y), 2.8, self.color)?,
            Marker::Ring => {
                disc(root, (x, y), 3.4, self.color)?;
                disc(root, (x, y), 1.9, WHITE)?;
            }
            Marker::Square => polygon([(-2.8, -2.8), (2.8, -2.8), (2.8, 2.8), (-2.8, 2.8)])?,
            Marker::Diamond => polygon([(0.0, -4.0), (4.0, 0.0), (0.0, 4.0), (-4.0, 0.0)])?,
        }
        Ok(())
    }
}

/// The plotting area: from data to CSS pixels.
struct Frame {
    x: Axis,
    y: Axis,
    left: f64,
    right: f64,
}

impl Frame {
    fn new(x: Axis, y: Axis, right: f64) -> Self {
        let letters = y.ticks().iter().map(|&tick| y.label(tick).chars().count()).max();
        // Five letters have room anyway; a digit is 6.7 pixels wide.
        let left = LEFT + 6.7 * letters.unwrap_or(0).saturating_sub(5).min(15) as f64;
        Self { x, y, left, right }
    }

    fn x(&self, value: f64) -> f64 {
        self.left + (self.right - self.left) * self.x.share(value)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.y.share(value)
    }
}

/// How a text looks and which of its points the given place is.
#[derive(Clone, Copy)]
struct Style {
    /// In CSS pixels.
    size: f64,
    bold: bool,
    color: RGBColor,
    side: HPos,
    upwards: bool,
}

impl Style {
    const LABEL: Self =
        Self { size: 13.0, bold: false, color: INK, side: HPos::Left, upwards: false };
    const TITLE: Self = Self { size: 15.0, bold: true, ..Self::LABEL };
    const TICK: Self = Self { size: 12.0, ..Self::LABEL };
    const SMALL: Self = Self { size: 11.5, color: RGBColor(0x60, 0x60, 0x60), ..Self::LABEL };

    fn at(self, side: HPos) -> Self {
        Self { side, ..self }
    }

    fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }
}

/// A length on the canvas.
fn canvas(css: f64) -> i32 {
    (css * SCALE).round() as i32
}

fn pixel((x, y): (f64, f64)) -> (i32, i32) {
    (canvas(x), canvas(y))
}

fn line(root: &Canvas, places: &[(f64, f64)], color: RGBColor, width: f64) -> Drawn {
    let style = color.stroke_width(canvas(width) as u32);
    let places: Vec<_> = places.iter().copied().map(pixel).collect();
    Ok(root.draw(&PathElement::new(places, style))?)
}

fn disc(root: &Canvas, place: (f64, f64), radius: f64, color: RGBColor) -> Drawn {
    Ok(root.draw(&Circle::new(pixel(place), canvas(radius), color.filled()))?)
}

fn text(root: &Canvas, text: &str, place: (f64, f64), style: Style) -> Drawn {
    if text.is_empty() {
        return Ok(());
    }
    let weight = if style.bold { FontStyle::Bold } else { FontStyle::Normal };
    // Plotters counts a font's line height and writes its size 1.24 times smaller.
    let size = style.size * SCALE * 1.24;
    let turn = if style.upwards { FontTransform::Rotate270 } else { FontTransform::None };
    let font = FontDesc::new(FontFamily::Name(FONT), size, weight).transform(turn);
    let font = font.color(&style.color).pos(Pos::new(style.side, VPos::Center));
    Ok(root.draw(&Text::new(text, pixel(place), font))?)
}

/// The document at its size on a page, with round joins (a noisy curve has no spikes that are not
/// in the data) and its title for screen readers.
fn finish(svg: &str, size: (u32, u32), title: &str) -> String {
    let (body, canvas) = match svg.split_once('>') {
        Some((_, body)) => (body, size),
        None => (svg, size),
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         viewBox=\"0 0 {} {}\" role=\"img\" stroke-linejoin=\"round\" stroke-linecap=\"round\">\n\
         <title>{}</title>{body}",
        SIZE.0,
        SIZE.1,
        canvas.0,
        canvas.1,
        title.replace('&', "&amp;").replace('<', "&lt;"),
    )
}
