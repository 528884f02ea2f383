//! What a program tells the system's allocator.

/// Keeps freed memory for the next request instead of giving it back to the system, in the whole
/// process, from now on.
///
/// A network on the host takes and frees tens of megabytes at every layer. glibc asks the system
/// for pieces of that size one by one, which then clears every page of them anew: a tenth of the
/// time of inference. The most memory that a training held changed by a hundredth. For a program to
/// call before it makes a network; on systems without glibc it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` changes two numbers of the allocator's and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGEST);
    }
}

/// In bytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGEST: libc::c_int = libc::c_int::MAX;
