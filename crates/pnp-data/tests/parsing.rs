//! Parsers of lists on bytes that no list has: good ones with bytes changed, cut, doubled. What the
//! fuzz targets of `fuzz/` do without end is done here for a moment.

mod common;

use std::fs;
use std::path::Path;

use common::layouts;
use pnp_data::dataset::parsing::{PARSERS, Parser};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Changed copies of each good list.
const ROUNDS: usize = 3_000;

/// Good lists of a parser's kind.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let read = |path: &Path| fs::read(path).unwrap();
    match name {
        "manifest" => vec![
            read(&layouts::manifest(folder.path())),
            b"label,path,split,is_query,is_gallery,x_1,x_2,y_1,y_2\n\
              1,a.png,train,,,,,,\n2,\"b, c.png\",validation,True,True,1.0,5.0,2.0,9.0\n"
                .to_vec(),
        ],
        "online_products" => {
            vec![read(&layouts::online_products(folder.path()).join("Ebay_train.txt"))]
        }
        "vehicle_id" => {
            let list = "train_test_split/train_list.txt";
            vec![read(&layouts::vehicle_id(folder.path()).join(list))]
        }
        "in_shop_boxes" => {
            vec![read(&layouts::in_shop(folder.path()).join("Anno/list_bbox_inshop.txt"))]
        }
        "inaturalist" => {
            vec![read(&layouts::inaturalist(folder.path(), true).join("train2018.json"))]
        }
        "mat" => vec![layouts::cars_mat(true), layouts::cars_mat(false)],
        other => panic!("no good list for the parser {other}"),
    }
}

fn mutated(good: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..rng.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.random_range(0..bytes.len());
        let to = rng.random_range(at..bytes.len().min(at + 64));
        match rng.random_range(0..6) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let piece = bytes[at..to].to_vec();
                bytes.splice(at..at, piece);
            }
            // Lengths that mean something to binary formats.
            _ => {
                let length: [u8; 4] = [0, 1, u32::MAX, i32::MAX as u32, 1 << 16]
                    [rng.random_range(0..5)]
                .to_le_bytes();
                let end = bytes.len().min(at + 4);
                bytes[at..end].copy_from_slice(&length[..end - at]);
            }
        }
    }
    bytes
}

#[test]
fn good_lists_are_taken_and_changed_ones_end_in_an_error_at_worst() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for (name, parse) in PARSERS as [Parser; 6] {
        for good in seeds(name) {
            assert!(parse(&good), "{name} refuses a good list");
            let taken = (0..ROUNDS).filter(|_| parse(&mutated(&good, &mut rng))).count();
            assert!(taken < ROUNDS, "{name} takes anything");
        }
        for junk in [&b""[..], &[0xff; 300], &[0; 4096], b"\n\n\n", b"a,b\n\"unclosed"] {
            parse(junk);
        }
    }
}
