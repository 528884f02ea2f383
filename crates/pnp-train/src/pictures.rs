//! The picture of queries beside their nearest neighbours.

use pnp_data::{DataError, ImageSet, Item};
use pnp_ranking::Embeddings;
use pnp_ranking::metric::Distance;
use pnp_ranking::neighbours;
use pnp_run::picture::{self, NeighbourRow, Thumbnail};

use crate::error::TrainError;
use crate::model::EmbeddedSet;

/// Queries and neighbours that the picture shows.
const QUERIES: usize = 10;
const NEIGHBOURS: usize = 8;
/// Side of a picture's cell in pixels.
const CELL: u32 = 96;

/// A PNG of queries spread evenly over the classes of a set with their nearest neighbours, turned
/// as the network saw them.
pub(crate) fn neighbours_png(
    set: &ImageSet,
    embedded: &EmbeddedSet,
    distance: Distance,
    exif_rotation: bool,
) -> Result<Vec<u8>, TrainError> {
    let (queries, gallery) = (spread_queries(embedded), embedded.gallery());
    let dim = embedded.dim;
    let rows = |rows: &[usize]| -> Vec<f32> {
        rows.iter().flat_map(|&row| embedded.row(row)).copied().collect()
    };
    let (values, found_in) = (rows(&queries), rows(&gallery));
    // One more than is shown, where the query itself is in the gallery: it is left out by its id.
    let found = neighbours::nearest(
        Embeddings::new(&values, dim)?,
        Some(Embeddings::new(&found_in, dim)?.into()),
        NEIGHBOURS + 1,
        distance,
    )?;
    let rows: Result<Vec<NeighbourRow>, TrainError> = queries
        .iter()
        .enumerate()
        .map(|(row, &query)| {
            let others = found.of(row).map(|(i, _)| gallery[i as usize]).filter(|&i| i != query);
            draw_row(set, embedded, query, others.take(NEIGHBOURS), exif_rotation)
        })
        .collect();
    Ok(picture::neighbours_png(&rows?, CELL)?)
}

/// The first query of evenly spread classes that have another image in the gallery.
fn spread_queries(embedded: &EmbeddedSet) -> Vec<usize> {
    let classes = embedded.labels.iter().max().map_or(0, |&label| label as usize + 1);
    let (mut first, mut count) = (vec![None; classes], vec![0usize; classes]);
    for place in embedded.queries() {
        first[embedded.labels[place] as usize].get_or_insert(place);
    }
    let gallery = embedded.gallery();
    for &place in &gallery {
        count[embedded.labels[place] as usize] += 1;
    }
    let usable = first.iter().zip(&count).filter_map(|(first, &count)| {
        // One that is in the gallery itself needs a second.
        let itself = usize::from(gallery.binary_search(&(*first)?).is_ok());
        first.filter(|_| count > itself)
    });
    let usable: Vec<usize> = usable.collect();
    let shown = usable.len().min(QUERIES);
    (0..shown).map(|i| usable[i * usable.len() / shown]).collect()
}

fn draw_row(
    set: &ImageSet,
    embedded: &EmbeddedSet,
    query: usize,
    neighbours: impl Iterator<Item = usize>,
    exif_rotation: bool,
) -> Result<NeighbourRow, TrainError> {
    let shown =
        |place: usize| thumbnail(&set.items()[embedded.indices[place] as usize], exif_rotation);
    let label = embedded.labels[query];
    let neighbours: Result<Vec<_>, DataError> =
        neighbours.map(|place| Ok((shown(place)?, embedded.labels[place] == label))).collect();
    Ok(NeighbourRow {
        query: shown(query)?,
        neighbours: neighbours?,
        caption: set.class_names()[label as usize].clone(),
    })
}

fn thumbnail(item: &Item, exif_rotation: bool) -> Result<Thumbnail, DataError> {
    let image = item.decode(exif_rotation)?;
    Ok(Thumbnail { width: image.width(), height: image.height(), rgb: image.into_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_turned_as_the_network_sees_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("turned.jpg");
        image::RgbImage::new(40, 24).save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Orientation 6: to be turned by a quarter.
        let exif =
            b"\xff\xe1\0\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\
                     \0\0\0\0";
        bytes.splice(2..2, *exif);
        std::fs::write(&path, bytes).unwrap();
        let item = Item { path, ..Item::default() };
        let size = |exif_rotation| {
            let Thumbnail { width, height, .. } = thumbnail(&item, exif_rotation).unwrap();
            (width, height)
        };
        assert_eq!((size(false), size(true)), ((40, 24), (24, 40)));
    }
}
