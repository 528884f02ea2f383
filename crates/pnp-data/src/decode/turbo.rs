//! JPEG by libjpeg-turbo, which decodes a part of an image, and at a fraction of its size.
//!
//! Huffman codes must be read from the first block to the last that is wanted; inverse transforms,
//! upsampling and colours are computed of the blocks that are wanted alone. The pixels have the bits
//! that they have in the whole image.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;

use turbojpeg_sys as sys;

use super::options::Wanted;
use crate::transform::CropBox;

/// A progressive file of more scans than this is meant to take long: encoders write about ten.
const MAX_SCANS: c_int = 500;

/// An instance of the library, for one file: tables of an earlier file, which may have been damaged,
/// would stay in it.
pub(super) struct Turbo(NonNull<c_void>);

impl Drop for Turbo {
    fn drop(&mut self) {
        // SAFETY: the instance is alive, and nobody uses it afterwards.
        unsafe { sys::tj3Destroy(self.0.as_ptr()) }
    }
}

impl Turbo {
    pub(super) fn new() -> Result<Self, String> {
        // SAFETY: the call has no preconditions; null says that it failed.
        let handle = unsafe { sys::tj3Init(sys::TJINIT_TJINIT_DECOMPRESS as c_int) };
        let turbo = Self(NonNull::new(handle).ok_or("libjpeg-turbo could not be started")?);
        // SAFETY: the instance is alive.
        let set = unsafe {
            sys::tj3Set(turbo.0.as_ptr(), sys::TJPARAM_TJPARAM_SCANLIMIT as c_int, MAX_SCANS)
        };
        if set == 0 { Ok(turbo) } else { Err(turbo.message()) }
    }

    /// Decodes a file of 8 bits whose frame header says `size`, baseline or progressive, grey or in
    /// three colours; `block` is the width of what is coded together. `pixels` becomes the whole
    /// image at the wanted fraction of its size, of which the wanted part alone is written.
    /// Returns its width and height.
    pub(super) fn decode(
        self,
        file: &[u8],
        size: (u32, u32),
        block: u32,
        wanted: Wanted,
        pixels: &mut Vec<u8>,
    ) -> Result<(u32, u32), String> {
        let shrink = wanted.shrink;
        // SAFETY: the instance is alive, and the pointer and length are those of one slice.
        let read = unsafe {
            sys::tj3DecompressHeader(self.0.as_ptr(), file.as_ptr(), file.len() as sys::size_t)
        };
        self.outcome(read)?;
        let parameter = |name: sys::TJPARAM| {
            // SAFETY: the instance is alive.
            unsafe { sys::tj3Get(self.0.as_ptr(), name as c_int) }
        };
        let found =
            (parameter(sys::TJPARAM_TJPARAM_JPEGWIDTH), parameter(sys::TJPARAM_TJPARAM_JPEGHEIGHT));
        // The buffer is made for this size, and the library writes as many pixels as it reads here.
        if found != (size.0 as c_int, size.1 as c_int) {
            return Err("it has two headers that differ".to_owned());
        }
        let scale = sys::tjscalingfactor { num: 1, denom: shrink as c_int };
        // SAFETY: the instance is alive.
        if unsafe { sys::tj3SetScalingFactor(self.0.as_ptr(), scale) } != 0 {
            return Err(self.message());
        }
        let (width, height) = (size.0.div_ceil(shrink), size.1.div_ceil(shrink));
        let cut = self.set_part(part(size, block, wanted));
        let (left, top) = cut.map_or((0, 0), |cut| (cut.left as usize, cut.top as usize));
        let pitch = 3 * width as usize;
        pixels.resize(pitch * height as usize, 0);
        let target = &mut pixels[top * pitch + 3 * left..];
        // SAFETY: the instance is alive; pointer and length of the file are those of one slice. The
        // library writes `width - left` pixels at most of `height - top` rows at most: the part
        // lies within the image, whose size it read from the same bytes above. From the part's
        // first pixel, that ends where `pixels` ends or before.
        let done = unsafe {
            sys::tj3Decompress8(
                self.0.as_ptr(),
                file.as_ptr(),
                file.len() as sys::size_t,
                target.as_mut_ptr(),
                pitch as c_int,
                sys::TJPF_TJPF_RGB as c_int,
            )
        };
        self.outcome(done)?;
        Ok((width, height))
    }

    /// Says which part comes next, if the library can leave out the rest of such a file.
    fn set_part(&self, part: CropBox) -> Option<CropBox> {
        let CropBox { left, top, width, height } = part;
        let [x, y, w, h] = [left, top, width, height].map(|side| side as c_int);
        // SAFETY: the instance is alive. It refuses what lies outside of the image.
        let set =
            unsafe { sys::tj3SetCroppingRegion(self.0.as_ptr(), sys::tjregion { x, y, w, h }) };
        if set == 0 {
            return Some(part);
        }
        // Rare ratios of the colours' resolutions: the whole image is decoded. All zero is always
        // taken.
        let all = sys::tjregion { x: 0, y: 0, w: 0, h: 0 };
        // SAFETY: as above.
        let _ = unsafe { sys::tj3SetCroppingRegion(self.0.as_ptr(), all) };
        None
    }

    /// A warning is not an error: like Pillow, we take what is there.
    fn outcome(&self, code: c_int) -> Result<(), String> {
        // SAFETY: the instance is alive.
        let kind = || unsafe { sys::tj3GetErrorCode(self.0.as_ptr()) };
        if code == 0 || kind() == sys::TJERR_TJERR_WARNING as c_int {
            return Ok(());
        }
        Err(self.message())
    }

    fn message(&self) -> String {
        // SAFETY: the instance is alive, and its message is text with a zero at its end, which
        // stays where it is until the next call.
        let text = unsafe { CStr::from_ptr(sys::tj3GetErrorStr(self.0.as_ptr())) };
        text.to_string_lossy().into_owned()
    }
}

/// What is decoded so that the wanted part has the bits of the whole image, at the fraction of its
/// size. Colours of less resolution are mixed with their neighbours': the columns at the edges of
/// what is decoded are not to be looked at.
fn part((width, height): (u32, u32), block: u32, wanted: Wanted) -> CropBox {
    /// Pixels that a colour's sample beside the part has an influence on.
    const MARGIN: u32 = 4;
    let Wanted { part, shrink } = wanted;
    let margin = MARGIN * shrink;
    let left = part.left.min(width - 1).saturating_sub(margin) / block * block;
    let right = part.left.saturating_add(part.width).saturating_add(margin);
    let right = right.min(width).next_multiple_of(block).clamp(left + 1, width);
    let top = part.top.min(height - 1);
    let bottom = wanted.end().clamp(top + 1, height);
    let (left, right) = (left / shrink, right.div_ceil(shrink));
    let (top, bottom) = (top / shrink, bottom.div_ceil(shrink));
    CropBox { left, top, width: right - left, height: bottom - top }
}
