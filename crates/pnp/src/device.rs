//! The choice of a device by name.

use std::fmt::Write as _;

use burn::tensor::Device;

use crate::failure::Failure;

/// A kind of device that this program was built with.
struct Kind {
    name: &'static str,
    summary: &'static str,
    open: fn(Option<usize>) -> Device,
    /// Whether several of the kind are told apart by a number.
    numbered: bool,
}

/// The kinds that this build has, the default first.
const KINDS: &[Kind] = &[
    #[cfg(feature = "flex")]
    Kind {
        name: "cpu",
        summary: "this machine's processor",
        open: |_| {
            pnp_model::keep_freed_memory();
            Device::flex()
        },
        numbered: false,
    },
    #[cfg(feature = "vulkan")]
    Kind {
        name: "vulkan",
        summary: "a GPU of any maker through Vulkan",
        open: |index| Device::vulkan(gpu(index)),
        numbered: true,
    },
    #[cfg(feature = "metal")]
    Kind {
        name: "metal",
        summary: "an Apple GPU",
        open: |index| Device::metal(gpu(index)),
        numbered: true,
    },
    #[cfg(feature = "webgpu")]
    Kind {
        name: "webgpu",
        summary: "a GPU through WebGPU",
        open: |index| Device::webgpu(gpu(index)),
        numbered: true,
    },
    #[cfg(feature = "cuda")]
    Kind {
        name: "cuda",
        summary: "an NVIDIA GPU through CUDA",
        open: |index| Device::cuda(index.unwrap_or(0)),
        numbered: true,
    },
    #[cfg(feature = "rocm")]
    Kind {
        name: "rocm",
        summary: "an AMD GPU through ROCm",
        open: |index| Device::rocm(index.unwrap_or(0)),
        numbered: true,
    },
];

/// All kinds there could be: the name is also that of the feature to build with.
const ALL_KINDS: [&str; 6] = ["cpu", "vulkan", "metal", "webgpu", "cuda", "rocm"];

#[cfg(any(feature = "vulkan", feature = "metal", feature = "webgpu"))]
fn gpu(index: Option<usize>) -> burn::tensor::DeviceKind {
    use burn::tensor::DeviceKind;
    index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu)
}

/// The device that a `--device` names: a kind, or a kind and a number as in `vulkan:1`.
pub(crate) fn open(name: &str) -> Result<Device, Failure> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => (kind, Some(index)),
        None => (name, None),
    };
    let Some(kind) = KINDS.iter().find(|known| known.name == kind) else {
        return Err(unknown(kind));
    };
    let index = match index.map(str::parse) {
        None => None,
        Some(Ok(index)) if kind.numbered => Some(index),
        Some(_) => {
            let rule =
                if kind.numbered { "a number follows the colon" } else { "it has no number" };
            return Err(Failure::Usage(format!("--device {name} is not possible: {rule}")));
        }
    };
    Ok((kind.open)(index))
}

/// The first device that this build has, for work that none makes faster.
pub(crate) fn first() -> Result<Device, Failure> {
    open(KINDS.first().map_or("cpu", |kind| kind.name))
}

fn unknown(kind: &str) -> Failure {
    let mut message = if ALL_KINDS.contains(&kind) {
        format!("this program was built without {kind}: build it with --features {kind}")
    } else {
        format!("there is no device '{kind}'")
    };
    let built: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let _ = write!(message, "; it has {}", built.join(", "));
    Failure::Usage(message)
}

/// Name and summary of each kind that this build has.
pub(crate) fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|kind| (kind.name, kind.summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str) -> String {
        match open(name) {
            Err(Failure::Usage(message)) => message,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn the_processor_is_there_and_has_no_number() {
        assert!(open("cpu").is_ok());
        assert!(message("cpu:1").contains("no number"));
    }

    #[test]
    fn a_kind_that_was_not_built_says_how_to_build_it() {
        #[cfg(not(feature = "cuda"))]
        assert!(message("cuda").contains("--features cuda"));
        assert!(message("abacus").contains("no device 'abacus'"));
    }
}
