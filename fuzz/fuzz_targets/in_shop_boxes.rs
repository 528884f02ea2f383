//! The boxes of In-Shop Clothes, of anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pnp_data::dataset::parsing::in_shop_boxes(bytes);
});
