//! Queries beside their nearest neighbours, as a picture.
//!
//! Each row has the query at the left, set apart by a gap, and its neighbours after it, nearest
//! first. A neighbour's frame says whether it is of the query's class: bluish green with a tick or
//! vermilion with a cross, two colours that colour-blind readers can tell apart, and two shapes
//! for print without colour.

mod canvas;

use canvas::Canvas;

use crate::error::RunError;

/// The frame of a neighbour of the query's class, as red, green and blue.
pub const RIGHT: [u8; 3] = [0x00, 0x9e, 0x73];
/// The frame of a neighbour of another class.
pub const WRONG: [u8; 3] = [0xd5, 0x5e, 0x00];
/// The frame of a query.
pub const QUERY: [u8; 3] = [0x40, 0x40, 0x40];

/// How wide and high a cell may be, in pixels.
const CELLS: std::ops::RangeInclusive<u32> = 32..=1024;
/// How many pixels a picture may have.
const MAX_PIXELS: u64 = 100_000_000;

/// A small image, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// In pixels, at least 1.
    pub width: u32,
    /// In pixels, at least 1.
    pub height: u32,
    /// Red, green and blue, row by row: `3 * width * height` bytes.
    pub rgb: Vec<u8>,
}

/// A query and its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighbourRow {
    /// The query's image.
    pub query: Thumbnail,
    /// The neighbours' images, nearest first, and whether each is of the query's class.
    pub neighbours: Vec<(Thumbnail, bool)>,
    /// A line above the row; none where it is empty.
    pub caption: String,
}

/// Draws queries beside their neighbours into square cells of `cell` pixels, frame included, and
/// returns the bytes of a PNG file. Images are fitted into their cells with their proportions
/// kept; captions too long are cut.
///
/// # Errors
/// [`RunError::Picture`] if there is no row, `cell` is not in 32 to 1024, an image has not the
/// bytes that its size asks for, or the picture would have more than 100 million pixels.
pub fn neighbours_png(rows: &[NeighbourRow], cell: u32) -> Result<Vec<u8>, RunError> {
    let refuse = |reason: String| RunError::Picture { reason };
    if rows.is_empty() {
        return Err(refuse("there is no query to show".into()));
    }
    if !CELLS.contains(&cell) {
        return Err(refuse(format!("a cell of {cell} pixels is not possible: 32 to 1024")));
    }
    for (number, row) in rows.iter().enumerate() {
        let images = std::iter::once(&row.query).chain(row.neighbours.iter().map(|(t, _)| t));
        for (place, image) in images.enumerate() {
            image.check().map_err(|reason| {
                refuse(format!("row {number}, image {place} (0 is the query): {reason}"))
            })?;
        }
    }
    let layout = Layout::new(rows, cell);
    let (width, height) = layout.size(rows);
    if width.saturating_mul(height) > MAX_PIXELS {
        let reason = format!(
            "{width} times {height} pixels are too many, {MAX_PIXELS} at most: show fewer queries \
             or neighbours, or smaller cells"
        );
        return Err(refuse(reason));
    }
    let mut canvas = Canvas::new(width as u32, height as u32);
    layout.draw(&mut canvas, rows);
    canvas.png().map_err(refuse)
}

impl Thumbnail {
    fn check(&self) -> Result<(), String> {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let expected = pixels.saturating_mul(3);
        if expected == 0 || expected != self.rgb.len() as u64 {
            return Err(format!(
                "{} bytes for {} times {} pixels, {expected} expected",
                self.rgb.len(),
                self.width,
                self.height
            ));
        }
        Ok(())
    }
}

/// Where everything goes, in pixels.
struct Layout {
    cell: u32,
    columns: u64,
    /// A frame's thickness.
    frame: u32,
    /// Between cells and around the picture.
    gap: u32,
    /// Between the query and its neighbours.
    wide_gap: u32,
    /// The height of a line of text.
    text: u32,
}

impl Layout {
    fn new(rows: &[NeighbourRow], cell: u32) -> Self {
        let columns = rows.iter().map(|row| row.neighbours.len() as u64).max().unwrap_or(0);
        Self {
            cell,
            columns,
            frame: (cell / 20).clamp(3, 16),
            gap: (cell / 14).max(4),
            wide_gap: (cell / 4).max(16),
            text: if cell < 112 { 16 } else { 20 },
        }
    }

    /// Width and height of the picture.
    fn size(&self, rows: &[NeighbourRow]) -> (u64, u64) {
        let (cell, gap) = (u64::from(self.cell), u64::from(self.gap));
        let neighbours = self.columns * (cell + gap);
        let width = 2 * gap + cell + u64::from(self.wide_gap) - gap.min(neighbours) + neighbours;
        let rows = rows.iter().map(|row| u64::from(self.row_height(row)));
        (width, gap + u64::from(self.text) + rows.sum::<u64>() + gap)
    }

    fn caption_height(&self, row: &NeighbourRow) -> u32 {
        if row.caption.is_empty() { 0 } else { self.text + self.gap / 2 }
    }

    fn row_height(&self, row: &NeighbourRow) -> u32 {
        self.gap + self.caption_height(row) + self.cell
    }

    /// Where the neighbours begin.
    fn neighbours_left(&self) -> u32 {
        self.gap + self.cell + self.wide_gap
    }

    fn draw(&self, canvas: &mut Canvas, rows: &[NeighbourRow]) {
        canvas.text((self.gap, self.gap), self.text, "query");
        if self.columns > 0 {
            let place = (self.neighbours_left(), self.gap);
            canvas.text(place, self.text, "nearest first");
        }
        let mut top = self.gap + self.text;
        for row in rows {
            let cells = top + self.gap + self.caption_height(row);
            canvas.text((self.gap, top + self.gap), self.text, &row.caption);
            self.draw_row(canvas, row, cells);
            top += self.row_height(row);
        }
    }

    fn draw_row(&self, canvas: &mut Canvas, row: &NeighbourRow, top: u32) {
        canvas.framed((self.gap, top), self.cell, self.frame, QUERY, &row.query);
        let mut left = self.neighbours_left();
        for (image, right) in &row.neighbours {
            let color = if *right { RIGHT } else { WRONG };
            canvas.framed((left, top), self.cell, self.frame, color, image);
            self.draw_mark(canvas, (left, top), *right, color);
            left += self.cell + self.gap;
        }
    }

    /// A tick or a cross in white on the frame's colour, in the lower right corner.
    fn draw_mark(&self, canvas: &mut Canvas, (left, top): (u32, u32), right: bool, color: [u8; 3]) {
        let side = (self.cell / 5).max(12);
        let corner = (left + self.cell - side, top + self.cell - side);
        canvas.fill(corner, (side, side), color);
        let strokes: &[[(f32, f32); 2]] = if right {
            &[[(0.20, 0.54), (0.42, 0.75)], [(0.42, 0.75), (0.80, 0.27)]]
        } else {
            &[[(0.25, 0.25), (0.75, 0.75)], [(0.75, 0.25), (0.25, 0.75)]]
        };
        canvas.strokes(corner, side, strokes);
    }
}
