//! The bundled data set opens, and every image of it decodes.

mod common;

use std::collections::HashSet;
use std::path::Path;

use common::options;
use pnp_data::decode::Decoder;

#[test]
fn the_bundled_data_set_is_whole() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/emoji");
    let dataset = pnp_data::open(&options(&source)).unwrap();
    assert_eq!((dataset.train.classes(), dataset.test.classes()), (250, 250));
    assert!(dataset.notes.is_empty(), "{:?}", dataset.notes);
    let trained: HashSet<_> = dataset.train.class_names().iter().collect();
    assert!(dataset.test.class_names().iter().all(|name| !trained.contains(name)));
    let (mut decoder, mut image) = (Decoder::default(), image::RgbImage::default());
    for (_, set) in dataset.splits() {
        assert!((0..250).all(|label| set.class_items(label).len() >= 4));
        for item in set.items() {
            decoder.decode_into(&item.path, &mut image).unwrap();
            assert_eq!(image.dimensions(), (64, 64), "{}", item.name);
        }
    }
}
