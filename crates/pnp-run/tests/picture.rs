//! The picture of queries and their neighbours, pixel by pixel where it matters.

use pnp_run::RunError;
use pnp_run::picture::{NeighbourRow, QUERY, RIGHT, Thumbnail, WRONG, neighbours_png};

fn plain(width: u32, height: u32, color: [u8; 3]) -> Thumbnail {
    Thumbnail { width, height, rgb: color.repeat((width * height) as usize) }
}

fn row(caption: &str) -> NeighbourRow {
    NeighbourRow {
        query: plain(8, 8, [10, 20, 30]),
        neighbours: vec![(plain(8, 8, [200, 0, 0]), true), (plain(16, 8, [0, 0, 200]), false)],
        caption: caption.into(),
    }
}

#[test]
fn frames_images_and_marks_are_where_they_belong() {
    let png = neighbours_png(&[row("")], 100).unwrap();
    let picture = image::load_from_memory(&png).unwrap().to_rgb8();
    // Gap 7, wide gap 25, a line of text of 16, frames of 5, marks of 20.
    assert_eq!(picture.dimensions(), (7 + 100 + 25 + 100 + 7 + 100 + 7, 7 + 16 + 7 + 100 + 7));
    let at = |x: u32, y: u32| picture.get_pixel(x, y).0;
    let top = 30;
    assert_eq!(at(0, 0), [255; 3]);
    assert_eq!(at(8, top + 50), QUERY);
    assert_eq!(at(57, top + 50), [10, 20, 30]);
    assert_eq!(at(119, top + 50), [255; 3], "a gap sets the query apart");
    assert_eq!(at(133, top + 50), RIGHT);
    assert_eq!(at(182, top + 50), [200, 0, 0]);
    assert_eq!(at(240, top + 50), WRONG);
    assert_eq!(at(289, top + 50), [0, 0, 200]);
    assert_eq!(at(289, top + 10), [0xf2; 3], "a wide image keeps its proportions");
    // The middle of a mark: the cross is white there, the tick is not.
    let (tick, cross) = ((132 + 90, top + 90), (239 + 90, top + 90));
    assert_eq!(at(cross.0, cross.1), [255; 3]);
    assert_ne!(at(tick.0, tick.1 - 5), [255; 3]);
    assert_eq!(at(132 + 81, top + 81), RIGHT);
    assert_eq!(at(239 + 81, top + 90), WRONG);
}

#[test]
fn captions_take_a_line_and_never_break_the_picture() {
    let height = |caption: &str| {
        let png = neighbours_png(&[row(caption)], 64).unwrap();
        image::load_from_memory(&png).unwrap().height()
    };
    let plain = height("");
    assert_eq!(height("chair"), plain + 16 + 2);
    for odd in ["x".repeat(5_000), "椅子 ☃ é".into(), "\u{0}\n\t".into()] {
        assert_eq!(height(&odd), plain + 16 + 2);
    }
}

#[test]
fn rows_of_any_length_fit() {
    let mut short = row("no neighbours");
    short.neighbours.clear();
    for rows in [vec![short.clone()], vec![short, row("two")]] {
        image::load_from_memory(&neighbours_png(&rows, 32).unwrap()).unwrap();
    }
}

#[test]
fn what_cannot_be_drawn_is_refused() {
    let mut broken = row("");
    broken.neighbours[1].0.rgb.pop();
    let mut empty = row("");
    empty.query = Thumbnail { width: 0, height: 5, rgb: vec![] };
    let mut huge = row("");
    huge.query = Thumbnail { width: u32::MAX, height: u32::MAX, rgb: vec![0; 12] };
    let mut long = row("");
    long.neighbours = vec![(plain(1, 1, [0; 3]), true); 1_000];
    for (rows, cell, reason) in [
        (vec![], 64, "no query"),
        (vec![row("")], 5, "cell of 5"),
        (vec![row("")], u32::MAX, "cell of"),
        (vec![row(""), broken], 64, "row 1, image 2"),
        (vec![empty], 64, "row 0, image 0"),
        (vec![huge], 64, "row 0, image 0"),
        (vec![long], 1_024, "too many"),
    ] {
        let error = neighbours_png(&rows, cell).unwrap_err();
        assert!(matches!(error, RunError::Picture { .. }));
        assert!(error.to_string().contains(reason), "{error}");
    }
}
