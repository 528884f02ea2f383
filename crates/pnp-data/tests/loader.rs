//! The loader: the same bits for any number of workers, order, resuming, broken images, stopping.

mod common;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::image_set;
use pnp_data::audit::{Depth, Kind};
use pnp_data::transform::{EvalTransform, Normalization, TrainTransform};
use pnp_data::{
    Batch, BatchStream, DataError, ImageSet, Loader, LoaderOptions, OnBadImage, Pixels, Region,
    SamplerSettings, Split, decode, sampler,
};
use tempfile::{TempDir, tempdir};

const SIZES: [usize; 4] = [4, 5, 6, 1];

fn images() -> (TempDir, Arc<ImageSet>) {
    let folder = tempdir().unwrap();
    let set = image_set(folder.path(), &SIZES);
    (folder, set)
}

fn loader(set: &Arc<ImageSet>, workers: usize, on_bad_image: OnBadImage) -> Loader {
    let options = LoaderOptions { workers, prefetch: 2, on_bad_image, seed: 5 };
    Loader::new(Arc::clone(set), options)
}

/// The values of a batch that was normalised.
fn planes(batch: &Batch) -> &[f32] {
    match &batch.pixels {
        Pixels::Planes(planes) => planes,
        Pixels::Bytes(_) => panic!("the batch holds bytes"),
    }
}

fn batches(set: &ImageSet) -> Vec<Vec<u32>> {
    let settings =
        SamplerSettings { batch_size: 4, samples_per_class: 2, ..SamplerSettings::default() };
    sampler::build("m_per_class", set, &settings).unwrap().batches(0)
}

fn train(loader: &Loader, epoch: u64, batches: Vec<Vec<u32>>, first_step: usize) -> BatchStream {
    let transform = TrainTransform { size: 16, ..TrainTransform::default() };
    loader.train(transform, Normalization::IMAGENET, epoch, batches, first_step)
}

fn eval(loader: &Loader, batch_size: usize) -> BatchStream {
    let transform = EvalTransform { resize: 20, crop: 16, ..EvalTransform::default() };
    loader.eval(transform, Normalization::IMAGENET, batch_size)
}

/// All batches of a stream that goes well, as bits.
fn bits(stream: BatchStream) -> Vec<(Vec<u32>, Vec<u32>)> {
    stream
        .map(|batch| {
            let batch = batch.unwrap();
            assert_eq!(batch.shape, [batch.indices.len(), 3, 16, 16]);
            assert_eq!(planes(&batch).len(), batch.shape.iter().product::<usize>());
            (planes(&batch).iter().map(|value| value.to_bits()).collect(), batch.indices)
        })
        .collect()
}

#[test]
fn the_number_of_workers_changes_no_bit() {
    let (_folder, set) = images();
    let one = bits(train(&loader(&set, 1, OnBadImage::Stop), 3, batches(&set), 0));
    assert_eq!(one.len(), 4);
    for workers in [2, 5] {
        let loader = loader(&set, workers, OnBadImage::Stop);
        assert_eq!(bits(train(&loader, 3, batches(&set), 0)), one);
    }
    let loader = loader(&set, 2, OnBadImage::Stop);
    assert_ne!(bits(train(&loader, 4, batches(&set), 0)), one, "an epoch repeats the one before");
}

#[test]
fn an_epoch_resumed_in_the_middle_goes_on_with_the_same_bits() {
    let (_folder, set) = images();
    let loader = loader(&set, 2, OnBadImage::Stop);
    let whole = bits(train(&loader, 0, batches(&set), 0));
    for first_step in 1..=whole.len() {
        assert_eq!(bits(train(&loader, 0, batches(&set), first_step)), whole[first_step..]);
    }
    assert_eq!(train(&loader, 0, batches(&set), 99).count(), 0);
}

#[test]
fn the_same_image_twice_in_a_batch_is_augmented_twice() {
    let (_folder, set) = images();
    let mut stream = train(&loader(&set, 2, OnBadImage::Stop), 0, vec![vec![3, 3]], 0);
    let batch = stream.next().unwrap().unwrap();
    let (first, second) = planes(&batch).split_at(planes(&batch).len() / 2);
    assert_ne!(first, second);
}

#[test]
fn evaluation_goes_through_the_set_in_order() {
    let (_folder, set) = images();
    let batches: Vec<Batch> =
        eval(&loader(&set, 3, OnBadImage::Stop), 5).map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|b| b.indices.len()).collect::<Vec<_>>(), [5, 5, 5, 1]);
    let indices: Vec<u32> = batches.iter().flat_map(|b| b.indices.clone()).collect();
    assert_eq!(indices, (0..16).collect::<Vec<_>>());
    let labels: Vec<u32> = batches.iter().flat_map(|b| b.labels.clone()).collect();
    assert_eq!(labels, set.labels());
    // The batch size does not change what is seen of an image.
    let large = eval(&loader(&set, 1, OnBadImage::Stop), 100).next().unwrap().unwrap();
    let pixels: Vec<f32> = batches.into_iter().flat_map(|b| planes(&b).to_vec()).collect();
    assert_eq!(planes(&large), pixels);
}

