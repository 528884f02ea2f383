//! A list of Stanford Online Products of anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    pnp_data::dataset::parsing::online_products(bytes);
});
