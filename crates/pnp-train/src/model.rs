//! A trained network with what is needed to use it, and the embedding and scoring of image sets.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use pnp_data::decode::JpegOptions;
use pnp_data::transform::{EvalTransform, Normalization};
use pnp_data::{ImageSet, Loader, LoaderOptions, Pixels, Role, Skipped};
use pnp_model::weights::{self, Fit};
use pnp_model::{
    BackboneOptions, HeadInit, HeadKind, InputConvention, Network, NetworkConfig, PixelScale, Pool,
    ResNetStride,
};
use pnp_ranking::Embeddings;
use pnp_ranking::metric::{self, EvalOptions, EvalSet, Evaluation, Metric};
use pnp_run::atomic;
use serde::{Deserialize, Serialize};

use crate::config::{SIDES, Stride};
use crate::error::TrainError;
use crate::json;
use crate::observer::{Observer, Phase};
use crate::run::StopFlag;

/// The weights, under PyTorch's key names.
pub(crate) const WEIGHTS: &str = "model.safetensors";
/// What network they belong to and how it sees images.
pub(crate) const DESCRIPTION: &str = "model.json";
/// The layout of `model.json` that this version writes and reads.
const FORMAT: u64 = 1;

/// A network ready for use, and how it wants its images.
#[derive(Debug)]
pub struct Model {
    /// The network.
    pub network: Network,
    /// How images are cut for it. How their files are decoded is no property of a network: of a model
    /// that was read it is the default.
    pub transform: EvalTransform,
}

/// `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u64,
    backbone: String,
    resnet_stride: Stride,
    norm_epsilon: f64,
    embed_dim: usize,
    frozen: bool,
    /// Models of before these were choices had the mean and one linear layer.
    #[serde(default = "default_pool")]
    pool: String,
    #[serde(default = "default_head")]
    head: String,
    normalize: bool,
    /// What the network expects of an image's values; models of before this was a choice followed
    /// the registry.
    #[serde(default)]
    input: Option<String>,
    eval_resize: u32,
    eval_size: u32,
    /// Models of before it had this ignored it.
    #[serde(default)]
    exif_rotation: bool,
}

fn default_pool() -> String {
    Pool::default().to_string()
}

fn default_head() -> String {
    HeadKind::default().to_string()
}

impl Model {
    /// Reads a trained network: of a run folder its best checkpoint (or the last where there is no
    /// best yet), of a checkpoint folder, or of a `model.safetensors` in one.
    ///
    /// # Errors
    ///
    /// [`TrainError::Checkpoint`] with what is missing or wrong, and the weights' own errors.
    pub fn load(path: &Path, device: &Device) -> Result<Self, TrainError> {
        let file = weights_file(path)?;
        let path = file.with_file_name(DESCRIPTION);
        let description = read_description(&path)?;
        let unknown = |what: &str, name: &str| TrainError::Checkpoint {
            path: path.clone(),
            reason: format!("there is no {what} '{name}'"),
        };
        let (pool, head) = (&description.pool, &description.head);
        let input = description.input.as_deref().map(|name| {
            InputConvention::parse(name).ok_or_else(|| unknown("input convention", name))
        });
        let config = NetworkConfig {
            pool: Pool::parse(pool).ok_or_else(|| unknown("pool", pool))?,
            head: HeadKind::parse(head).ok_or_else(|| unknown("head", head))?,
            head_init: HeadInit::default(),
            input: input.transpose()?,
            backbone: description.backbone,
            options: BackboneOptions {
                resnet_stride: description.resnet_stride.into(),
                norm_epsilon: Some(description.norm_epsilon),
            },
            embed_dim: description.embed_dim,
            frozen: description.frozen,
            normalize: description.normalize,
            freeze_until: None,
        };
        let mut network = config.init(0, device)?;
        network.backbone().check_side("eval_size", description.eval_size)?;
        weights::load(&mut network, &weights::read(&file)?, Fit::Whole, &file)?;
        let transform = EvalTransform {
            resize: description.eval_resize,
            crop: description.eval_size,
            exif_rotation: description.exif_rotation,
            jpeg: JpegOptions::default(),
        };
        Ok(Self { network, transform })
    }

    /// How the network wants the values of its images.
    pub fn normalization(&self) -> Normalization {
        normalization(&self.network)
    }
}