#[test]
fn a_broken_image_stops_the_stream_at_its_batch_and_is_named() {
    let (folder, set) = images();
    fs::write(folder.path().join("1/2.png"), "broken").unwrap();
    fs::write(folder.path().join("1/3.png"), "broken").unwrap();
    for workers in [1, 2, 5] {
        let mut stream = eval(&loader(&set, workers, OnBadImage::Stop), 5);
        assert!(stream.next().unwrap().is_ok());
        let error = stream.next().unwrap().unwrap_err();
        assert!(matches!(error, DataError::BadImage { .. }));
        let error = error.to_string();
        assert!(error.contains("2.png") && error.contains("neither a PNG"), "{error}");
        assert!(stream.next().is_none(), "the stream goes on after an error");
    }
}

#[test]
fn evaluation_leaves_a_broken_image_out_and_reports_it() {
    let (folder, set) = images();
    fs::write(folder.path().join("1/2.png"), "broken").unwrap();
    fs::remove_file(folder.path().join("2/0.png")).unwrap();
    let batches: Vec<Batch> =
        eval(&loader(&set, 2, OnBadImage::Skip), 8).map(Result::unwrap).collect();
    assert_eq!(batches[0].indices, [0, 1, 2, 3, 4, 5, 7]);
    assert_eq!(batches[0].shape[0], 7);
    assert_eq!(batches[0].labels.len(), 7);
    let skipped: Vec<_> =
        batches.iter().flat_map(|b| &b.skipped).map(|s| (s.index, s.replaced_by)).collect();
    assert_eq!(skipped, [(6, None), (9, None)]);
}

#[test]
fn training_replaces_a_broken_image_by_another_of_its_class() {
    let (folder, set) = images();
    fs::write(folder.path().join("1/2.png"), "broken").unwrap();
    let planned = vec![vec![6, 4, 5, 7], vec![0, 1]];
    let run = |workers| {
        let mut stream = train(&loader(&set, workers, OnBadImage::Skip), 0, planned.clone(), 0);
        stream.next().unwrap().unwrap()
    };
    let batch = run(1);
    // Item 8 is the one of the class that the batch does not hold yet.
    assert_eq!(batch.indices, [8, 4, 5, 7]);
    assert_eq!(batch.labels, [1; 4]);
    assert_eq!(batch.skipped.len(), 1);
    assert_eq!((batch.skipped[0].index, batch.skipped[0].replaced_by), (6, Some(8)));
    assert_eq!(planes(&run(5)), planes(&batch));
}

#[test]
fn a_broken_image_without_a_replacement_is_left_out() {
    let (folder, set) = images();
    fs::write(folder.path().join("3/0.png"), "broken").unwrap();
    let stream = train(&loader(&set, 2, OnBadImage::Skip), 0, vec![vec![15, 0], vec![15]], 0);
    let batches: Vec<Batch> = stream.map(Result::unwrap).collect();
    assert_eq!(batches[0].indices, [0]);
    assert_eq!((batches[0].skipped[0].index, batches[0].skipped[0].replaced_by), (15, None));
    assert_eq!(batches[1].shape, [0, 3, 16, 16]);
    assert!(planes(&batches[1]).is_empty());
}

#[test]
fn a_class_that_is_broken_as_a_whole_is_left_out() {
    let (folder, set) = images();
    for n in 0..4 {
        fs::write(folder.path().join(format!("0/{n}.png")), "broken").unwrap();
    }
    let mut stream = train(&loader(&set, 2, OnBadImage::Skip), 0, vec![vec![0, 5]], 0);
    let batch = stream.next().unwrap().unwrap();
    assert_eq!(batch.indices, [5]);
    assert_eq!(batch.skipped.len(), 4);
}

#[test]
fn a_batch_without_images_is_empty() {
    let (_folder, set) = images();
    let stream = train(&loader(&set, 2, OnBadImage::Stop), 0, vec![vec![], vec![1], vec![]], 0);
    let sizes: Vec<usize> = stream.map(|batch| batch.unwrap().shape[0]).collect();
    assert_eq!(sizes, [0, 1, 0]);
}

#[test]
fn dropping_a_stream_stops_its_workers_at_once() {
    let (_folder, set) = images();
    let many: Vec<Vec<u32>> = (0..100_000).map(|i| vec![i % 16; 4]).collect();
    let mut stream = train(&loader(&set, 3, OnBadImage::Stop), 0, many, 0);
    assert!(stream.next().unwrap().is_ok());
    let start = Instant::now();
    drop(stream);
    assert!(start.elapsed() < Duration::from_secs(2));
    // Each worker holds a reference; all of them are gone.
    assert_eq!(Arc::strong_count(&set), 1);
}

