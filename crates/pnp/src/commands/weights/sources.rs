//! The pretrained weights that are known by name. One line each.

use pnp_model::backbone;

/// Pretrained weights on the hub.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The name to ask for.
    pub(super) name: &'static str,
    /// The backbone that they are for.
    pub(super) backbone: &'static str,
    /// The repository on the hub.
    pub(super) repository: &'static str,
    /// The file in it.
    pub(super) file: &'static str,
    /// The licence, as timm or the authors state it.
    pub(super) licence: &'static str,
    /// Who trained them, and on what.
    pub(super) origin: &'static str,
    /// The file's SHA-256, compared with what the hub states; `None` where none was recorded, and
    /// only the hub's own statement counts.
    pub(super) sha256: Option<&'static str>,
}

const TORCHVISION: Source = Source {
    name: "",
    backbone: "",
    repository: "",
    file: "model.safetensors",
    licence: "BSD-3-Clause",
    origin: "torchvision's IMAGENET1K_V1, ImageNet-1k",
    sha256: None,
};

const DINO: Source = Source {
    licence: "Apache-2.0",
    origin: "DINO (Caron et al., ICCV 2021), ImageNet-1k without labels",
    ..TORCHVISION
};

/// All of them.
const SOURCES: &[Source] = &[
    Source {
        name: "resnet18",
        backbone: "resnet18",
        repository: "timm/resnet18.tv_in1k",
        ..TORCHVISION
    },
    Source {
        name: "resnet34",
        backbone: "resnet34",
        repository: "timm/resnet34.tv_in1k",
        ..TORCHVISION
    },
    Source {
        name: "resnet50",
        backbone: "resnet50",
        repository: "timm/resnet50.tv_in1k",
        ..TORCHVISION
    },
    Source {
        name: "resnet101",
        backbone: "resnet101",
        repository: "timm/resnet101.tv_in1k",
        ..TORCHVISION
    },
    Source {
        name: "mobilenet_v2",
        backbone: "mobilenet_v2",
        repository: "timm/mobilenetv2_100.ra_in1k",
        licence: "Apache-2.0",
        origin: "timm, RandAugment, ImageNet-1k",
        ..TORCHVISION
    },
    Source {
        name: "efficientnet_lite0",
        backbone: "efficientnet_lite0",
        repository: "timm/tf_efficientnet_lite0.in1k",
        licence: "Apache-2.0",
        origin: "the authors' TensorFlow weights, ImageNet-1k",
        ..TORCHVISION
    },
    Source {
        name: "vit_small_patch16_dino",
        backbone: "vit_small_patch16",
        repository: "timm/vit_small_patch16_224.dino",
        ..DINO
    },
    Source {
        name: "vit_base_patch16_dino",
        backbone: "vit_base_patch16",
        repository: "timm/vit_base_patch16_224.dino",
        ..DINO
    },
];

/// Those whose backbone this program has.
pub(super) fn all() -> impl Iterator<Item = &'static Source> {
    SOURCES.iter().filter(|source| backbone::find(source.backbone).is_ok())
}

/// That of a name.
pub(super) fn find(name: &str) -> Option<&'static Source> {
    all().find(|source| source.name == name)
}

#[cfg(test)]
mod tests {
    use super::SOURCES;

    #[test]
    fn names_are_unique_and_every_field_is_filled() {
        for (i, source) in SOURCES.iter().enumerate() {
            let fields = [source.name, source.backbone, source.file, source.licence, source.origin];
            assert!(fields.iter().all(|field| !field.is_empty()), "{source:?}");
            assert!(source.repository.split('/').count() == 2, "{source:?}");
            assert!(SOURCES[..i].iter().all(|other| other.name != source.name), "{source:?}");
            assert!(source.sha256.is_none_or(|hex| hex.len() == 64), "{source:?}");
        }
    }
}