/// Writes a network into a checkpoint's new folder.
pub(crate) fn write(
    folder: &Path,
    network: &Network,
    transform: EvalTransform,
) -> Result<(), TrainError> {
    let config = network.config();
    let description = Description {
        format: FORMAT,
        backbone: config.backbone.clone(),
        resnet_stride: config.options.resnet_stride.into(),
        norm_epsilon: network.norm_epsilon(),
        embed_dim: config.embed_dim,
        frozen: config.frozen,
        pool: config.pool.to_string(),
        head: config.head.to_string(),
        normalize: config.normalize,
        input: Some(network.input().name().to_owned()),
        eval_resize: transform.resize,
        eval_size: transform.crop,
        exif_rotation: transform.exif_rotation,
    };
    let text = serde_json::to_string_pretty(&description).expect("plain values always serialise");
    atomic::write(&folder.join(DESCRIPTION), format!("{text}\n").as_bytes())?;
    let bytes = weights::to_safetensors(&network.parameters().to_state_dict());
    Ok(atomic::write(&folder.join(WEIGHTS), &bytes)?)
}

/// What the loader does to a network's images: on the host it normalises them; another device gets
/// bytes, a quarter of the memory, and normalises them itself.
pub(crate) fn loader_normalization(network: &Network) -> Option<Normalization> {
    network.is_on_host().then(|| normalization(network))
}

/// A batch on the network's device, as the loader handed it over.
pub(crate) fn images(network: &Network, pixels: Pixels, shape: [usize; 4]) -> Tensor<4> {
    match pixels {
        Pixels::Planes(planes) => network.images(planes, shape),
        Pixels::Bytes(bytes) => {
            network.images_of_bytes(bytes, shape, &pixel_scale(&normalization(network)))
        }
    }
}

/// The same numbers in the network's terms.
fn pixel_scale(normalization: &Normalization) -> PixelScale {
    let &Normalization { largest, mean, std, bgr } = normalization;
    PixelScale { largest, mean, std, bgr }
}

/// How a network wants the values of its images.
fn normalization(network: &Network) -> Normalization {
    match network.input() {
        InputConvention::ImageNet => Normalization::IMAGENET,
        InputConvention::Half => Normalization::HALF,
        InputConvention::Caffe => Normalization::CAFFE,
    }
}

/// The weight file that a path names: itself, or that of a checkpoint.
fn weights_file(path: &Path) -> Result<PathBuf, TrainError> {
    let reject = |reason: &str| TrainError::Checkpoint { path: path.into(), reason: reason.into() };
    if path.is_file() {
        if path.file_name() == Some(DESCRIPTION.as_ref()) {
            return Err(reject("give its folder, or the weights beside it"));
        }
        return Ok(path.to_owned());
    }
    let candidates =
        [path.to_owned(), path.join("checkpoints/best"), path.join("checkpoints/last")];
    let mut folders = candidates.iter().filter_map(|folder| atomic::current_dir(folder));
    let found = folders.find(|folder| folder.join(DESCRIPTION).is_file());
    found.map(|folder| folder.join(WEIGHTS)).ok_or_else(|| {
        reject(if path.exists() {
            "it is neither a run folder with a checkpoint nor a checkpoint with a model.json"
        } else {
            "there is no such file or folder"
        })
    })
}

fn read_description(path: &Path) -> Result<Description, TrainError> {
    let reject = |reason: String| TrainError::Checkpoint { path: path.into(), reason };
    let description: Description = json::read(path, FORMAT)?;
    for side in [description.eval_resize, description.eval_size] {
        if !SIDES.contains(&side) {
            return Err(reject(format!("{side} pixels are no side of an image: {SIDES:?}")));
        }
    }
    Ok(description)
}

impl From<Stride> for ResNetStride {
    fn from(stride: Stride) -> Self {
        match stride {
            Stride::Torchvision => Self::Torchvision,
            Stride::V1 => Self::V1,
        }
    }
}

impl From<ResNetStride> for Stride {
    fn from(stride: ResNetStride) -> Self {
        match stride {
            ResNetStride::Torchvision => Self::Torchvision,
            ResNetStride::V1 => Self::V1,
        }
    }
}

/// The embeddings of an image set.
#[derive(Debug)]
pub struct EmbeddedSet {
    /// `[images, dim]`, row-major.
    pub embeddings: Vec<f32>,
    /// Length of an embedding.
    pub dim: usize,
    /// The class of each image, as in the set.
    pub labels: Vec<u32>,
    /// The place of each image in the set.
    pub indices: Vec<u32>,
    /// The role of each image; `None` where every image is a query and in the gallery.
    pub roles: Option<Vec<Role>>,
    /// Images that could not be decoded and were left out.
    pub skipped: Vec<Skipped>,
}