#[test]
fn workers_do_not_run_further_ahead_than_asked() {
    let (folder, set) = images();
    let options = LoaderOptions { workers: 4, prefetch: 2, ..LoaderOptions::default() };
    let loader = Loader::new(Arc::clone(&set), options);
    let mut stream = train(&loader, 0, (0..16).map(|i| vec![i]).collect(), 0);
    assert!(stream.next().unwrap().is_ok());
    std::thread::sleep(Duration::from_millis(300));
    // Steps 0, 1 and 2 may be read by now; the image of step 3 must not have been.
    for index in 3..16_usize {
        fs::write(&set.items()[index].path, "broken").unwrap();
    }
    assert!(stream.next().unwrap().is_ok());
    assert!(stream.next().unwrap().is_ok());
    assert!(stream.next().unwrap().is_err());
    drop(folder);
}

#[test]
fn a_panic_in_a_worker_is_an_error_that_names_the_image() {
    let (_folder, set) = images();
    // What `TrainTransform::check` refuses: rows of no pixels cannot be mirrored.
    let transform = TrainTransform { size: 0, flip: 1.0, ..TrainTransform::default() };
    for on_bad_image in [OnBadImage::Stop, OnBadImage::Skip] {
        let loader = loader(&set, 2, on_bad_image);
        let mut stream =
            loader.train(transform, Normalization::IMAGENET, 0, vec![vec![4, 5]; 3], 0);
        let error = stream.next().unwrap().unwrap_err();
        assert!(matches!(error, DataError::Worker { .. }));
        assert!(error.to_string().contains("0.png"), "{error}");
        assert!(stream.next().is_none());
    }
}

#[test]
#[should_panic(expected = "index 16 of 16 images")]
fn an_index_that_does_not_exist_is_the_callers_mistake() {
    let (_folder, set) = images();
    let _ = train(&loader(&set, 1, OnBadImage::Stop), 0, vec![vec![16]], 0);
}

#[test]
fn images_are_cut_to_their_regions_before_any_transform() {
    let (_folder, set) = images();
    let whole = decode(&set.items()[2].path).unwrap();
    let cut = |region| {
        let mut items = set.items().to_vec();
        items[2].region = region;
        Arc::new(ImageSet::new(items, set.class_names().to_vec()).unwrap())
    };
    let set = cut(Region::new(10, 5, 26, 21));
    assert_eq!(set.items()[2].decode(false).unwrap().dimensions(), (16, 16));
    let transform = EvalTransform { resize: 16, crop: 16, ..EvalTransform::default() };
    let stream = loader(&set, 2, OnBadImage::Stop).eval(transform, Normalization::IMAGENET, 3);
    let batch = stream.into_iter().next().unwrap().unwrap();
    // The third image, red plane: the region is as large as the crop, so its pixels come through.
    let red = &planes(&batch)[2 * 3 * 256..][..256];
    for (place, value) in red.iter().enumerate() {
        let (x, y) = (place as u32 % 16, place as u32 / 16);
        let expected = (f32::from(whole.get_pixel(10 + x, 5 + y)[0]) / 255.0 - 0.485) / 0.229;
        assert!((value - expected).abs() < 1e-5, "{place}");
    }
}

#[test]
fn a_region_outside_its_image_is_a_bad_image() {
    let (_folder, set) = images();
    let mut items = set.items().to_vec();
    items[1].region = Region::new(40, 0, 50, 10);
    let set = Arc::new(ImageSet::new(items, set.class_names().to_vec()).unwrap());
    let error = eval(&loader(&set, 2, OnBadImage::Stop), 4).find_map(Result::err).unwrap();
    assert!(matches!(error, DataError::RegionOutside { .. }), "{error}");
    assert!(error.to_string().contains("40 x 30"), "{error}");
    let mut stream = eval(&loader(&set, 2, OnBadImage::Skip), 4);
    let batch = stream.next().unwrap().unwrap();
    assert_eq!((batch.indices.len(), batch.skipped[0].index), (3, 1));
    let audit = pnp_data::audit([(Split::Train, &*set)], Depth::Decode, |_| true).unwrap();
    assert_eq!(audit.of(Kind::BoxOutside).count(), 1);
}

#[test]
fn without_a_normalisation_a_batch_holds_the_bytes_that_the_planes_are_made_of() {
    let (_folder, set) = images();
    let loader = loader(&set, 2, OnBadImage::Stop);
    let transform = EvalTransform { resize: 20, crop: 16, ..EvalTransform::default() };
    for (normalised, raw) in eval(&loader, 5).zip(loader.eval(transform, None, 5)) {
        let (normalised, raw) = (normalised.unwrap(), raw.unwrap());
        let Pixels::Bytes(bytes) = &raw.pixels else { panic!("the batch holds planes") };
        assert_eq!((normalised.shape, &normalised.labels), (raw.shape, &raw.labels));
        let mut planes_of_bytes = vec![0.0; bytes.len()];
        let image = 3 * 16 * 16;
        for (bytes, planes) in bytes.chunks(image).zip(planes_of_bytes.chunks_mut(image)) {
            Normalization::IMAGENET.apply(bytes, planes);
        }
        assert_eq!(planes(&normalised), planes_of_bytes);
    }
}
