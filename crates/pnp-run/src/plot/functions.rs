//! Curves of functions, panels one below the other.

use super::axis::{Kind, drawable};
use super::chart::{Chart, Marker, PALETTE, SIZE, Series};
use crate::error::RunError;

/// Functions over the same axes.
#[derive(Debug, Clone)]
pub struct FunctionPanel {
    /// What they are.
    pub title: String,
    /// What the horizontal axis counts.
    pub x_label: String,
    /// What the vertical axis shows.
    pub y_label: String,
    /// Each with a name and its points, ascending; a value that is not finite is a gap.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// The panels as one SVG document, the same bytes for the same points.
///
/// # Errors
/// [`RunError::Plot`].
pub fn function_curves(panels: &[FunctionPanel]) -> Result<String, RunError> {
    let (width, height) = (SIZE.0, SIZE.1 * panels.len() as u32);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        let chart = chart(panel).svg()?;
        let inner = format!("<svg y=\"{}\" ", SIZE.1 * place as u32);
        svg += &chart.replacen("<svg ", &inner, 1);
        svg += "\n";
    }
    Ok(svg + "</svg>\n")
}

fn chart(panel: &FunctionPanel) -> Chart {
    let series = panel.curves.iter().enumerate().map(|(i, (name, points))| Series {
        name: name.clone(),
        points: points.iter().map(|&(x, y)| (x, drawable(y))).collect(),
        color: PALETTE[i % PALETTE.len()],
        width: 1.75,
        marker: Marker::None,
    });
    Chart {
        title: panel.title.clone(),
        subtitle: String::new(),
        x_label: panel.x_label.clone(),
        y_label: panel.y_label.clone(),
        y_kind: Kind::Real,
        series: series.collect(),
        mark: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_stand_below_each_other() {
        let panel = |title: &str| FunctionPanel {
            title: title.into(),
            x_label: "x".into(),
            y_label: "y".into(),
            curves: vec![
                ("one & only".into(), vec![(0.0, 0.0), (1.0, 2.0)]),
                ("gap".into(), vec![(0.0, f64::INFINITY), (1.0, 1.0)]),
            ],
        };
        let svg = function_curves(&[panel("upper"), panel("lower")]).unwrap();
        assert_eq!(svg.matches("<svg ").count(), 3);
        assert_eq!(svg.matches("</svg>").count(), 3);
        assert!(svg.contains("<svg y=\"420\" ") && svg.contains("upper") && svg.contains("lower"));
        assert_eq!(svg, function_curves(&[panel("upper"), panel("lower")]).unwrap());
    }
}