impl EmbeddedSet {
    /// The rows that are searched for, in order.
    pub fn queries(&self) -> Vec<usize> {
        self.rows(Role::is_query)
    }

    /// The rows that are found, in order.
    pub fn gallery(&self) -> Vec<usize> {
        self.rows(Role::is_gallery)
    }

    fn rows(&self, takes_part: fn(Role) -> bool) -> Vec<usize> {
        let role = |row: usize| self.roles.as_ref().map_or(Role::Both, |roles| roles[row]);
        (0..self.labels.len()).filter(|&row| takes_part(role(row))).collect()
    }

    /// A row's embedding.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.embeddings[row * self.dim..][..self.dim]
    }
}

/// Embeds all images of a set in its order, `batch_size` at once, or where that is 0 as many as
/// suit the network's device ([`Network::images_at_once`]). `None` when it was stopped.
///
/// # Errors
///
/// An image that does not decode, unless the options say to skip it.
#[expect(clippy::too_many_arguments, reason = "each names one independent choice")]
pub fn embed_set(
    network: &Network,
    transform: EvalTransform,
    set: &Arc<ImageSet>,
    options: &LoaderOptions,
    batch_size: usize,
    split: &str,
    stop: &StopFlag,
    observer: &mut dyn Observer,
) -> Result<Option<EmbeddedSet>, TrainError> {
    let loader = Loader::new(Arc::clone(set), *options);
    let mut embedded = EmbeddedSet {
        embeddings: Vec::with_capacity(set.len() * network.config().embed_dim),
        dim: network.config().embed_dim,
        labels: Vec::with_capacity(set.len()),
        indices: Vec::with_capacity(set.len()),
        roles: None,
        skipped: Vec::new(),
    };
    observer.begin(&Phase::Embed { split: split.to_owned() }, set.len() as u64, 0);
    let batch_size = match batch_size {
        0 => network.images_at_once(transform.crop as usize),
        given => given,
    };
    // A batch is read back once the next one is under way, so that the device has work meanwhile.
    let mut under_way: Option<Tensor<2>> = None;
    for batch in loader.eval(transform, loader_normalization(network), batch_size) {
        if stop.is_set() {
            observer.end();
            return Ok(None);
        }
        let batch = batch?;
        let seen = batch.indices.len() + batch.skipped.len();
        if batch.shape[0] > 0 {
            let images = images(network, batch.pixels, batch.shape);
            let earlier = under_way.replace(network.embed(images));
            embedded.embeddings.extend(earlier.into_iter().flat_map(pnp_model::to_host));
        }
        embedded.labels.extend(batch.labels);
        embedded.indices.extend(batch.indices);
        embedded.skipped.extend(batch.skipped);
        observer.advance(seen as u64, "");
    }
    embedded.embeddings.extend(under_way.into_iter().flat_map(pnp_model::to_host));
    observer.end();
    let roles = set.roles().map(|roles| embedded.indices.iter().map(|&i| roles[i as usize]));
    embedded.roles = roles.map(Iterator::collect);
    Ok(Some(embedded))
}

/// Scores embeddings by their own labels: every image queries all the others or, where images have
/// roles, every query the gallery. A query that is in the gallery too is left out of its own list.
/// The evaluation's queries are in the order of [`EmbeddedSet::queries`].
///
/// # Errors
///
/// No query with a positive, a metric that is not defined for so few images, values that are not
/// finite.
pub fn score(
    set: &EmbeddedSet,
    metrics: &[Metric],
    options: &EvalOptions,
) -> Result<Evaluation, TrainError> {
    if set.roles.is_none() {
        let embeddings = Embeddings::new(&set.embeddings, set.dim)?;
        return Ok(metric::evaluate(embeddings, &set.labels, metrics, options)?);
    }
    let (queries, gallery) = (Side::new(set, &set.queries()), Side::new(set, &set.gallery()));
    let gallery = gallery.evaluated()?;
    Ok(metric::evaluate_sets(&queries.evaluated()?, Some(&gallery), metrics, options)?)
}

/// The queries or the gallery of an embedded set.
struct Side {
    embeddings: Vec<f32>,
    dim: usize,
    labels: Vec<u32>,
    /// The place in the set is what makes an item the same on both sides.
    ids: Vec<u64>,
}

impl Side {
    fn new(set: &EmbeddedSet, rows: &[usize]) -> Self {
        Self {
            embeddings: rows.iter().flat_map(|&row| set.row(row)).copied().collect(),
            dim: set.dim,
            labels: rows.iter().map(|&row| set.labels[row]).collect(),
            ids: rows.iter().map(|&row| u64::from(set.indices[row])).collect(),
        }
    }

