//! Annotations of iNaturalist of anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pnp_data::dataset::parsing::inaturalist(bytes);
});
