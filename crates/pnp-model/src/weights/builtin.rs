//! The backbone that comes with the program.

use std::path::Path;

use super::{StateDict, WeightFile};
use crate::error::ModelError;

/// The backbone whose ImageNet weights are embedded.
pub const BUILTIN_BACKBONE: &str = "mobilenet_v2";

/// MobileNetV2, ImageNet, half precision; `data/weights/README.md` says where it comes from.
static MOBILENET_V2: &[u8] =
    include_bytes!("../../../../data/weights/mobilenet_v2_imagenet_f16.safetensors");

/// The embedded ImageNet weights of [`BUILTIN_BACKBONE`].
///
/// # Errors
///
/// None in practice: the bytes are part of the program and a test reads them.
pub fn builtin() -> Result<StateDict, ModelError> {
    WeightFile::parse(MOBILENET_V2.to_vec(), Path::new("builtin:mobilenet_v2"))?.state_dict()
}