    fn evaluated(&self) -> Result<EvalSet<'_>, TrainError> {
        let embeddings = Embeddings::new(&self.embeddings, self.dim)?;
        Ok(EvalSet::new(embeddings, &self.labels)?.with_ids(&self.ids)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Embeddings on a circle, at these angles.
    fn set(angles: &[f32], labels: &[u32], roles: Option<&[Role]>) -> EmbeddedSet {
        EmbeddedSet {
            embeddings: angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect(),
            dim: 2,
            labels: labels.to_vec(),
            indices: (0..labels.len() as u32).collect(),
            roles: roles.map(<[Role]>::to_vec),
            skipped: Vec::new(),
        }
    }

    fn scores(set: &EmbeddedSet) -> (Vec<f64>, usize) {
        let metrics = ["recall@1", "mrr", "map@r"].map(|name| Metric::parse(name).unwrap());
        let found = score(set, &metrics, &EvalOptions::default()).unwrap();
        (found.scores.iter().map(|score| score.1).collect(), found.counts.items)
    }

    const ANGLES: [f32; 6] = [0.0, 0.1, 0.35, 0.5, 1.5, 1.6];
    const LABELS: [u32; 6] = [0, 1, 0, 1, 2, 2];

    #[test]
    fn images_that_are_all_both_score_as_without_roles() {
        let with = scores(&set(&ANGLES, &LABELS, Some(&[Role::Both; 6])));
        assert_eq!(with, scores(&set(&ANGLES, &LABELS, None)));
    }

    #[test]
    fn queries_search_the_gallery_and_nothing_else() {
        use Role::{Both, Gallery, Query};
        // Query 0 finds 2 (its own class) behind 1; as 1 is a query only, nothing is before it.
        let found =
            scores(&set(&ANGLES, &LABELS, Some(&[Query, Query, Gallery, Gallery, Both, Both])));
        // Query 1 finds 2 before 3: a reciprocal rank of one half.
        assert_eq!(found, (vec![0.75, 0.875, 0.75], 4));
    }

    #[test]
    fn an_item_of_both_sides_is_left_out_of_its_own_list() {
        let roles = [Role::Both, Role::Gallery, Role::Query, Role::Gallery, Role::Both, Role::Both];
        let found = scores(&set(&ANGLES, &LABELS, Some(&roles)));
        // Query 0 has no other image of its class in the gallery: 2 is a query. It is left out, and
        // its own copy is no hit. Query 2 finds 3 (0.15 away), then 1 (0.25), then 0 (0.35).
        assert_eq!(found.1, 4);
        assert!((found.0[1] - (1.0 / 3.0 + 1.0 + 1.0) / 3.0).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_device_makes_of_bytes_what_the_loader_would_have_made() {
        let config = NetworkConfig {
            backbone: "mobilenet_v2".into(),
            options: BackboneOptions {
                resnet_stride: ResNetStride::Torchvision,
                norm_epsilon: Some(1e-5),
            },
            embed_dim: 8,
            frozen: true,
            normalize: true,
            ..NetworkConfig::default()
        };
        let network = config.init(3, &Device::flex()).unwrap();
        // Not a multiple of four bytes.
        let shape = [3, 3, 33, 35];
        let bytes: Vec<u8> = (0..3 * 3 * 33 * 35).map(|i: usize| (i * i % 253) as u8).collect();
        for normalization in [Normalization::IMAGENET, Normalization::CAFFE] {
            let mut planes = vec![0.0; bytes.len()];
            let image = 3 * 33 * 35;
            for (bytes, planes) in bytes.chunks(image).zip(planes.chunks_mut(image)) {
                normalization.apply(bytes, planes);
            }
            let there = network.images_of_bytes(bytes.clone(), shape, &pixel_scale(&normalization));
            assert_eq!(there.dims(), shape);
            let values = pnp_model::to_host(there.clone());
            let scale = normalization.largest / normalization.std[0];
            for (value, expected) in values.iter().zip(&planes) {
                assert!((value - expected).abs() <= 1e-6 * scale, "{value} and {expected}");
            }
            let here = pnp_model::to_host(network.embed(network.images(planes, shape)));
            let there = pnp_model::to_host(network.embed(there));
            for (value, expected) in there.iter().zip(&here) {
                assert!((value - expected).abs() < 1e-5, "{value} and {expected}");
            }
        }
        assert!(network.is_on_host() && loader_normalization(&network).is_some());
    }
}
