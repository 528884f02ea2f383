//! The device that golden values are compared on.

use burn::tensor::Device;

/// The host, or the GPU that the variable `PNP_TEST_DEVICE` names in a build that has it.
pub(crate) fn device() -> Device {
    match std::env::var("PNP_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::flex(),
        #[cfg(feature = "vulkan")]
        Ok("vulkan") => Device::vulkan(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => panic!("PNP_TEST_DEVICE={other}: this build has no such device"),
    }
}
